"""Claims what became due, lets it go as far as the rates allow, and takes over what died in somebody's hands."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain import retry
from services.notifier.domain.routing import Channel, Target
from services.notifier.pipeline.handing import claim_for
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.recording import WAKEUP, Recorder
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.sending import Senders
from services.notifier.pipeline.settling import Settled, end_late, put_off, settle_lost
from services.notifier.store.work import Work, started_attempt
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.limits import Release, Request, release_many, reserve_many
from shared.db.queue import Settlement
from shared.ids import new_id
from shared.limits import Wait
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

CLAIM = 100
_POLL = 1.0
"""The net below the wake-ups, in seconds."""

_REAP_EVERY = 2.0
_ANY_LEASE = datetime(9000, 1, 1, tzinfo=UTC)
"""When every lease has run out."""


@dataclass(slots=True)
class _Held:
    """A recipient that has to wait."""

    target: Target
    until: datetime
    key: str


@dataclass(slots=True)
class _Round:
    """What one transaction of claiming comes to."""

    claimed: int = 0
    jobs: list[Job] = field(default_factory=list)
    """Those that go."""

    settlements: list[Settlement] = field(default_factory=list)
    ended: list[Settled] = field(default_factory=list)
    siblings: list[dict[str, object]] = field(default_factory=list)
    moves: list[tuple[str, str, Sequence[Target]]] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    next_due_at: datetime | None = None


class Dispatcher:
    """The loop that feeds the senders from the table."""

    def __init__(
        self,
        database: Database,
        work: Work,
        senders: Senders,
        recorder: Recorder,
        rates: Rates,
        rests: Rests,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        lease: timedelta,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._work = work
        self._senders = senders
        self._recorder = recorder
        self._rates = rates
        self._rests = rests
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._lease = lease
        self._jitter = jitter
        self._reaped_at = float("-inf")
        self._closed = False
        self._claiming = asyncio.Lock()

    async def close(self) -> None:
        """Claim nothing any more; returns when a claim that was under way has reached the senders. For an orderly stop."""
        self._closed = True
        async with self._claiming:
            return

    async def run(self, turn: Turn) -> None:
        """Dispatch until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self._reap()
            async with self._claiming:
                free = 0 if self._closed else min(self._senders.free, CLAIM)
                claimed, waits = (await self.claim(free)) if free else (0, _POLL)
            turn()
            if free and claimed < free:
                await signal.wait(min(waits, _POLL))
            elif not free:
                await (signal.wait(_POLL) if self._closed else self._senders.room(_POLL))

    async def take_over_orphans(self) -> None:
        """Take over everything that is under a lease, expired or not: this database has no other process."""
        await self._take_over(_ANY_LEASE)

    async def claim(self, limit: int) -> tuple[int, float]:
        """Claim up to *limit* due deliveries and submit what may go; how many there were, and the seconds until more."""
        done = await claim_for(self._senders, self._database, lambda conn: self._claim_in(conn, limit))
        if done.next_due_at is None:
            return done.claimed, _POLL
        return done.claimed, max(0.0, (done.next_due_at - self._clock.now()).total_seconds())

    async def _claim_in(self, conn: AsyncConnection, limit: int) -> _Round:
        now = self._clock.now()
        await self._rests.load(conn)
        await self._work.queue.promote(conn, now)
        claimed = await self._work.claim(conn, self._owner, now, self._lease, limit)
        done = await self._judge(conn, claimed, now)
        await self._work.settle(conn, done.settlements)
        await self._recorder.announce(conn, done.ended)
        await self._work.insert_deliveries(conn, done.siblings)
        await self._work.move_recipients(conn, done.moves)
        await release_many(conn, done.releases, now)
        await self._work.start_attempts(conn, [started_attempt(job, self._owner, now) for job in done.jobs])
        done.next_due_at = await self._work.queue.next_due(conn)
        return done

    async def _judge(
        self, conn: AsyncConnection, claimed: Sequence[tuple[Job, RowMapping]], now: datetime
    ) -> _Round:
        """Which of *claimed* may go now; the others, or their held recipients, wait."""
        done = _Round(len(claimed))
        wanted = [(job, row) for job, row in claimed if not self._stays(job, now, done)]
        held = await self._reserve(conn, [job for job, _ in wanted], now)
        for job, row in wanted:
            waiting = held.get(job.delivery_id, [])
            if not waiting:
                done.jobs.append(job)
            elif len(waiting) == len(job.targets) or _indivisible(job):
                self._put_off(job, waiting, now, done)
            else:
                self._split(job, row, waiting, now, done)
                done.jobs.append(job)
        return done

    def _put_off(self, job: Job, waiting: Sequence[_Held], now: datetime, done: _Round) -> None:
        choose = max if _indivisible(job) else min
        chosen = choose(waiting, key=lambda one: one.until)
        done.settlements.append(put_off(job, now, chosen.until, self._rates.hold_reason(chosen.key)))
        held = {one.target for one in waiting}
        done.releases += self._rates.releases(job, [one for one in job.targets if one not in held])
        self._count_wait(chosen.key, len(waiting))

    def _stays(self, job: Job, now: datetime, done: _Round) -> bool:
        """Whether *job* may not be sent now, whatever its rates say; what becomes of it is settled then."""
        kind = job.channel.partition(":")[0]
        if kind == Channel.APP.value and retry.forgotten(job.unclear_since, now):
            # Held up for longer than the platform recognises a repeat: the same bytes would be a second message.
            ended = end_late(job, now)
            done.ended.append(ended)
            done.settlements.append(ended.settlement)
            return True
        until = self._rests.until(job.channel, now)
        if until is not None:
            done.settlements.append(put_off(job, now, until, f"rate:{kind}"))
        return until is not None

    async def _reserve(
        self, conn: AsyncConnection, jobs: Sequence[Job], now: datetime
    ) -> dict[str, list[_Held]]:
        asked: list[tuple[Job, Target, str]] = []
        for job in jobs:
            for target in job.targets:
                key = self._rates.key(job.channel, target)
                if key is not None:
                    asked.append((job, target, key))
        verdicts = await reserve_many(
            conn, [Request(key, self._rates.limits_of(key)) for _, _, key in asked], now
        )
        held: dict[str, list[_Held]] = {}
        for (job, target, key), verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Wait):
                held.setdefault(job.delivery_id, []).append(_Held(target, verdict.until, key))
        return held

    def _split(
        self, job: Job, row: RowMapping, waiting: Sequence[_Held], now: datetime, done: _Round
    ) -> None:
        """Leave the waiting recipients to a sibling delivery."""
        first = min(waiting, key=lambda one: one.until)
        sibling = new_id()
        due = self._work.queue.deferred(
            job.priority, now, first.until, self._rates.hold_reason(first.key), lane=job.lane
        )
        done.siblings.append({**row, **due, "id": sibling, "created_at": now, "updated_at": now})
        done.moves.append((job.delivery_id, sibling, [one.target for one in waiting]))
        late = {one.target for one in waiting}
        job.targets = tuple(target for target in job.targets if target not in late)
        self._count_wait(first.key, len(waiting))

    def _count_wait(self, key: str, amount: int) -> None:
        limit = self._rates.hold_reason(key)
        self._numbers.add(metrics.RATE_WAITS, amount, service="notifier", limit=limit)

    async def _reap(self) -> None:
        if time.monotonic() - self._reaped_at < _REAP_EVERY:
            return
        # Outcomes that we know but could not write yet are not lost: they are written first.
        if await self._recorder.caught_up(_POLL):
            self._reaped_at = time.monotonic()
            await self._take_over(self._clock.now())

    async def _take_over(self, expired_by: datetime) -> None:
        while await self._database.transact(lambda conn: self._take_over_in(conn, expired_by)) == CLAIM:
            pass

    async def _take_over_in(self, conn: AsyncConnection, expired_by: datetime) -> int:
        now = self._clock.now()
        found = await self._work.take_over(conn, self._owner, expired_by, self._lease, CLAIM)
        if not found:
            return 0
        started = await self._work.attempts_under_way(conn, [job for job, _ in found])
        lost = [settle_lost(job, started.get(job.delivery_id, now), now, self._jitter()) for job, _ in found]
        await self._work.settle(conn, [one.settlement for one in lost])
        await self._work.finish_attempts(conn, [one.attempt for one in lost])
        await self._recorder.announce(conn, lost)
        self._numbers.add(metrics.LEASES_LOST, len(lost), service="notifier")
        return len(lost)


def _indivisible(job: Job) -> bool:
    """Whether *job* goes to everybody it is for, or to nobody yet.

    A repeat to one less is another message, which the platform would not recognise; and whoever had to wait for one
    page would be overtaken by the next.
    """
    return job.unclear_since is not None or job.lane is not None
