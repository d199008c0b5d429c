"""A fixed set of senders fed from one queue, the most urgent and oldest first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from services.notifier.pipeline.job import Finished, Job
from shared.clock import Clock
from shared.db.queue import rank_of
from shared.supervise import Turn
from shared.wecom.outcome import Outcome, State

SEND_DEADLINE = timedelta(seconds=10)
"""Bound on one whole call, from connecting to the last byte of the answer, where the settings say nothing else."""

LEASE_SHORT: Final = "nothing was sent: the lease had run short"
BROKEN: Final = "nothing was sent: the breaker of its credential had opened"
STOPPED: Final = "nothing was sent: the process was asked to stop"
LEASE_MARGIN = timedelta(seconds=2)
"""What a lease must hold beyond the deadline, so that nobody else takes the delivery while we send it."""

_TURN = 5.0
_log = structlog.get_logger("reach.notifier.send")


class Channels(Protocol):
    """What reaches the outside world."""

    async def send(self, job: Job, deadline: float) -> Outcome:
        """Make at most one request for *job* within *deadline* seconds; never raises for what the other side does."""
        ...


class Senders:
    """Sends jobs; at most *count* at once and *backlog* waiting."""

    def __init__(
        self,
        channels: Channels,
        outcomes: asyncio.Queue[Finished],
        clock: Clock,
        *,
        deadline: timedelta = SEND_DEADLINE,
        count: int = 64,
        backlog: int = 448,
        refuses: Callable[[Job], bool] = lambda job: False,
    ) -> None:
        """*refuses* says of a claimed job whether it may not be sent after all."""
        self._channels = channels
        self._outcomes = outcomes
        self._clock = clock
        self._deadline = deadline
        self._refuses = refuses
        self._count = count
        self._capacity = count + backlog
        self._waiting: asyncio.PriorityQueue[tuple[datetime, int, Job]] = asyncio.PriorityQueue()
        self._held = 0
        self._order = itertools.count()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def free(self) -> int:
        """How many more jobs may be submitted now; 0 as well when callers that asked together brought too many."""
        return max(0, self._capacity - self._held)

    @property
    def held(self) -> int:
        """Jobs waiting or under way."""
        return self._held

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue claimed jobs. The caller took no more than ``free``."""
        for job in jobs:
            self._held += 1
            # By rank as in the table: a low one is overtaken for a while, not for ever.
            place = rank_of(job.priority, job.created_at)
            self._waiting.put_nowait((place, next(self._order), job))

    def withdraw(self, jobs: Iterable[Job], why: str) -> None:
        """Record of claimed jobs that they are not sent, so that they go back as they were."""
        now = self._clock.now()
        for job in jobs:
            self._outcomes.put_nowait(Finished(job, None, now, now, why))

    async def room(self, timeout: float, wanted: int = 1) -> None:
        """Wait until *wanted* jobs may be submitted, at most *timeout* seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self.free < min(wanted, self._capacity) and (left := end - loop.time()) > 0:
            self._room.clear()
            await self.freed(left)

    async def freed(self, timeout: float) -> bool:
        """Wait until a sender has finished, at most *timeout* seconds; tells whether one has."""
        try:
            async with asyncio.timeout(timeout):
                await self._room.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, turn: Turn) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._loop())
            while True:
                turn()
                await asyncio.sleep(_TURN)

    async def drain(self, timeout: float) -> None:
        """Wait until nothing is under way, at most *timeout* seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self._held and (left := end - loop.time()) > 0:
            self._room.clear()
            await self.freed(left)

    def take_back(self) -> list[Job]:
        """Jobs that no sender has begun, taken out of the queue; for an orderly stop."""
        jobs = []
        while not self._waiting.empty():
            jobs.append(self._waiting.get_nowait()[2])
        self._held -= len(jobs)
        return jobs

    async def _loop(self) -> None:
        while True:
            _, _, job = await self._waiting.get()
            try:
                await self._make(job)
            finally:
                self._held -= 1
                self._room.set()

    async def _make(self, job: Job) -> None:
        """Make the attempt; whatever happens, what came of it is known to the recorder."""
        started = self._clock.now()
        if job.lease_until - started < self._deadline + LEASE_MARGIN:
            self.withdraw([job], LEASE_SHORT)
            return
        if self._refuses(job):
            self.withdraw([job], BROKEN)
            return
        # Until an answer says better, whether anything left is not known.
        outcome = Outcome(
            State.UNKNOWN, cause="stopped", detail="the sender was stopped before an answer came"
        )
        try:
            outcome = await self._channels.send(job, self._deadline.total_seconds())
        except asyncio.CancelledError:
            if _stopping():
                raise
            outcome = _defect(job)  # something the call awaited was cancelled, not we
        except Exception:
            outcome = _defect(job)
        finally:
            self._outcomes.put_nowait(Finished(job, outcome, started, self._clock.now()))


def _stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _defect(job: Job) -> Outcome:
    _log.exception("sending failed", delivery_id=job.delivery_id, attempt_no=job.attempt_no)
    return Outcome(State.UNKNOWN, cause="defect", detail="our own code failed; see the log")
