"""Sessions as people and programs ask for them, and hand them on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.reading import code_of
from services.kf_session.domain.sessions import Hands
from services.kf_session.domain.window import SessionState
from services.kf_session.pipeline.announcing import session_changed
from services.kf_session.pipeline.refreshing import States
from services.kf_session.store import ledger, sessions
from services.kf_session.store.accounts import Accounts
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.sessions import SessionFilter, SessionView
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db import outbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, ReachError, Throttled, Unavailable
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass
from shared.wecom.kf import KfApi, Moved
from shared.wecom.outcome import Outcome, State

_TRANSITION: Final = (95013, 95016, 95018)
_SERVICER: Final = (95014, 95019)
_OCCASIONS: Final = {SessionState.POOL: "pooled", SessionState.HUMAN: "accepted", SessionState.ENDED: "ended"}
_WORDS: Final = {
    SessionState.POOL: "transferred",
    SessionState.HUMAN: "transferred",
    SessionState.ENDED: "ended",
}


class _New(Exception):
    """Leaves a transaction without a trace."""


class Sessions:
    """See the module."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        states: States,
        credentials: Credentials,
        wecom: WeComClient,
        audit: AuditLog,
        clock: Clock,
        changed: Callable[[AsyncConnection, SessionKey], Awaitable[None]],
    ) -> None:
        """*changed* hears, in the same transaction, that a session is in other hands: what waited is judged anew."""
        self._database = database
        self._accounts = accounts
        self._states = states
        self._credentials = credentials
        self._wecom = wecom
        self._audit = audit
        self._clock = clock
        self._changed = changed

    async def get(self, key: SessionKey, stores: Collection[str] | None) -> SessionView:
        """One session; looked up at the platform where what we know is old. Raises NotFound."""
        view = await self._read(key, stores)
        if self._states.is_stale(view) and (await self._states.refresh(key)).state is not None:
            view = await self._read(key, stores)
        return view

    async def list(
        self, wanted: SessionFilter, before: tuple[datetime, str, str] | None, limit: int
    ) -> Sequence[SessionView]:
        """Sessions, those that changed last first."""
        async with self._database.read() as conn:
            return await sessions.list_sessions(conn, wanted, self._clock.now(), before=before, limit=limit)

    async def transfer(
        self,
        key: SessionKey,
        wanted: Hands,
        stores: Collection[str] | None,
        comment: str,
        *,
        once: Once,
    ) -> SessionView:
        """Hand a session on. A repeat by the key of *once*, or of what is so already, changes nothing.

        Raises NotFound, Conflict (KF_TRANSITION_REFUSED, KF_SERVICER_UNAVAILABLE), Unavailable.
        """
        view = await self._read(key, stores)
        once = replace(once, store_id=view.store_id)
        if await self._known(once) is not None:
            return view
        moved = await self._move(key, wanted)
        await self._database.transact(
            lambda conn: self._record(conn, key, view, wanted, moved, comment, once)
        )
        return await self._read(key, stores)

    async def contact_way(
        self, open_kfid: str, scene: str, param: str, stores: Collection[str] | None, *, once: Once
    ) -> str:
        """A link that opens the account's chat. Raises NotFound, Unavailable."""
        async with self._database.read() as conn:
            known = {one.id: one for one in await self._accounts.list(conn)}
        found = known.get(open_kfid)
        if found is None or (stores is not None and found.store_id not in stores):
            raise NotFound("NOT_FOUND", "there is no such account", resource="account")
        once = replace(once, store_id=found.store_id)
        if (earlier := await self._known(once)) is not None:
            return earlier.decode()
        made = await KfApi(self._wecom, await self._app()).contact_way(open_kfid, scene)
        if not made.url:
            raise refusal(made.outcome)
        url = f"{made.url}&scene_param={quote(param, safe='')}" if scene and param else made.url

        async def record(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if await once.begin(conn, now) is None:
                await once.finish(conn, url.encode())
                entry = NewEntry(once.name, open_kfid, found.store_id, detail={"scene": scene})
                await self._audit.record(conn, entry, now)

        await self._database.transact(record)
        return url

    async def _known(self, once: Once) -> bytes | None:
        """The answer that the call had; None for a first one, whose key is left free until it is recorded."""
        try:
            async with self._database.write() as conn:
                earlier = await once.begin(conn, self._clock.now())
                if earlier is None:
                    raise _New
                return earlier
        except _New:
            return None

    async def _move(self, key: SessionKey, wanted: Hands) -> Moved:
        """Ask the platform; what it has already is as good."""
        api = KfApi(self._wecom, await self._app())
        moved = await api.transfer(
            key.open_kfid, key.external_userid, int(wanted.state), wanted.servicer_userid
        )
        outcome = moved.outcome
        if outcome.retry_class is RetryClass.REFRESH:  # the token was refused, and nothing happened
            moved = await api.transfer(
                key.open_kfid, key.external_userid, int(wanted.state), wanted.servicer_userid
            )
            outcome = moved.outcome
        if outcome.state is State.ACCEPTED:
            return moved
        if outcome.state is State.UNKNOWN or outcome.errcode in _TRANSITION:
            found = await self._states.refresh(key)
            if found.state == wanted.state and (
                not wanted.servicer_userid or found.servicer_userid == wanted.servicer_userid
            ):
                return Moved(found.outcome)
        raise refusal(outcome)

    async def _record(
        self,
        conn: AsyncConnection,
        key: SessionKey,
        view: SessionView,
        wanted: Hands,
        moved: Moved,
        comment: str,
        once: Once,
    ) -> None:
        now = self._clock.now()
        at = sessions.whole(now)
        if not await once.is_first(conn, now):
            return
        await ledger.lock(conn, key)
        await sessions.move(conn, key, wanted, max(at, view.state_at), now)
        await self._changed(conn, key)
        if moved.code:
            await sessions.keep_code(conn, key, code_of(moved.code, _OCCASIONS[wanted.state], now))
        event = session_changed(_WORDS[wanted.state], key, view.store_id, wanted.state, at, now)
        await outbox.add(conn, [event])
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
        told = {
            "from": view.hands.state.name.lower(),
            "to": wanted.state.name.lower(),
            "servicer": wanted.servicer_userid,
            "comment": comment,
        }
        entry = NewEntry(once.name, f"{key.open_kfid}/{key.external_userid}", view.store_id, detail=told)
        await self._audit.record(conn, entry, now)

    async def _read(self, key: SessionKey, stores: Collection[str] | None) -> SessionView:
        async with self._database.read() as conn:
            view = await sessions.get(conn, key, stores, self._clock.now())
        if view is None:
            raise NotFound("NOT_FOUND", "there is no such session", resource="session")
        return view

    async def _app(self) -> App:
        app = await self._credentials.kf(FIRST)
        if app is None:
            raise Conflict(
                "KF_SECRET_MISSING",
                "no secret of WeChat KF is stored: set WECOM_KF_SECRET, or run `reach credentials add kf default`",
            )
        return app


def refusal(outcome: Outcome) -> ReachError:
    """What a call that did not work is answered with."""
    code = outcome.errcode
    if code in _TRANSITION:
        return Conflict("KF_TRANSITION_REFUSED", "the session is in no state that allows it", errcode=code)
    if code in _SERVICER:
        return Conflict(
            "KF_SERVICER_UNAVAILABLE", "no servicer of the account, or one who does not receive", errcode=code
        )
    if code in (95000, 95004):
        return NotFound("NOT_FOUND", "the platform knows no such account", resource="account")
    if outcome.retry_class is RetryClass.REST:
        return Throttled(
            "RATE_LIMITED", "the platform asks to wait", retry_after=outcome.retry_after, limit="wecom"
        )
    if outcome.state is State.REJECTED_PERMANENT and outcome.retry_class is RetryClass.PERM_INPUT:
        return Invalid("FIELD_INVALID", f"the platform refuses it: {outcome.errmsg}", errcode=code)
    if outcome.state is State.REJECTED_PERMANENT:
        return Conflict("KF_REFUSED", f"the platform refuses it: {outcome.errmsg}", errcode=code)
    return Unavailable("DEPENDENCY_DOWN", f"WeCom: {outcome.detail or outcome.errmsg}", dependency="wecom")
