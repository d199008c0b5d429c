"""Ways into groups: made once, changed as a whole, compared with what the platform has.

The platform takes no key and lists none of them, so a call whose answer is lost cannot be looked up. The row is written
before the call leaves: where no answer came it stays ``unknown`` and keeps its state, so that nobody makes the same way
twice without having decided to. A way nobody was shown the picture of does no harm; deleting the row frees the state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import join_way as domain
from services.campaign.domain.join_way import WayStatus
from services.campaign.pipeline.customer_calls import api_of, counted, refusal
from services.campaign.store import group_lists, join_ways
from services.campaign.store.join_ways import Attribution, Way
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db import lease
from shared.db.engine import Database
from shared.db.lease import Lease
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Overtaken
from shared.ids import new_id
from shared.rpc.principal import current
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.customer import UNKNOWN_WAY, CustomerApi, JoinWayMade
from shared.wecom.customer_groups import JoinWaySpec
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

T = TypeVar("T")

STAYS: Final = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""Lengths of stay that retention is told for."""
_HELD: Final = timedelta(seconds=60)
"""Longer than the calls of one change together."""
_log = structlog.get_logger("reach.campaign.join_ways")


class _New(Exception):
    """Leaves a transaction without a trace."""


class JoinWays:
    """See the module."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        wecom: WeComClient,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        owner: str,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._wecom = wecom
        self._audit = audit
        self._clock = clock
        self._numbers = numbers
        self._owner = owner

    async def create(self, store_id: str, spec: JoinWaySpec, *, once: Once) -> Way:
        """Make one; a repeat by the key of *once* answers how the first stands, and tries again where the platform
        certainly made none.

        The answer may be ``unknown``. Raises Invalid, Conflict (CUSTOMER_SECRET_MISSING, CUSTOMER_REFUSED), Throttled,
        Unavailable.
        """
        domain.check(spec)
        api = await api_of(self._credentials, self._wecom)
        way, fresh = await self._settled(lambda conn: self._begin(conn, store_id, spec, once))
        if not fresh:
            return way
        made = await self._ask(api, spec)
        way = await self._database.transact(lambda conn: self._made(conn, way.id, made))
        if way.status is WayStatus.REFUSED:
            raise refusal(made.outcome)
        return way

    async def get(self, way_id: str, stores: Collection[str] | None) -> Way:
        """One. Raises NotFound."""
        async with self._database.read() as conn:
            return _found(await join_ways.get(conn, way_id, stores))

    async def list(
        self,
        stores: Collection[str] | None,
        states: Sequence[str],
        statuses: Sequence[WayStatus],
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> Sequence[Way]:
        """Join ways, the newest first."""
        async with self._database.read() as conn:
            return await join_ways.page(
                conn, stores, states=states, statuses=statuses, before=before, limit=limit
            )

    async def update(
        self,
        way_id: str,
        wanted: JoinWaySpec,
        mask: Collection[str],
        version: int,
        stores: Collection[str] | None,
        *,
        once: Once,
    ) -> Way:
        """Change the fields of *mask*; the others stay as the platform has them now, since it overwrites all.

        *version* is that of the way as it was read, 0 for whichever it is. Raises Invalid, NotFound, Conflict,
        Overtaken (VERSION_CONFLICT), Throttled, Unavailable.
        """
        way = await self.get(way_id, stores)
        api = await api_of(self._credentials, self._wecom)
        once = replace(once, store_id=way.store_id)
        held = await self._hold(way_id)
        try:
            if await self._is_done(once):
                return await self.get(way_id, stores)
            return await self._update(api, await self.get(way_id, stores), wanted, mask, version, once)
        finally:
            await self._free(held)

    async def delete(self, way_id: str, stores: Collection[str] | None, comment: str, *, once: Once) -> Way:
        """Take one away; its picture leads nowhere any more. One of unknown outcome frees its state, no more.

        Raises NotFound, Conflict, Throttled, Unavailable.
        """
        way = await self.get(way_id, stores)
        once = replace(once, store_id=way.store_id)
        held = await self._hold(way_id)
        try:
            way = await self.get(way_id, stores)
            if way.status is WayStatus.DELETED:
                return way
            if way.status is WayStatus.PENDING:
                raise Conflict(
                    "STATE_INVALID",
                    "the platform is being asked for it",
                    state=way.status,
                    allowed="unknown, active, drifted, gone, refused",
                )
            if way.config_id and way.status is not WayStatus.GONE:
                api = await api_of(self._credentials, self._wecom)
                outcome = await self._tried(api, "del_join_way", way)
                if outcome.state is not State.ACCEPTED and outcome.errcode not in UNKNOWN_WAY:
                    raise refusal(outcome)
            await self._database.transact(lambda conn: self._deleted(conn, way, comment, once))
            return await self.get(way_id, stores)
        finally:
            await self._free(held)

    async def attribution(self, store_id: str, state: str, start: datetime, end: datetime) -> Attribution:
        """What became of those who came by a state. Raises Invalid."""
        if end <= start:
            raise Invalid.field("end_time", "is later than start_time")
        async with self._database.read() as conn:
            return await join_ways.attribution(conn, store_id, state, start, end, STAYS, self._clock.now())

    async def _begin(
        self, conn: AsyncConnection, store_id: str, spec: JoinWaySpec, once: Once
    ) -> tuple[Way, bool]:
        """The row, written before anything leaves, and whether the platform is to be asked."""
        now = self._clock.now()
        if (earlier := await once.begin(conn, now)) is not None:
            known = _found(await join_ways.get(conn, earlier.decode(), {store_id}, lock=True))
            if known.status is not WayStatus.REFUSED:
                return known, False
            await self._free_state(conn, store_id, spec.state, known.id)
            await join_ways.change(
                conn,
                known.id,
                status=WayStatus.PENDING.value,
                open_state=spec.state or None,
                asked_at=now,
                check_due_at=now + domain.LOST_AFTER,
                updated_at=now,
            )
            return replace(known, status=WayStatus.PENDING), True
        await self._groups_of(conn, store_id, spec.chat_ids)
        by = current().subject
        way = Way(new_id(), store_id, WayStatus.PENDING, "", spec, "", (), 1, None, "", by, now, now, None)
        if not await join_ways.add(conn, way):
            await self._free_state(conn, store_id, spec.state)
            raise Overtaken("VERSION_CONFLICT", "another join way had this state a moment ago")
        await once.finish(conn, way.id.encode())
        detail = {"state": spec.state, "chat_ids": list(spec.chat_ids)}
        entry = NewEntry(once.name, way.id, store_id, content=domain.document(spec), detail=detail)
        await self._audit.record(conn, entry, now)
        return way, True

    async def _free_state(self, conn: AsyncConnection, store_id: str, state: str, but: str = "") -> None:
        if await join_ways.is_taken(conn, store_id, state, but):
            raise Invalid.field(
                "spec.state", "is that of another join way of the store; attribution needs one each"
            )

    async def _groups_of(self, conn: AsyncConnection, store_id: str, chat_ids: Sequence[str]) -> None:
        found = await group_lists.some(conn, chat_ids, store_id=store_id)
        for at, chat_id in enumerate(chat_ids):
            if chat_id not in found or found[chat_id].standing.gone_reason:
                raise Invalid.field(
                    f"spec.chat_ids[{at}]", "is no group of the store; SyncGroups finds new ones"
                )

    async def _ask(self, api: CustomerApi, spec: JoinWaySpec) -> JoinWayMade:
        made = await api.add_join_way(spec)
        if made.outcome.retry_class is RetryClass.REFRESH:  # the token was refused, and nothing happened
            made = await api.add_join_way(spec)
        counted(self._numbers, "groupchat/add_join_way", made.outcome)
        return made

    async def _made(self, conn: AsyncConnection, way_id: str, made: JoinWayMade) -> Way:
        now, outcome = self._clock.now(), made.outcome
        known = _found(await join_ways.get(conn, way_id, None, lock=True))
        if known.status not in (WayStatus.PENDING, WayStatus.UNKNOWN):
            return known  # somebody gave it up meanwhile
        if made.config_id:
            soon = timedelta(0)  # the check brings the picture
            await join_ways.settle(
                conn,
                way_id,
                WayStatus.ACTIVE,
                now,
                again=soon,
                config_id=made.config_id,
                errcode=None,
                error="",
            )
            self._database.wakeups.notify(conn, join_ways.WAKEUP)
            return replace(known, status=WayStatus.ACTIVE, config_id=made.config_id, updated_at=now)
        unclear = outcome.state in (State.UNKNOWN, State.ACCEPTED_PARTIAL)
        status = WayStatus.UNKNOWN if unclear else WayStatus.REFUSED
        words = (outcome.errmsg or outcome.detail)[:300]
        _log.warning(
            "a join way was not made for certain" if unclear else "a join way was not made",
            join_way_id=way_id,
            api="groupchat/add_join_way",
            errcode=outcome.errcode,
            error=words,
        )
        await join_ways.settle(conn, way_id, status, now, again=None, errcode=outcome.errcode, error=words)
        return replace(known, status=status, errcode=outcome.errcode, error=words, updated_at=now)

    async def _update(
        self,
        api: CustomerApi,
        way: Way,
        wanted: JoinWaySpec,
        mask: Collection[str],
        version: int,
        once: Once,
    ) -> Way:
        if not way.status.live:
            raise Conflict(
                "STATE_INVALID",
                f"a join way that is {way.status.value} cannot be changed",
                state=way.status,
                allowed="active, drifted",
            )
        if version and version != way.version:
            raise Overtaken("VERSION_CONFLICT", f"it is at version {way.version} by now")
        found = await api.join_way(way.config_id)
        if found.spec is None:
            raise refusal(counted(self._numbers, "groupchat/get_join_way", found.outcome))
        # The scene is not taken from what the platform tells: its own sample tells one that it does not accept.
        spec = domain.merged(replace(found.spec, scene=way.spec.scene), wanted, mask)
        domain.check(spec)

        async def ready(conn: AsyncConnection) -> None:
            await self._groups_of(conn, way.store_id, spec.chat_ids)
            await self._free_state(conn, way.store_id, spec.state, way.id)
            # From here on it may be either; the check that is due tells which.
            await join_ways.change(conn, way.id, check_due_at=self._clock.now() + domain.LOST_AFTER)

        await self._database.transact(ready)
        outcome = counted(
            self._numbers, "groupchat/update_join_way", await api.update_join_way(way.config_id, spec)
        )
        if outcome.retry_class is RetryClass.REFRESH:
            outcome = await api.update_join_way(way.config_id, spec)
        if outcome.state is not State.ACCEPTED:
            raise refusal(outcome)
        await self._settled(lambda conn: self._updated(conn, way, spec, once))
        return await self.get(way.id, None)

    async def _updated(self, conn: AsyncConnection, way: Way, spec: JoinWaySpec, once: Once) -> None:
        now = self._clock.now()
        if not await once.is_first(conn, now):
            return
        # Another may have taken the state since it was looked at: the platform has it now, so it stands, shared.
        taken = await join_ways.is_taken(conn, way.store_id, spec.state, way.id)
        values: dict[str, Any] = {"spec": domain.document(spec), "state": spec.state, "drift": []}
        await join_ways.settle(
            conn,
            way.id,
            WayStatus.ACTIVE,
            now,
            version=way.version + 1,
            open_state=None if taken else spec.state or None,
            errcode=None,
            error="",
            **values,
        )
        entry = NewEntry(once.name, way.id, way.store_id, content=domain.document(spec))
        await self._audit.record(conn, entry, now)

    async def _deleted(self, conn: AsyncConnection, way: Way, comment: str, once: Once) -> None:
        now = self._clock.now()
        if not await once.is_first(conn, now):
            return
        await join_ways.settle(conn, way.id, WayStatus.DELETED, now, again=None)
        detail = {"was": way.status.value, "state": way.spec.state, "comment": comment}
        await self._audit.record(conn, NewEntry(once.name, way.id, way.store_id, detail=detail), now)

    async def _tried(self, api: CustomerApi, call: str, way: Way) -> Outcome:
        outcome = await api.delete_join_way(way.config_id)
        if outcome.retry_class is RetryClass.REFRESH:
            outcome = await api.delete_join_way(way.config_id)
        return counted(self._numbers, f"groupchat/{call}", outcome)

    async def _settled(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do *work*; once more where another way took the state between the look for it and the write."""
        try:
            return await self._database.transact(work)
        except IntegrityError:
            return await self._database.transact(work)

    async def _is_done(self, once: Once) -> bool:
        """Whether the call with this key was done; the key is not taken by asking."""
        try:
            async with self._database.write() as conn:
                if await once.begin(conn, self._clock.now()) is None:
                    raise _New
                return True
        except _New:
            return False

    async def _hold(self, way_id: str) -> Lease:
        """Nobody else changes it meanwhile. Raises Overtaken (VERSION_CONFLICT)."""
        owner, now = f"{self._owner}/{new_id()}", self._clock.now()
        held = await self._database.transact(
            lambda conn: lease.acquire(conn, f"join_way/{way_id}", owner, now, _HELD)
        )
        if held is None:
            raise Overtaken("VERSION_CONFLICT", "somebody else is changing it")
        return held

    async def _free(self, held: Lease) -> None:
        await self._database.transact(lambda conn: lease.release(conn, held, self._clock.now()))


def _found(way: Way | None) -> Way:
    if way is None:
        raise NotFound("NOT_FOUND", "there is no such join way", resource="join_way")
    return way
