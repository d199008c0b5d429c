"""Deliveries as their status changes, from now on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from services.notifier.pipeline.waiting import Settling
from services.notifier.store.reading import Changed, DeliveryView, Filter, changed_since, with_recipients
from shared.clock import Clock
from shared.db.engine import Database

OVERLAP = timedelta(seconds=10)
"""How far each look reaches back: a transaction may commit after one that was stamped later."""

PAGE = 500
_PACE = 0.1
"""Seconds between two looks at least: under load something changes all the time."""


class Watching:
    """Follows changes by looking at what was stamped lately; wakes at once for what this process settles."""

    def __init__(self, database: Database, settling: Settling, clock: Clock) -> None:
        self._database = database
        self._settling = settling
        self._clock = clock

    async def changes(self, wanted: Filter, since: datetime) -> AsyncIterator[DeliveryView]:
        """Each status that a delivery takes at or after *since*, once, for as long as somebody iterates."""
        seen: set[Changed] = set()
        while True:
            change = self._settling.change
            async for view in self._look(wanted, since, seen):
                yield view
            since = max(since, self._clock.now() - OVERLAP)
            seen = {one for one in seen if one[0] >= since}
            await self._settling.changed(change)
            await asyncio.sleep(_PACE)

    async def _look(self, wanted: Filter, since: datetime, seen: set[Changed]) -> AsyncIterator[DeliveryView]:
        """What changed since and was not seen; remembers what it has seen."""
        after = (since, "")
        while True:
            async with self._database.read() as conn:
                page = await changed_since(conn, wanted, after, PAGE)
                new = [one for one in page if one not in seen]
                views = await with_recipients(conn, [key for _, key, _, _ in new]) if new else []
            seen.update(new)
            for view in views:
                yield view
            if len(page) < PAGE:
                return
            after = page[-1][:2]
