"""How fast the platform is called: so many requests in any second, whoever makes them.

A reservation holds for a moment only (``PROMPT``). The window is longer than a second by that moment and by what may pass
between leaving and arriving, so that however requests bunch up within it, no second sees more than it may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.making import JITTER, REST_MOST
from shared.clock import Clock
from shared.db import limits
from shared.db.engine import Database
from shared.db.limits import Request
from shared.db.rows import insert_into
from shared.db.tables import rate_window
from shared.limits import Granted, Limit
from shared.values import value_class

KEY: Final = "campaign:mass_send"
_REST: Final = "rest:campaign:mass_send"
PROMPT: Final = 0.15
"""Seconds within which a request leaves after its slot was reserved; else it does not leave."""
_TRAVEL: Final = 0.1
"""Seconds by which requests may come closer together on their way."""
_SECOND: Final = timedelta(seconds=1 + PROMPT + _TRAVEL)
_LONGEST: Final = 30.0


@value_class
class Slot:
    """Leave to make one request, now."""

    since: float
    """By the monotonic clock, which goes on while a process is frozen."""

    def lasts(self) -> bool:
        """Whether the request may still leave."""
        return time.monotonic() - self.since <= PROMPT


class Pacer:
    """Gives out slots, over all replicas."""

    def __init__(self, database: Database, clock: Clock, a_second: int) -> None:
        self._database = database
        self._clock = clock
        self.a_second = a_second
        self.limits: Final = (Limit("a_second", a_second, _SECOND),)
        """Of all calls together, under ``KEY``."""

    async def take(self, conn: AsyncConnection) -> Slot | datetime:
        """A slot in the caller's transaction, which has to end at once; or when there will be one."""
        await limits.hold(conn, [KEY], self._clock.now())
        since, now = time.monotonic(), self._clock.now()
        [verdict] = await limits.reserve_many(conn, [Request(KEY, self.limits)], now)
        return Slot(since) if isinstance(verdict, Granted) else verdict.until

    async def rest(self, conn: AsyncConnection, until: datetime) -> None:
        """The platform found it too fast: nothing is made before *until*, by any replica; a longer rest stays."""
        values = {"state": {"until": until.astimezone(UTC).isoformat()}, "updated_at": until}
        added = insert_into(self._database.dialect, rate_window).values(key=_REST, **values)
        longer = rate_window.c.updated_at < until
        await conn.execute(added.on_conflict_do_update(index_elements=["key"], set_=values, where=longer))

    async def rests(self, conn: AsyncConnection, now: datetime) -> datetime | None:
        """Until when nothing is made; None where it may be. Never for longer than a rest may take."""
        t = rate_window.c
        until: datetime | None = await conn.scalar(sa.select(t.updated_at).where(t.key == _REST))
        return min(until, now + REST_MOST * (1 + JITTER)) if until is not None and until > now else None

    async def room(self, wanted: int) -> tuple[int, datetime | None]:
        """How many of *wanted* slots are free now, and when there will be one where none is; nothing is taken."""
        async with self._database.read() as conn:
            verdicts = await limits.peek_many(conn, [(KEY, self.limits)] * wanted, self._clock.now())
        free = sum(isinstance(one, Granted) for one in verdicts)
        later = [one.until for one in verdicts if not isinstance(one, Granted)]
        return free, (min(later) if later and not free else None)

    async def wait(self) -> Callable[[], bool]:
        """Wait for a slot of one's own, for requests that make nothing; whether it still lasts."""
        async with asyncio.timeout(_LONGEST):
            while True:
                found = await self._database.transact(self.take)
                if isinstance(found, Slot):
                    return found.lasts
                await asyncio.sleep(max(0.01, (found - self._clock.now()).total_seconds()))
