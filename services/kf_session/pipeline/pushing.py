"""The loop that sends: claims what is due, lets the gates judge it, calls, and takes over what died in somebody's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.admitting import WAKEUP
from services.kf_session.pipeline.deciding import Decider, Job
from services.kf_session.pipeline.settling import LOST, Settler
from services.kf_session.store import outgoing
from services.kf_session.store.outgoing import Claimed
from services.kf_session.store.tables import push
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import PENDING, DueQueue, Settlement
from shared.due_worker import POLL, DueWorker
from shared.supervise import Turn
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


class Pusher(DueWorker[Claimed]):
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
        super().__init__(
            database, queue, push, clock, numbers, owner, service="kf_session", lease=lease, batch=CLAIM
        )
        self._decider = decider
        self._settler = settler
        self._way = way
        self._deadline = deadline
        self._at_once = at_once

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
                await asyncio.wait(self._calls, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                continue
            await signal.wait(await self._until_due())

    async def once(self, limit: int = CLAIM) -> int:
        """Claim up to *limit* and begin to send those that may go; how many were claimed."""
        claimed = await self._database.transact(lambda conn: self._claim(conn, limit))
        if claimed:
            # A transaction of its own: sessions are locked before pushes, and a claim begins with pushes.
            jobs = await self._database.transact(lambda conn: self._decide(conn, claimed))
            for job in jobs:
                self._begin(self._make(job), f"push {job.push.id}")
        return len(claimed)

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

    def _read(self, row: RowMapping) -> Claimed:
        return outgoing.claimed(row)

    async def _bury(self, one: Claimed) -> None:
        """An attempt that was begun may have arrived; a push that was claimed and no more goes back as it was."""
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
