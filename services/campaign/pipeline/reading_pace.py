"""How fast tasks that exist are asked after: within the rate of all calls, and, while tasks are to be made, within half of it.

Making tasks goes on while thousands of others are followed: whoever asks after them leaves the other half alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.pipeline.pacing import KEY, Pacer, Slot
from services.campaign.store import follows
from shared.clock import Clock
from shared.db import limits
from shared.db.engine import Database
from shared.db.limits import Request
from shared.limits import Granted, Limit

READS: Final = f"{KEY}:follow"
_LONGEST: Final = 30.0


class NoSlot(Exception):
    """No slot came free in time."""


class ReadingPace:
    """Gives out slots, over all replicas."""

    def __init__(self, database: Database, pacer: Pacer, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.all: Final = pacer.limits
        """Of all calls together, under ``KEY``."""
        [whole] = pacer.limits
        self.limits: Final = (Limit(whole.name, max(1, whole.max // 2), whole.per),)
        """Of calls that follow tasks, under ``READS``, while others are to be made."""

    async def take(self, conn: AsyncConnection) -> Slot | float:
        """A slot in the caller's transaction, which has to end at once; or in how many seconds there will be one."""
        await limits.hold(conn, [KEY, READS], self._clock.now())
        since, now = time.monotonic(), self._clock.now()
        own = self.limits if await follows.making(conn) else self.all
        wish = Request(READS, own, beside=((KEY, self.all),))
        [verdict] = await limits.reserve_many(conn, [wish], now)
        if isinstance(verdict, Granted):
            return Slot(since)
        return max(0.01, (verdict.until - now).total_seconds())

    async def wait(self) -> Callable[[], bool]:
        """Wait for a slot; whether it still lasts. Raises NoSlot after half a minute."""
        ends_at = time.monotonic() + _LONGEST
        while True:
            found = await self._database.transact(self.take)
            if isinstance(found, Slot):
                return found.lasts
            if time.monotonic() + found > ends_at:
                raise NoSlot
            await asyncio.sleep(found)
