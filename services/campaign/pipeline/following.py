"""The loop that follows tasks: looks at what is due, reminds, stops what is over, and takes over what died in somebody's
hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import RowMapping

from services.campaign.domain.following import Fault, FollowStatus, fault_of
from services.campaign.pipeline.asking_after import CANCEL, DEADLINE, Asker, Sight
from services.campaign.pipeline.follow_settling import FollowSettler, told_of
from services.campaign.pipeline.reconciling import WAKEUP
from services.campaign.pipeline.reminding import Reminding
from services.campaign.store import follows
from services.campaign.store.follow_tables import task_follow
from services.campaign.store.follows import Followed
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue
from shared.due_worker import POLL, DueWorker
from shared.supervise import Turn
from shared.telemetry.metrics import Metrics
from shared.wecom.outcome import State

AT_ONCE: Final = 8
"""Tasks in hand in one replica."""
CLAIM: Final = 100
LEASE: Final = timedelta(minutes=3)
"""Longer than a look of several pages at the platform's rate; whoever is slower is followed by another, to no harm."""
_MARGIN: Final = 2.0
_log = structlog.get_logger("reach.campaign.following")


class Follower(DueWorker[Followed]):
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
        super().__init__(
            database, queue, task_follow, clock, numbers, owner, service="campaign", lease=lease, batch=CLAIM
        )
        self._asker = asker
        self._settler = settler
        self._reminding = reminding
        self._at_once = at_once

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
                await asyncio.wait(self._calls, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                continue
            await signal.wait(await self._until_due())

    async def once(self, limit: int = AT_ONCE) -> int:
        """Claim up to *limit* and begin with them; how many were claimed."""
        claimed = await self._database.transact(lambda conn: self._claim(conn, limit))
        claimed_at = time.monotonic()
        for one in claimed:
            self._begin(self._handle(one, claimed_at), f"follow {one.id}")
        return len(claimed)

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

    def _read(self, row: RowMapping) -> Followed:
        return follows.followed(row)

    async def _bury(self, one: Followed) -> None:
        """It was looked at, and no more: it is looked at again."""
        await self._settler.back(one)
