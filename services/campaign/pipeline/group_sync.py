"""Keeps the groups as the platform has them: walks its list on schedule, reads what is due, goes on where it stopped.

One process at a time does it, under a lease that every transaction of it renews: whoever was frozen and wakes up writes
nothing. A sync is a row with its cursor, so that whoever takes over after a crash goes on with the next page. Between
syncs the same loop reads the groups that callbacks told of.

    listing ── page by page, each with its cursor in one transaction
    closing ── what the whole list did not hold is to be read before all others: its reading tells whether it is gone
    reading ── what is new, changed, or was read long ago, within the rate
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import SyncPhase, SyncStatus
from services.campaign.pipeline.group_reading import ABREAST, Reader, word_of
from services.campaign.store import group_syncs, groups
from services.campaign.store.group_syncs import Sync
from services.campaign.store.groups import Due
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db import lease, limits
from shared.db.engine import Database
from shared.db.lease import Lease
from shared.db.limits import Request
from shared.limits import Limit, Wait
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.customer import CURSOR_INVALID, PAGE, CustomerApi, GroupPage
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

LEASE: Final = "customer_groups"
RATE_KEY: Final = "customer/groupchat"
MOST_PAGES: Final = 5000
"""A list that is longer has no end."""
MOST_FAULTS: Final = 10
"""Faults in a row while listing, after which a sync has failed; the next one begins anew."""
_HOLDS: Final = tuple(timedelta(seconds=pause) for pause in (2, 5, 15, 30, 60))
_POLL: Final = timedelta(seconds=5)
_NOW: Final = timedelta(0)
_log = structlog.get_logger("reach.campaign.groups")


class LeaseLost(Exception):
    """Somebody else does it by now; what we asked for is theirs to ask again."""


@value_class
class _Step:
    """What is to be done under the lease."""

    held: Lease
    sync: Sync | None
    batch: tuple[Due, ...] = ()
    wait: timedelta = _NOW


class GroupSync:
    """The loop. *whole_after* is how long the schedule was silent before it is made up for at once."""

    def __init__(
        self,
        database: Database,
        reader: Reader,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        cron: str,
        zone: ZoneInfo,
        per_second: int,
        lease: timedelta,
        page: int = PAGE,
    ) -> None:
        """*per_second* calls leave at most, over all replicas; a *page* holds so many groups."""
        self._database = database
        self._reader = reader
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._cron = cron
        self._zone = zone
        self.limits: Final = (Limit("per_second", per_second, timedelta(seconds=1)),)
        self._abreast = min(ABREAST, per_second)
        self._lease = lease
        self._page = page
        self._holds = 0
        self._hold_until: datetime | None = None

    async def run(self, turn: Turn) -> None:
        """Keep them until cancelled."""
        signal = self._database.wakeups.listen(groups.WAKEUP)
        while True:
            wait = await self.step()
            turn()
            if wait > _NOW:
                await self._measure()
                await signal.wait(min(wait, _POLL).total_seconds())

    async def _measure(self) -> None:
        """Tell how old the list is; where it never came to its end, nothing."""
        async with self._database.read() as conn:
            listed_at = await group_syncs.listed_at(conn)
        if listed_at is not None:
            age = (self._clock.now() - listed_at).total_seconds()
            self._numbers.set(metrics.GROUP_SYNC_AGE, age)

    async def step(self) -> timedelta:
        """Do the next thing there is to do; how long there is nothing more."""
        app = await self._credentials.customer(FIRST)
        if app is None:
            return _POLL
        api = CustomerApi(self._wecom, app)
        try:
            step = await self._database.transact(self._next)
            if step is None:
                return _POLL
            if step.sync is not None and step.sync.phase is SyncPhase.LISTING and not step.wait:
                return await self._list(api, step.held, step.sync)
            if step.batch:
                return await self._read(api, step)
            return step.wait
        except LeaseLost:
            self._numbers.add(metrics.WRITES_FENCED, service="campaign")
            _log.warning("the groups were taken over by another process")
            return _POLL

    def due(self, now: datetime) -> datetime:
        """The latest time of the schedule that has come."""
        # Backwards it tells what lies before the minute that it is given.
        minute = now.astimezone(self._zone).replace(second=0, microsecond=0)
        return next(CronSim(self._cron, minute + timedelta(minutes=1), reverse=True))

    async def _next(self, conn: AsyncConnection) -> _Step | None:
        """Take the lease, begin what the schedule asks for, and say what is to be done; None: it is another's."""
        now = self._clock.now()
        held = await lease.acquire(conn, LEASE, self._owner, now, self._lease)
        if held is None:
            return None
        sync = await group_syncs.running(conn)
        if sync is None:
            before = await group_syncs.last(conn)
            if before is None or before.started_at < self.due(now):
                sync = await group_syncs.begin(conn, now, by="", whole=False)
        if sync is not None and sync.phase is SyncPhase.CLOSING:
            sync = await self._close(conn, sync, now)
            return _Step(held, sync)
        if sync is not None and sync.phase is SyncPhase.LISTING:
            wait = max(_NOW, (sync.resume_at or now) - now) or await self._reserve(conn, 1, now)
            return _Step(held, sync, wait=wait)
        return await self._due(conn, held, sync, now)

    async def _due(self, conn: AsyncConnection, held: Lease, sync: Sync | None, now: datetime) -> _Step:
        if self._hold_until is not None and self._hold_until > now:
            return _Step(held, sync, wait=self._hold_until - now)
        batch = await groups.due(conn, now, self._abreast)
        if batch:
            wait = await self._reserve(conn, len(batch), now)
            return _Step(held, sync, () if wait else tuple(batch), wait)
        if sync is not None and not await groups.is_owed(conn, sync.id):
            # Locked and looked at once more: somebody may have wanted all of them to be read meanwhile.
            await group_syncs.running(conn, lock=True)
            if not await groups.is_owed(conn, sync.id):
                await self._end(conn, sync, SyncStatus.FINISHED, now)
        following = await groups.next_due(conn)
        return _Step(held, sync, wait=_POLL if following is None else max(following - now, _NOW))

    async def _reserve(self, conn: AsyncConnection, calls: int, now: datetime) -> timedelta:
        """Take *calls* from the rate; how long to wait where there is no room."""
        [verdict] = await limits.reserve_many(conn, [Request(RATE_KEY, self.limits, calls)], now)
        if isinstance(verdict, Wait):
            self._numbers.add(metrics.RATE_WAITS, service="campaign", limit=verdict.limit_name)
            return max(verdict.until - now, timedelta(milliseconds=1))
        return _NOW

    async def _list(self, api: CustomerApi, held: Lease, sync: Sync) -> timedelta:
        """Ask for the next page and take it."""
        found = await api.groups(sync.cursor, self._page)
        if found.outcome.retry_class is RetryClass.REFRESH:
            found = await api.groups(sync.cursor, self._page)
        self._numbers.add(metrics.GROUP_READS, api="groupchat/list", outcome=word_of(found.outcome))
        endless = bool(found.next_cursor) and (
            found.next_cursor == sync.cursor or sync.pages + 1 >= MOST_PAGES
        )
        if found.outcome.state is State.ACCEPTED and not endless:
            await self._database.transact(lambda conn: self._take_page(conn, held, sync, found))
            return _NOW
        detail = "the list goes on from where it was" if endless else found.outcome.detail
        return await self._database.transact(
            lambda conn: self._fault(conn, held, sync, found.outcome, detail)
        )

    async def _take_page(self, conn: AsyncConnection, held: Lease, sync: Sync, page: GroupPage) -> None:
        now = await self._renew(conn, held)
        counts = await groups.take_page(conn, sync.id, page.groups, now)
        await group_syncs.count(
            conn,
            sync.id,
            now,
            listed=counts.listed,
            added=counts.added,
            changed=counts.changed,
            pages=1,
        )
        over = not page.next_cursor
        await group_syncs.change(
            conn,
            sync.id,
            now,
            cursor=page.next_cursor,
            phase=(SyncPhase.CLOSING if over else SyncPhase.LISTING).value,
            faults=0,
            resume_at=None,
            errcode=None,
            error="",
        )

    async def _fault(
        self, conn: AsyncConnection, held: Lease, sync: Sync, outcome: Outcome, detail: str
    ) -> timedelta:
        """A page did not come: again after a while, from the same cursor; from the first page where the platform does
        not know the cursor any more; not again where the platform refuses for good."""
        now = await self._renew(conn, held)
        anew = bool(sync.cursor) and outcome.errcode in CURSOR_INVALID
        refused = outcome.state is State.REJECTED_PERMANENT or outcome.retry_class is RetryClass.PERM_CONFIG
        final = refused and not anew
        words = f"{outcome.errmsg or detail}"[:300]
        _log.error(
            "the groups could not be listed",
            api="groupchat/list",
            sync_id=sync.id,
            errcode=outcome.errcode,
            error=words,
            faults=sync.faults + 1,
            begins_anew=anew,
        )
        if final or sync.faults + 1 >= MOST_FAULTS:
            await self._end(conn, sync, SyncStatus.FAILED, now, errcode=outcome.errcode, error=words)
            return _NOW
        wait = max(_HOLDS[min(sync.faults, len(_HOLDS) - 1)], outcome.retry_after or _NOW)
        values = {"faults": sync.faults + 1, "errcode": outcome.errcode, "error": words}
        if anew:
            values["cursor"] = ""
        await group_syncs.change(conn, sync.id, now, resume_at=now + wait, **values)
        return wait

    async def _close(self, conn: AsyncConnection, sync: Sync, now: datetime) -> Sync:
        """See to it that those are read that the list did not hold; then the readings begin."""
        await groups.owe_unlisted(conn, sync.id, sync.started_at, now)
        if await groups.replaced(conn, self._reader.store_of, now):
            return sync
        # Locked and looked at anew: somebody may have wanted all of them to be read meanwhile.
        latest = await group_syncs.running(conn, lock=True)
        if latest is not None and latest.whole:
            await groups.owe_all(conn, sync.id, sync.started_at, now)
        await group_syncs.change(conn, sync.id, now, phase=SyncPhase.READING.value, listed_at=now)
        return sync

    async def _read(self, api: CustomerApi, step: _Step) -> timedelta:
        reads = await self._reader.ask(api, step.batch)

        async def work(conn: AsyncConnection) -> Outcome | None:
            now = await self._renew(conn, step.held)
            return await self._reader.take(conn, step.batch, reads, now)

        trouble = await self._database.transact(work)
        if trouble is None:
            self._holds, self._hold_until = 0, None
            return _NOW
        wait = max(_HOLDS[min(self._holds, len(_HOLDS) - 1)], trouble.retry_after or _NOW)
        self._holds, self._hold_until = self._holds + 1, self._clock.now() + wait
        _log.error("reading groups rests", errcode=trouble.errcode, seconds=wait.total_seconds())
        return wait

    async def _end(
        self,
        conn: AsyncConnection,
        sync: Sync,
        status: SyncStatus,
        now: datetime,
        *,
        errcode: int | None = None,
        error: str = "",
    ) -> None:
        await groups.release(conn, sync.id)
        values = {"status": status.value, "finished_at": now, "errcode": errcode, "error": error}
        await group_syncs.change(conn, sync.id, now, **values)
        self._numbers.add(metrics.GROUP_SYNCS, status=status.value)
        ended = await group_syncs.get(conn, sync.id)
        assert ended is not None
        _log.info(
            "a sync of the groups is over",
            sync_id=sync.id,
            status=status.value,
            listed=ended.listed,
            added=ended.added,
            changed=ended.changed,
            gone=ended.gone,
            denied=ended.denied,
            failed=ended.failed,
        )
        found = await groups.counts(conn)
        for state in ("here", "gone"):
            self._numbers.set(metrics.CUSTOMER_GROUPS, found[state], state=state)

    async def _renew(self, conn: AsyncConnection, held: Lease) -> datetime:
        """Renew the lease in the transaction that writes under it."""
        now = self._clock.now()
        if await lease.renew(conn, held, now, self._lease) is None:
            raise LeaseLost
        return now
