"""Claims what became due, lets it go as far as the rates allow, and takes over what died in somebody's hands."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain import retry
from services.notifier.domain.breaker import HELD
from services.notifier.domain.digest import digest
from services.notifier.domain.gates import Gate
from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.domain.policy import NO_POLICIES, Policies
from services.notifier.domain.routing import Channel, Target
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.books import Book, BookMoved, Books
from services.notifier.pipeline.breakers import Breakers
from services.notifier.pipeline.handing import claim_for
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.limits import Held, Rates, Toll
from services.notifier.pipeline.members import Pools, choose
from services.notifier.pipeline.recording import WAKEUP, Recorder
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.sending import Senders
from services.notifier.pipeline.settling import Settled, end_dropped, end_late, put_off, settle_lost
from services.notifier.store import bins
from services.notifier.store.rulebook import version_now
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


async def _no_pools() -> Pools:
    return {}


@dataclass(slots=True)
class _Held:
    """A recipient that has to wait."""

    target: Target
    held: Held


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
    closed: list[str] = field(default_factory=list)
    """Digests that end without having gone: nothing may be added to them any more."""

    meant: dict[str, datetime] = field(default_factory=dict)
    """By delivery, until when it is kept on purpose."""

    leaving: list[Job] = field(default_factory=list)
    """Those that are kept on purpose, and keep nobody else in their robot's lane."""
    probes: dict[str, Job] = field(default_factory=dict)
    """By credential, the job that is to try it; the others of that credential wait."""

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
        books: Books,
        breakers: Breakers,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        lease: timedelta,
        *,
        pools: Callable[[], Awaitable[Pools]] = _no_pools,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pools = pools
        self._database = database
        self._work = work
        self._senders = senders
        self._recorder = recorder
        self._rates = rates
        self._rests = rests
        self._books = books
        self._breakers = breakers
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
        self._breakers.pools = await self._pools()
        book = await self._books.current()
        while True:
            try:
                done = await claim_for(
                    self._senders, self._database, partial(self._claim_in, limit=limit, book=book)
                )
                break
            except BookMoved:
                book = await self._books.newer_than(book)
        if done.next_due_at is None:
            return done.claimed, _POLL
        return done.claimed, max(0.0, (done.next_due_at - self._clock.now()).total_seconds())

    async def _claim_in(self, conn: AsyncConnection, limit: int, book: Book) -> _Round:
        if await version_now(conn) != book.version:
            raise BookMoved
        now = self._clock.now()
        await self._rests.load(conn)
        await self._breakers.load(conn, now)
        await self._work.queue.promote(conn, now)
        claimed = await self._work.claim(conn, self._owner, now, self._lease, limit)
        gathering = [job.delivery_id for job, _ in claimed if job.heading is not None]
        if gathering:
            # Before any rate: whoever adds to them takes the same order.
            await bins.hold_open(conn, gathering)
        done = await self._judge(conn, claimed, book.policies, now)
        await self._empty_bins(conn, done, now)
        for delivery_id in done.closed:
            await bins.abandon(conn, delivery_id)
        await self._work.settle(conn, done.settlements)
        await self._work.keep_until(conn, done.meant)
        for job in done.leaving:
            await self._work.leave_lane(conn, job)
            self._database.wakeups.notify(conn, WAKEUP)  # what was behind it in the lane may go now
        await self._recorder.announce(conn, done.ended)
        await self._work.insert_deliveries(conn, done.siblings)
        await self._work.move_recipients(conn, done.moves)
        await release_many(conn, done.releases, now)
        await self._work.start_attempts(conn, [started_attempt(job, self._owner, now) for job in done.jobs])
        done.next_due_at = await self._work.queue.next_due(conn)
        return done

    async def _judge(
        self,
        conn: AsyncConnection,
        claimed: Sequence[tuple[Job, RowMapping]],
        policies: Policies,
        now: datetime,
    ) -> _Round:
        """Which of *claimed* may go now; the others, or their held recipients, wait."""
        done = _Round(len(claimed))
        jobs = [job for job, _ in claimed]
        await choose(conn, jobs, self._breakers.pools, now, self._rates, self._rests, self._breakers)
        wanted = [(job, row) for job, row in claimed if not self._stays(job, now, done)]
        held = await self._reserve(conn, [job for job, _ in wanted], policies, now)
        for job, row in wanted:
            waiting = held.get(job.delivery_id, [])
            if self._divides(job, waiting):
                waiting = self._drop_some(job, row, waiting, now, done)
            if not waiting:
                done.jobs.append(job)
            elif all(one.held.drop for one in waiting) and len(waiting) == len(job.targets):
                self._drop(job, waiting[0].held.reason, now, done)
            elif len(waiting) == len(job.targets) or _indivisible(job):
                self._put_off(job, waiting, now, done)
            else:
                self._split(job, row, waiting, now, done)
                done.jobs.append(job)
        await self._seize_probes(conn, now, done)
        return done

    async def _seize_probes(self, conn: AsyncConnection, now: datetime, done: _Round) -> None:
        """Let one delivery of all replicas try each credential whose breaker is open, if it may go at all."""
        for key, job in sorted(done.probes.items()):
            if job not in done.jobs:
                continue
            until = await self._breakers.seize(conn, key, job, now)
            if until is not None:
                done.jobs.remove(job)
                done.settlements.append(put_off(job, now, until, HELD))
                done.releases += self._rates.releases(job, job.targets)
                done.releases += job.counted
                self._rejoin(job, done)

    @staticmethod
    def _rejoin(job: Job, done: _Round) -> None:
        """Take back that some of its recipients were parted from it: it does not go, and may go on gathering."""
        parted = {new for old, new, _ in done.moves if old == job.delivery_id}
        done.moves = [move for move in done.moves if move[1] not in parted]
        done.siblings = [row for row in done.siblings if row["id"] not in parted]

    def _put_off(self, job: Job, waiting: Sequence[_Held], now: datetime, done: _Round) -> None:
        choose = max if _indivisible(job) else min
        chosen = choose(waiting, key=lambda one: one.held.until).held
        done.settlements.append(put_off(job, now, chosen.until, chosen.reason))
        held = {one.target for one in waiting}
        done.releases += self._rates.releases(job, [one for one in job.targets if one not in held])
        done.releases += job.counted
        self._count_wait(chosen, len(waiting))
        if not chosen.on_purpose:
            return
        done.meant[job.delivery_id] = chosen.until
        if job.lane == job.channel:
            done.leaving.append(job)

    @staticmethod
    def _divides(job: Job, waiting: Sequence[_Held]) -> bool:
        """Whether those among *waiting* who are to get nothing can be told apart from the others now.

        A digest that goes on gathering stays whole: what comes to it is for everybody it is for.
        """
        dropped = sum(one.held.drop for one in waiting)
        stays = len(waiting) == len(job.targets) and job.heading is not None
        return 0 < dropped < len(job.targets) and not stays and not _indivisible(job)

    def _drop_some(
        self, job: Job, row: RowMapping, waiting: Sequence[_Held], now: datetime, done: _Round
    ) -> list[_Held]:
        """Leave those who are to get nothing to siblings that never go; those who wait are the answer."""
        for reason in dict.fromkeys(one.held.reason for one in waiting if one.held.drop):
            due = self._work.queue.ended(DeliveryStatus.SUPPRESSED.value, job.priority, now)
            whose = [one.target for one in waiting if one.held.drop and one.held.reason == reason]
            self._leave(job, {**row, **due, "reason": reason}, whose, now, done)
        return [one for one in waiting if not one.held.drop]

    def _drop(self, job: Job, reason: str, now: datetime, done: _Round) -> None:
        ended = end_dropped(job, now, reason)
        done.ended.append(ended)
        done.settlements.append(ended.settlement)
        if job.heading is not None:
            done.closed.append(job.delivery_id)

    async def _empty_bins(self, conn: AsyncConnection, done: _Round, now: datetime) -> None:
        """Give the digests among those that go their words; from here on nothing is added to them."""
        going = {job.delivery_id: job for job in done.jobs if job.heading is not None}
        if not going:
            return
        for delivery_id, found in (await bins.empty(conn, going, now)).items():
            job = going[delivery_id]
            if job.heading is not None and found.count > 1:
                job.content = digest(job.heading, found, Channel(job.channel.partition(":")[0]))
        await self._work.write_contents(conn, {key: job.content for key, job in going.items()})
        siblings = {new: old for old, new, _ in done.moves if old in going}
        for row in done.siblings:
            if row["id"] in siblings:
                row["content"] = going[siblings[str(row["id"])]].content.to_json()
        await bins.copy(conn, [(old, new) for new, old in siblings.items()])

    def _stays(self, job: Job, now: datetime, done: _Round) -> bool:
        """Whether *job* may not be sent now, whatever its rates say; what becomes of it is settled then."""
        kind = job.channel.partition(":")[0]
        if kind == Channel.APP.value and retry.forgotten(job.unclear_since, now):
            # Held up for longer than the platform recognises a repeat: the same bytes would be a second message.
            ended = end_late(job, now)
            done.ended.append(ended)
            done.settlements.append(ended.settlement)
            return True
        until = self._rests.until(job.credential, now)
        if until is not None:
            done.settlements.append(put_off(job, now, until, f"rate:{kind}"))
            return True
        until = self._breakers.hold(job, now, done.probes)
        if until is not None:
            done.settlements.append(put_off(job, now, until, HELD))
        return until is not None

    async def _reserve(
        self, conn: AsyncConnection, jobs: Sequence[Job], policies: Policies, now: datetime
    ) -> dict[str, list[_Held]]:
        """Take what rates and budgets ask for each recipient; those who have to wait, for that or for quiet to end."""
        held: dict[str, list[_Held]] = {}
        asked: list[tuple[Job, Target, Toll, Request]] = []
        for job in jobs:
            for target in job.targets:
                until = _quiet_until(job, target, policies, now)
                if until is not None:
                    found = _Held(target, Held(until, Gate.QUIET.value))
                    held.setdefault(job.delivery_id, []).append(found)
                    continue
                toll = self._toll(job, target, policies, now)
                request = toll.request
                if request is not None:
                    asked.append((job, target, toll, request))
        verdicts = await reserve_many(conn, [request for *_, request in asked], now)
        for (job, target, toll, _), verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Wait):
                found = _Held(target, toll.held(verdict, now, self._rates))
                held.setdefault(job.delivery_id, []).append(found)
            else:
                job.counted += tuple(toll.releases(now))
        return held

    def _toll(self, job: Job, target: Target, policies: Policies, now: datetime) -> Toll:
        # What may have arrived has been counted already.
        counting = policies if job.unclear_since is None else NO_POLICIES
        role, priority = job.roles.get(target), Priority(job.priority)
        return self._rates.toll(job.credential, target, counting, job.store_id, role, priority, now)

    def _split(
        self, job: Job, row: RowMapping, waiting: Sequence[_Held], now: datetime, done: _Round
    ) -> None:
        """Leave the waiting recipients to a sibling delivery."""
        first = min(waiting, key=lambda one: one.held.until).held
        due = self._work.queue.deferred(job.priority, now, first.until, first.reason, lane=job.lane)
        if first.on_purpose:
            due["go_at"] = first.until
        self._leave(job, {**row, **due}, [one.target for one in waiting], now, done)
        self._count_wait(first, len(waiting))

    @staticmethod
    def _leave(
        job: Job, row: Mapping[str, object], targets: Sequence[Target], now: datetime, done: _Round
    ) -> None:
        sibling = new_id()
        done.siblings.append({**row, "id": sibling, "created_at": now, "updated_at": now})
        done.moves.append((job.delivery_id, sibling, targets))
        job.targets = tuple(target for target in job.targets if target not in targets)

    def _count_wait(self, held: Held, amount: int) -> None:
        self._numbers.add(metrics.RATE_WAITS, amount, service="notifier", limit=held.limit)

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


def _quiet_until(job: Job, target: Target, policies: Policies, now: datetime) -> datetime | None:
    """Until when *target* is not to be told yet, where it comes to go in quiet hours after waiting for something else.

    What was accepted before them is held whatever they say: it was not promised that it would be dropped.
    """
    if policies.empty or job.priority == Priority.URGENT or job.unclear_since is not None:
        return None
    policy = policies.said(job.store_id, target, job.roles.get(target)).quiet
    if policy is None or policy.quiet is None:
        return None
    return policy.quiet.until(now, policies.zone_of(policy))


def _indivisible(job: Job) -> bool:
    """Whether *job* goes to everybody it is for, or to nobody yet.

    A repeat to one less is another message, which the platform would not recognise; and whoever had to wait for one
    page would be overtaken by the next.
    """
    return job.unclear_since is not None or job.lane is not None
