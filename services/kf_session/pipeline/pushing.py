"""The loop that sends: claims what is due, lets the gates judge it, calls, and takes over what died in somebody's hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.admitting import WAKEUP
from services.kf_session.pipeline.deciding import Decider, Job
from services.kf_session.pipeline.settling import LOST, Settler
from services.kf_session.store import outgoing
from services.kf_session.store.outgoing import Claimed
from services.kf_session.store.tables import SENDING, push
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import PENDING, DueQueue, Settlement
from shared.db.recalling import CLOCKS_DIFFER, recall
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.kf_sending import Sent
from shared.wecom.outcome import Outcome, State

CLAIM: Final = 50
AT_ONCE: Final = 16
"""Calls under way in one replica."""
LEASE: Final = timedelta(seconds=30)
DEADLINE: Final = timedelta(seconds=10)
"""Bound on one whole call."""
_MARGIN: Final = timedelta(seconds=2)
_POLL: Final = 1.0
_REAP_EVERY: Final = 2.0
_RECALL_EVERY: Final = 30.0
"""And whenever the clock is seen to have gone back: it may have done so before we began, or in another process."""
_ANY_LEASE: Final = datetime(9000, 1, 1, tzinfo=UTC)
_log = structlog.get_logger("reach.kf_session.push")

_SHORT: Final = Sent(
    Outcome(State.NOT_SENT, cause="lease_short", detail="nothing was sent: the lease had run short")
)
_DEFECT: Final = Sent(Outcome(State.UNKNOWN, cause="defect", detail="our own code failed; see the log"))


class Way(Protocol):
    """What reaches the outside world."""

    async def send(self, job: Job, deadline: float) -> Sent:
        """At most one request, over within *deadline* seconds; never raises for what the other side does."""
        ...


class Pusher:
    """Sends pushes; as many at once as it was told."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        decider: Decider,
        settler: Settler,
        way: Way,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        lease: timedelta = LEASE,
        deadline: timedelta = DEADLINE,
        at_once: int = AT_ONCE,
    ) -> None:
        self._database = database
        self._queue = queue
        self._decider = decider
        self._settler = settler
        self._way = way
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._lease = lease
        self._deadline = deadline
        self._at_once = at_once
        self._calls: set[asyncio.Task[None]] = set()
        self._reaped_at = self._recalled_at = float("-inf")
        self._seen_at = clock.now()
        self._closed = False
        self._claiming = asyncio.Lock()

    async def run(self, turn: Turn) -> None:
        """Send until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self._reap()
            async with self._claiming:
                free = 0 if self._closed else min(CLAIM, self._at_once - len(self._calls))
                claimed = await self.once(free) if free > 0 else 0
            turn()
            if free > 0 and claimed == free:
                continue
            if not self._closed and free <= 0:
                await asyncio.wait(self._calls, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
                continue
            await signal.wait(await self._until_due())

    async def once(self, limit: int = CLAIM) -> int:
        """Claim up to *limit* and begin to send those that may go; how many were claimed."""
        claimed = await self._database.transact(lambda conn: self._claim(conn, limit))
        if claimed:
            # A transaction of its own: sessions are locked before pushes, and a claim begins with pushes.
            jobs = await self._database.transact(lambda conn: self._decide(conn, claimed))
            for job in jobs:
                call = asyncio.create_task(self._make(job), name=f"push {job.push.id}")
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

    async def _claim(self, conn: AsyncConnection, limit: int) -> list[Claimed]:
        now = self._clock.now()
        await self._queue.promote(conn, now)
        rows = await self._queue.claim(conn, self._owner, now, self._lease, limit)
        return [outgoing.claimed(row) for row in rows]

    async def _decide(self, conn: AsyncConnection, claimed: Sequence[Claimed]) -> list[Job]:
        return await self._decider.decide(conn, claimed, self._clock.now())

    async def _make(self, job: Job) -> None:
        """Call and settle. A cancelled call leaves its attempt to whoever takes the push over."""
        await self._settler.settle(job, await self._call(job))

    async def _call(self, job: Job) -> Sent:
        if job.push.lease_until - self._clock.now() < self._deadline + _MARGIN:
            return _SHORT
        try:
            async with asyncio.timeout(self._deadline.total_seconds() + 1):
                return await self._way.send(job, self._deadline.total_seconds())
        except TimeoutError:
            return Sent(Outcome(State.UNKNOWN, cause="timeout", detail="no answer within the deadline"))
        except Exception:
            _log.exception("sending failed", push_id=job.push.id)
            return _DEFECT

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (failure := call.exception()) is not None:
            # Its attempt stands as under way: it is taken over as unknown when the lease runs out.
            _log.error("settling failed", task=call.get_name(), exc_info=failure)

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
        """Bring back what a clock that has gone back since would keep waiting; what they wait for is judged anew."""
        seen, now = self._seen_at, self._clock.now()
        self._seen_at = now
        if seen - now < CLOCKS_DIFFER and time.monotonic() - self._recalled_at < _RECALL_EVERY:
            return
        self._recalled_at = time.monotonic()
        await self._database.transact(lambda conn: recall(conn, push, SENDING, now, self._lease))

    async def _take_over(self, expired_by: datetime) -> None:
        while True:
            late = await self._database.transact(lambda conn: self._expired(conn, expired_by))
            for one in late:
                await self._bury(one)
            if len(late) < CLAIM:
                return

    async def _expired(self, conn: AsyncConnection, expired_by: datetime) -> list[Claimed]:
        rows = await self._queue.expired(conn, self._owner, expired_by, self._lease, CLAIM)
        return [outgoing.claimed(row) for row in rows]

    async def _bury(self, one: Claimed) -> None:
        """An attempt that was begun may have arrived; a push that was claimed and no more goes back as it was."""
        self._numbers.add(metrics.LEASES_LOST, service="kf_session")
        async with self._database.read() as conn:
            begun = one.id in await outgoing.under_way(conn, [one.id])
            unclear = one.id in (await outgoing.past(conn, [one.id])).unclear
        if begun:
            await self._settler.settle(Job(one, {}, one.code_id is not None, unclear), LOST)
            return
        own = {
            "retries": one.retries,
            "refreshes": one.refreshes,
            "reason": "",
            "updated_at": self._clock.now(),
        }
        back = Settlement(one.id, one.epoch, PENDING, one.attempts, extra=own)

        async def write(conn: AsyncConnection) -> None:
            await self._queue.settle(conn, [back])

        await self._database.transact(write)
