"""The RPCs about sessions: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from reach.kf_session.v1 import kf_session_service_pb2, kf_session_service_pb2_grpc
from reach.kf_session.v1 import session_pb2 as pb

from services.kf_session.domain.sessions import Hands, next_change
from services.kf_session.domain.window import CREDITS, SessionState, is_open, window_end
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.sessions import SessionFilter, SessionView
from services.kf_session.usecases.sessions import Sessions
from shared.clock import Clock
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import stores_named, visible_stores

SERVICE: Final[str] = kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"].full_name
"""From the contract itself: its file holds no message, so nothing else would load it, and reflection would lack it."""

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "GetSession": "kf.read",
        "ListSessions": "kf.read",
        "TransferSession": "kf.write",
        "CreateContactWay": "kf.write",
    }.items()
}

STATE: EnumMap[SessionState] = EnumMap(
    pb.SessionState, {state: pb.SessionState.Value(f"SESSION_STATE_{state.name}") for state in SessionState}
)


class SessionMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _sessions: Sessions
    _tokens: PageTokens
    _clock: Clock

    async def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        """One session."""
        view = await self._sessions.get(_key(request), visible_stores())
        return pb.GetSessionResponse(session=to_session(view, self._clock.now()))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """Sessions, those that changed last first."""
        wanted = SessionFilter(
            stores_named(request.store_id),
            request.open_kfid,
            request.external_userid,
            tuple(STATE.to_domain(one, "states") for one in request.states),
            request.open_only,
        )
        size, cursor, now = page_size(request.page_size), self._tokens.read(request), self._clock.now()
        before = None
        if cursor is not None:
            before = (datetime.fromisoformat(str(cursor[0])), str(cursor[1]), str(cursor[2]))
        found = await self._sessions.list(wanted, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            place = [last.updated_at.isoformat(), last.key.open_kfid, last.key.external_userid]
            token = self._tokens.issue(request, place)
        return pb.ListSessionsResponse(
            sessions=[to_session(one, now) for one in found[:size]], next_page_token=token
        )

    async def TransferSession(
        self, request: pb.TransferSessionRequest, context: Any
    ) -> pb.TransferSessionResponse:
        """Hand a session on."""
        state = STATE.to_domain(request.state, "state")
        if (state is SessionState.HUMAN) != bool(request.servicer_userid):
            raise Invalid.field("servicer_userid", "goes with SESSION_STATE_HUMAN, and is required there")
        view = await self._sessions.transfer(
            _key(request),
            Hands(state, request.servicer_userid),
            visible_stores(),
            request.comment,
            once=once_of(SERVICE, "TransferSession", request),
        )
        return pb.TransferSessionResponse(session=to_session(view, self._clock.now()))

    async def CreateContactWay(
        self, request: pb.CreateContactWayRequest, context: Any
    ) -> pb.CreateContactWayResponse:
        """A link that opens an account's chat."""
        if request.scene_param and not request.scene:
            raise Invalid.field("scene_param", "goes beside a scene only")
        url = await self._sessions.contact_way(
            request.open_kfid,
            request.scene,
            request.scene_param,
            visible_stores(),
            once=once_of(SERVICE, "CreateContactWay", request),
        )
        return pb.CreateContactWayResponse(url=url)


def to_session(view: SessionView, now: datetime) -> pb.Session:
    """A session as it stands at *now*."""
    opened = is_open(view.customer_at, now)
    wire = pb.Session(
        open_kfid=view.key.open_kfid,
        external_userid=view.key.external_userid,
        store_id=view.store_id,
        state=STATE.to_wire(view.hands.state),
        servicer_userid=view.hands.servicer_userid,
        window_open=opened,
        credits_used=view.used,
        credits_left=max(0, CREDITS - view.used) if opened else 0,
        blocked=view.blocked_at is not None,
        scene=view.scene,
    )
    times = {
        "state_time": view.state_at,
        "customer_time": view.customer_at,
        "window_end_time": window_end(view.customer_at),
        "next_change_time": next_change(view.customer_at, view.code_ends_at, now),
        "update_time": view.updated_at,
    }
    for name, at in times.items():
        if at is not None:
            getattr(wire, name).CopyFrom(to_timestamp(at))
    return wire


def _key(request: Any) -> SessionKey:
    return SessionKey(request.open_kfid, request.external_userid)
