"""The loop that asks: claims the steps that are due, keeps hold of them, calls, and takes over what others left behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import CallProblem, Completion, Count
from services.ai_orchestrator.domain.lifecycle import CANCELLED, DEFECT, INTERRUPTED, TIMEOUT
from services.ai_orchestrator.pipeline.ending import STEPS, STOPPED, Ending
from services.ai_orchestrator.pipeline.job import Job, Step, step_of
from services.ai_orchestrator.pipeline.ports import Provider
from services.ai_orchestrator.pipeline.preparing import Preparer
from services.ai_orchestrator.pipeline.settling import Over, Settler
from services.ai_orchestrator.pipeline.together import Together
from services.ai_orchestrator.store import attempts, run_batches, runs
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import LOW, NORMAL, DueQueue
from shared.errors import Overtaken, Throttled, Unavailable
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class

LEASE: Final = timedelta(seconds=30)
BREAK_OFF: Final = timedelta(seconds=15)
"""How long a call goes on after this process was told to stop."""
_SETTLING: Final = 5.0
"""Seconds of a drain that are kept for writing how calls ended."""
_TAKEN: Final = 100
_POLL: Final = 1.0
_SWEEP: Final = 1.0
_SLACK: Final = 1.0
"""Seconds beyond its time-out in which a provider may still say by itself what happened."""
_LINGER: Final = 0.003
"""Seconds that an answer nobody waits for is kept, to be settled with others: less than a settlement takes."""
_FIRST: Final = 0.1
"""Seconds that an answer waits to be settled for the request that goes in its place: both want the same rows."""
_ANY_LEASE: Final = datetime(9000, 1, 1, tzinfo=UTC)

_log = structlog.get_logger("reach.ai_orchestrator.runs")


@dataclass(slots=True)
class _Held:
    """A step in this replica's hands."""

    step: Step
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""
    goes_on: bool = False
    """Whether its place is to be filled by what is next, in the transaction that settles it."""
    filled: bool = False
    answered: bool = False
    """Whether its place is free: its answer is there, and only to be settled."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is being asked, or will not be."""
    task: asyncio.Task[None] | None = None


@value_class
class _Answered:
    """A step whose call is over."""

    held: _Held = field(hash=False)
    over: Over


class Engine:
    """Asks for steps; as many at once as it was told."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        preparer: Preparer,
        settler: Settler,
        ending: Ending,
        provider: Provider,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        at_once: int,
        prewarm_at_once: int,
        lease: timedelta = LEASE,
        break_off: timedelta = BREAK_OFF,
    ) -> None:
        """*at_once* steps in this replica, of which at most *prewarm_at_once* nobody waits for."""
        self._database = database
        self._queue = queue
        self._preparer = preparer
        self._settler = settler
        self._ending = ending
        self._provider = provider
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._at_once = at_once
        self._prewarm_at_once = min(prewarm_at_once, at_once)
        self._lease = lease
        self._break_off = break_off
        self._held: dict[str, _Held] = {}
        self._signal = database.wakeups.listen(STEPS)
        self._settling: Together[_Answered, Step | None] = Together(self._settle)
        self._handing: Together[_Held, Step | None] = Together(self._hand)
        self._claiming = asyncio.Lock()
        self._closed = False

    # --- Claiming ---------------------------------------------------------------------------------------

    async def run(self, turn: Turn) -> None:
        """Ask until cancelled."""
        while True:
            async with self._claiming:
                claimed = await self.once(go_on=True) if not self._closed else 0
            turn()
            if not claimed:
                # Who is full has no use for what is due: whoever settles a step takes the next one up.
                full = self._busy >= self._at_once
                await self._signal.wait(_POLL if full else await self._until_due())

    async def once(self, *, go_on: bool = False) -> int:
        """Claim what there is room for and begin it; how many. *go_on*: and what follows them, one after the other."""
        free = self._at_once - self._busy
        if free <= 0:
            return 0
        idle = self._prewarm_at_once - sum(
            held.step.prewarm and not held.answered for held in self._held.values()
        )
        taken = await self._database.transact(lambda conn: self._claim(conn, free, idle))
        for step in taken:
            self._begin(step, go_on=go_on)
        return len(taken)

    def _begin(self, step: Step, *, go_on: bool) -> _Held:
        held = self._held[step.id] = _Held(step, goes_on=go_on)
        held.task = asyncio.create_task(self._work(held), name=f"step {step.id}")
        held.task.add_done_callback(partial(self._done, held))
        return held

    async def _claim(self, conn: AsyncConnection, free: int, idle: int) -> list[Step]:
        now = self._clock.now()
        await self._queue.promote(conn, now)
        if idle >= free:
            rows = await self._queue.claim(conn, self._owner, now, self._lease, free)
        else:
            rows = await self._queue.claim(conn, self._owner, now, self._lease, free, least=NORMAL)
            if (left := min(free - len(rows), idle)) > 0:
                rows += await self._queue.claim(conn, self._owner, now, self._lease, left)
        return [step_of(row, prewarm=row["priority"] == LOW) for row in rows]

    async def _until_due(self) -> float:
        async with self._database.read() as conn:
            due = await self._queue.next_due(conn)
        if due is None:
            return _POLL
        return min(_POLL, max(0.01, (due - self._clock.now()).total_seconds()))

    # --- One step ---------------------------------------------------------------------------------------

    async def _work(self, held: _Held) -> None:
        """Make it ready, ask, settle. What is cancelled here is left to whoever takes the step over."""
        try:
            job = await self._preparer.prepare(held.step)
        finally:
            held.ready.set()
        if job is None:
            return
        outcome = await self._call(job, held)
        company = held.step.prewarm and self._busy > 1
        try:
            over = self._settler.read(job, outcome)
            if over.good and held.step.prewarm and held.goes_on:
                await self._hand_over(held, _LINGER if company else 0.0)
            following = await self._settling.do(_Answered(held, over))
        except (Overtaken, Throttled, Unavailable):
            raise  # the database's: the request counts as unknown to whoever takes the step over
        except Exception as error:
            # Whoever asked again would pay for the same once more.
            _log.exception("an answer could not be settled", attempt_id=job.wish.attempt_id)
            following = await self._settling.do(_Answered(held, self._settler.read(job, _defect(error))))
        if following is not None:
            self._replace(held, following)
            del self._held[held.step.id]

    @property
    def _busy(self) -> int:
        """Places that are taken."""
        return sum(not held.answered for held in self._held.values())

    def _replace(self, held: _Held, following: Step) -> _Held:
        """Begin what goes in the place of a step."""
        held.filled = held.answered = True
        return self._begin(following, go_on=True)

    async def _hand_over(self, held: _Held, linger: float) -> None:
        """Let the next one be asked in the place of a step that has its answer; that is settled while the other is asked."""
        held.answered = True
        try:
            following = await self._handing.do(held, linger)
        except Exception:  # whatever is wrong with what comes next, the answer is settled
            _log.exception("a place is filled when its step is settled", step_id=held.step.id)
            following = None
        held.answered = following is not None
        if following is not None:
            successor = self._replace(held, following)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(successor.ready.wait(), _FIRST)

    async def _hand(self, answered: Sequence[_Held]) -> Sequence[Step | None]:
        """Take up what goes in the places of steps that have their answers."""
        following: list[Step] = []
        ids = {held.step.id for held in self._held.values() if held.answered}

        async def take(conn: AsyncConnection) -> None:
            for _, run in sorted(
                (await run_batches.lock(conn, {one.step.run_id for one in answered})).items()
            ):
                if run.status.open:
                    await self._ending.release(conn, run, ids)
            following[:] = await self._following(conn, answered)

        await self._database.transact(take)
        return [*following, *(None for _ in answered[len(following) :])]

    async def _settle(self, answered: Sequence[_Answered]) -> Sequence[Step | None]:
        """Settle calls that ended in the same moment, and take up what goes in their places, in that transaction."""
        following: list[Step] = []

        async def take_next(conn: AsyncConnection) -> list[str]:
            # A transaction that is made again begins with an empty hand.
            following[:] = await self._following(conn, [one.held for one in answered])
            return [step.id for step in following]

        await self._settler.settle([one.over for one in answered], take_next)
        return [*following, *(None for _ in answered[len(following) :])]

    async def _following(self, conn: AsyncConnection, held: Sequence[_Held]) -> list[Step]:
        """What takes the places of steps: of another kind only where that is more urgent."""
        going = [] if self._closed else [one for one in held if one.goes_on and not one.filled]
        if not going:
            return []
        now = self._clock.now()
        await self._queue.promote(conn, now)
        idle = sum(one.step.prewarm for one in going)
        rows: list[RowMapping] = []
        for places, least in ((len(going) - idle, NORMAL), (idle, LOW)):
            if places:
                rows += await self._queue.claim(conn, self._owner, now, self._lease, places, least=least)
        return [step_of(row, prewarm=row["priority"] == LOW) for row in rows]

    async def _call(self, job: Job, held: _Held) -> Completion | CallProblem:
        """At most one request, over within its time-out; broken off, with its socket, when the step is taken away."""
        timeout = job.call.timeout.total_seconds()
        began = time.monotonic()
        call = asyncio.create_task(self._provider.complete(job.call))
        stop = asyncio.create_task(held.stop.wait())
        try:
            await asyncio.wait({call, stop}, timeout=timeout + _SLACK, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
        except Exception as error:
            _log.exception("a call failed by our own doing", attempt_id=job.wish.attempt_id)
            return _defect(error)
        finally:
            stop.cancel()
            if not call.done():
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await call
        took = timedelta(seconds=time.monotonic() - began)
        if held.stop.is_set():
            text = "broken off: " + ("this process stops" if held.why == INTERRUPTED else "its run has ended")
            again = held.why == INTERRUPTED
            return CallProblem(held.why, message=text, count=Count.NEVER, repeatable=again, took=took)
        return CallProblem(TIMEOUT, message="no answer within its time", took=took)

    def _done(self, held: _Held, task: asyncio.Task[None]) -> None:
        if self._held.get(held.step.id) is held:  # and not what came back at once, to be asked once more
            del self._held[held.step.id]
        if not held.filled:
            self._signal.set()
        if not task.cancelled() and (failure := task.exception()) is not None:
            # It is taken over when its lease runs out; a request that was begun counts as unknown.
            _log.error("a step failed", task=task.get_name(), exc_info=failure)

    # --- Keeping hold -----------------------------------------------------------------------------------

    async def keep(self, turn: Turn) -> None:
        """Renew leases, and break off what was ended or taken over, until cancelled."""
        stopped = self._database.wakeups.listen(STOPPED)
        while True:
            await self.renew()
            turn()
            await stopped.wait(min(_POLL, self._lease.total_seconds() / 3))

    async def renew(self) -> None:
        """Once."""
        held = {step_id: one for step_id, one in self._held.items() if not one.stop.is_set()}
        if not held:
            return
        pairs = [(step_id, one.step.epoch) for step_id, one in held.items()]
        until = self._clock.now() + self._lease
        ours = await self._database.transact(lambda conn: self._queue.renew(conn, pairs, until))
        for step_id, one in held.items():
            if step_id not in ours and step_id in self._held:
                one.why = CANCELLED
                one.stop.set()

    # --- Taking over ------------------------------------------------------------------------------------

    async def sweep(self, turn: Turn) -> None:
        """Take over what others left, and end what is past its time, until cancelled."""
        while True:
            await self.sweep_once()
            turn()
            await asyncio.sleep(_SWEEP)

    async def sweep_once(self) -> None:
        """Once."""
        # First what is this replica's own: after a pause, of it or of the database, leases may have run out whose calls go on.
        await self.renew()
        now = self._clock.now()
        await self._take_over(now)
        async with self._database.read() as conn:
            late = await runs.overdue(conn, now, _TAKEN)
            orphans = await attempts.orphans(conn, now, _TAKEN)
        for run_id in late:
            await self._database.transact(partial(self._settler.expire, run_id, now))
        for orphan in orphans:
            await self._database.transact(partial(self._settler.bury, orphan, now))

    async def take_over_orphans(self) -> None:
        """Take over everything that is under a lease, expired or not: this database has no other process."""
        await self._take_over(_ANY_LEASE)

    async def _take_over(self, expired_by: datetime) -> None:
        while True:
            late = await self._database.transact(lambda conn: self._expired(conn, expired_by))
            for step in late:
                self._numbers.add(metrics.LEASES_LOST, service="ai_orchestrator")
                await self._database.transact(partial(self._settler.take_over, step))
            if len(late) < _TAKEN:
                return

    async def _expired(self, conn: AsyncConnection, expired_by: datetime) -> Sequence[Step]:
        # Under a lease from now on, whatever *expired_by* says.
        lease = self._clock.now() + self._lease - expired_by
        rows = await self._queue.expired(conn, self._owner, expired_by, lease, _TAKEN)
        return [step_of(row, prewarm=row["priority"] == LOW) for row in rows]

    # --- Stopping ---------------------------------------------------------------------------------------

    async def drain(self, timeout: float) -> None:
        """Begin nothing more; let calls end, and break off those that take longer; at most *timeout* seconds."""
        end = time.monotonic() + timeout
        self._closed = True
        async with self._claiming:  # a claim that was under way has begun its steps
            pass
        await self._ended(min(self._break_off.total_seconds(), max(0.0, timeout - _SETTLING)))
        for held in self._held.values():
            held.why = INTERRUPTED
            held.stop.set()
        await self._ended(end - time.monotonic())

    async def settled(self) -> None:
        """Wait until what is under way is settled; every call is bounded."""
        while self._held:
            await asyncio.wait([held.task for held in self._held.values() if held.task])
        await self._preparer.idle()

    async def _ended(self, timeout: float) -> None:
        # Until nothing is left: one that was being settled may still have taken the next one up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout)):
                await self.settled()


def _defect(error: Exception) -> CallProblem:
    return CallProblem(DEFECT, message=type(error).__name__, count=Count.NEVER)
