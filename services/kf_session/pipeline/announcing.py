"""What kf_session announces of messages and sessions; nobody's words."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message
from reach.events.v1 import kf_session_events_pb2

from services.kf_session.domain.message import Inbound
from services.kf_session.domain.window import SessionState
from services.kf_session.store.ledger import SessionKey
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id


def received(said: Inbound, now: datetime) -> NewEvent:
    """The event ``kf.message.received``."""
    told = kf_session_events_pb2.KfMessageReceived(
        open_kfid=said.open_kfid,
        external_userid=said.external_userid,
        msgid=said.msgid,
        msgtype=said.msgtype,
        sent_time=said.sent_at.isoformat(),
    )
    return new_event("kf.message.received", told, said.store_id, now)


def session_changed(
    word: str, key: SessionKey, store_id: str, state: SessionState, at: datetime, now: datetime
) -> NewEvent:
    """The event ``kf.session.<word>``."""
    told = kf_session_events_pb2.KfSessionChanged(
        open_kfid=key.open_kfid,
        external_userid=key.external_userid,
        state=state.name.lower(),
        changed_time=at.isoformat(),
    )
    return new_event(f"kf.session.{word}", told, store_id, now)


def new_event(
    event_type: str, data: Message, store_id: str, now: datetime, traceparent: str | None = None
) -> NewEvent:
    """An event for the outbox, under an id of its own."""
    event_id = new_id()
    headers = binary_headers(event_type, event_id, store_id, "reach/kf_session", now, traceparent=traceparent)
    return NewEvent(event_id, event_type, store_id, data.SerializeToString(), PROTOBUF, headers, now)
