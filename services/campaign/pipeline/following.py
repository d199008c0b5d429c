"""The loop that follows tasks: looks at what is due, reminds, stops what is over, and takes over what died in somebody's
hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Fault, FollowStatus, fault_of
from services.campaign.pipeline.asking_after import CANCEL, DEADLINE, Asker, Sight
from services.campaign.pipeline.follow_settling import FollowSettler, told_of
from services.campaign.pipeline.reconciling import WAKEUP
from services.campaign.pipeline.reminding import Reminding
from services.campaign.store import follows
from services.campaign.store.follow_tables import LOOKING, task_follow
from services.campaign.store.follows import Followed
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue
from shared.db.recalling import CLOCKS_DIFFER, recall
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.outcome import State

AT_ONCE: Final = 8
"""Tasks in hand in one replica."""
CLAIM: Final = 100
LEASE: Final = timedelta(minutes=3)
"""Longer than a look of several pages at the platform's rate; whoever is slower is followed by another, to no harm."""
_MARGIN: Final = 2.0
_POLL: Final = 1.0
_REAP_EVERY: Final = 2.0
_RECALL_EVERY: Final = 30.0
_ANY_LEASE: Final = datetime(9000, 1, 1, tzinfo=UTC)
_log = structlog.get_logger("reach.campaign.following")


class Follower:
    """Follows tasks; as many at once as it was told."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        asker: Asker,
        settler: FollowSettler,
        reminding: Reminding,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        lease: timedelta = LEASE,
        at_once: int = AT_ONCE,
    ) -> None:
        self._database = database
        self._queue = queue
        self._asker = asker
        self._settler = settler
        self._reminding = reminding
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._lease = lease
        self._at_once = at_once
        self._calls: set[asyncio.Task[None]] = set()
        self._reaped_at = self._recalled_at = float("-inf")
        self._seen_at = clock.now()
        self._closed = False
        self._claiming = asyncio.Lock()

    async def run(self, turn: Turn) -> None:
        """Follow until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self._reap()
            async with self._claiming:
                room = 0 if self._closed else self._at_once - len(self._calls)
                claimed = await self.once(room) if room > 0 else 0
            turn()
            if self._calls and room <= claimed:
                await asyncio.wait(self._calls, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
                continue
            await signal.wait(await self._until_due())

    async def once(self, limit: int = AT_ONCE) -> int:
        """Claim up to *limit* and begin with them; how many were claimed."""
        claimed = await self._database.transact(lambda conn: self._claim(conn, limit))
        claimed_at = time.monotonic()
        for one in claimed:
            call = asyncio.create_task(self._handle(one, claimed_at), name=f"follow {one.id}")
            self._calls.add(call)
            call.add_done_callback(self._done)
        return len(claimed)

    async def drain(self, timeout: float) -> None:
        """Begin nothing more, and wait until what is under way is settled, at most *timeout* seconds."""
        self._closed = True
        async with self._claiming:  # a claim that was under way has begun its calls
            pass
        if self._calls:
            await asyncio.wait(self._calls, timeout=timeout)

    async def settled(self) -> None:
        """Wait until what is under way is settled; every call is bounded."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def take_over_orphans(self) -> None:
        """Take over everything that is under a lease, expired or not: this database has no other process."""
        await self._take_over(_ANY_LEASE)

    async def _claim(self, conn: AsyncConnection, limit: int) -> list[Followed]:
        now = self._clock.now()
        await self._queue.promote(conn, now)
        rows = await self._queue.claim(conn, self._owner, now, self._lease, limit)
        return [follows.followed(row) for row in rows]

    async def _handle(self, one: Followed, claimed_at: float) -> None:
        """Look, act and settle. One that is cancelled leaves its task to whoever takes it over."""
        # By the monotonic clock, which goes on while the process is frozen: whoever wakes up does nothing.
        ends_at = claimed_at + self._lease.total_seconds() - DEADLINE - _MARGIN

        def still() -> bool:
            return time.monotonic() < ends_at

        end = self._end_of(one)
        sight = await self._asker.look(one, whole=end is not None)
        fault = fault_of(sight.outcome)
        if fault is Fault.STOPPED:
            # Whoever stopped it: nothing of it is sent any more, and it tells nothing more.
            await self._settler.settle(one, sight, end or FollowStatus.CANCELLED)
        elif fault is Fault.NOT_FOUND and end is not None:
            _log.error("the platform does not know a task any more", **told_of(one))
            await self._settler.settle(one, sight, FollowStatus.NOT_FOUND)
        elif fault is not None:
            await self._settler.failed(one, sight, fault)
        elif end is not None:
            await self._bring_to(end, one, sight, still)
        else:
            if not sight.confirmed:
                await self._reminding.give(one, still)
            await self._settler.settle(one, sight)

    def _end_of(self, one: Followed) -> FollowStatus | None:
        """How the task is to be brought to an end, now that its time is over or nobody wants it any more."""
        if one.stopping:
            return FollowStatus.CANCELLED
        return FollowStatus.NEVER_CONFIRMED if self._clock.now() >= one.confirm_by else None

    async def _bring_to(
        self, end: FollowStatus, one: Followed, sight: Sight, still: Callable[[], bool]
    ) -> None:
        """Stop at the platform what was not sent yet: an owner who pressed later would send what is given up by then.

        What the look brought is written before, since a task that was stopped may tell nothing more.
        """
        noted = await self._settler.note(one, sight)
        if noted is None:
            return
        if noted.left:
            outcome = await self._asker.stop(one, still)
            fault = fault_of(outcome)
            refused = outcome.state is State.REJECTED_PERMANENT and self._clock.now() >= one.confirm_by
            if fault not in (None, Fault.STOPPED, Fault.NOT_FOUND) and not refused:
                await self._settler.failed(one, Sight(outcome, CANCEL), fault or Fault.AGAIN)
                return
            if refused and fault not in (Fault.STOPPED, Fault.NOT_FOUND):
                _log.error("a task cannot be stopped", **told_of(one), errcode=outcome.errcode)
            # Between the look and the stop the owner may have pressed.
            last = await self._asker.look(one, whole=True)
            fault = fault_of(last.outcome)
            if fault not in (None, Fault.STOPPED, Fault.NOT_FOUND):
                await self._settler.failed(one, last, fault or Fault.AGAIN)
                return
            sight = last if fault is None else sight
        await self._settler.settle(one, sight, end)

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (failure := call.exception()) is not None:
            # The task stays in hand until the lease runs out; then it is looked at again.
            _log.error("following failed", task=call.get_name(), exc_info=failure)

    async def _until_due(self) -> float:
        async with self._database.read() as conn:
            due = await self._queue.next_due(conn)
        if due is None:
            return _POLL
        return min(_POLL, max(0.01, (due - self._clock.now()).total_seconds()))

    async def _reap(self) -> None:
        if time.monotonic() - self._reaped_at < _REAP_EVERY:
            return
        self._reaped_at = time.monotonic()
        await self.recall()
        await self._take_over(self._clock.now())

    async def recall(self) -> None:
        """Bring back what a clock that has gone back since would keep waiting; what it waits for is asked anew."""
        seen, now = self._seen_at, self._clock.now()
        self._seen_at = now
        if seen - now < CLOCKS_DIFFER and time.monotonic() - self._recalled_at < _RECALL_EVERY:
            return
        self._recalled_at = time.monotonic()
        await self._database.transact(lambda conn: recall(conn, task_follow, LOOKING, now, self._lease))

    async def _take_over(self, expired_by: datetime) -> None:
        while True:
            late = await self._database.transact(lambda conn: self._expired(conn, expired_by))
            for one in late:
                self._numbers.add(metrics.LEASES_LOST, service="campaign")
                await self._settler.back(one)
            if len(late) < CLAIM:
                return

    async def _expired(self, conn: AsyncConnection, expired_by: datetime) -> list[Followed]:
        rows = await self._queue.expired(conn, self._owner, expired_by, self._lease, CLAIM)
        return [follows.followed(row) for row in rows]
