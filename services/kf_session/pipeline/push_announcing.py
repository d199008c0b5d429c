"""What kf_session announces when a push is over, or turns out to have failed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from reach.events.v1 import kf_push_events_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.store.outgoing import Claimed
from shared.db import outbox
from shared.db.engine import Database
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id

_ANNOUNCED: Final = frozenset(
    {
        PushStatus.ACCEPTED,
        PushStatus.FAILED,
        PushStatus.SUPPRESSED,
        PushStatus.EXPIRED,
        PushStatus.UNKNOWN,
    }
)


async def announce(
    conn: AsyncConnection,
    database: Database,
    one: Claimed,
    status: PushStatus,
    reason: str,
    errcode: int | None,
    now: datetime,
    *,
    attempts: int | None = None,
    fail_type: int | None = None,
) -> None:
    """Announce ``kf.push.<status>`` of a push that ended so, in the transaction that ends it; no text, no name."""
    if status not in _ANNOUNCED:
        return
    outcome = kf_push_events_pb2.KfPushOutcome(
        push_id=one.id,
        open_kfid=one.key.open_kfid,
        external_userid=one.key.external_userid,
        purpose=one.purpose.value,
        status=status.value,
        reason=reason or None,
        errcode=errcode,
        fail_type=fail_type,
        attempts=one.attempts if attempts is None else attempts,
    )
    name, event_id = f"kf.push.{status.value}", new_id()
    headers = binary_headers(
        name, event_id, one.store_id, "reach/kf_session", now, traceparent=one.traceparent
    )
    body = outcome.SerializeToString()
    await outbox.add(conn, [NewEvent(event_id, name, one.store_id, body, PROTOBUF, headers, now)])
    database.wakeups.notify(conn, outbox.WAKEUP, others=False)
