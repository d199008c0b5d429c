"""Callers who want to know how their deliveries ended, within their patience."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.store.reading import DeliveryView, deliveries_of_event
from shared.db.engine import Database

_LOOK_AGAIN = 0.25
"""Seconds between looks when another replica may be sending."""


class Settling:
    """Wakes those who wait whenever deliveries were settled in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._settled = asyncio.Event()

    def announce(self, ids: Sequence[str]) -> None:
        """Some deliveries were settled."""
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    @property
    def change(self) -> asyncio.Event:
        """Set at the next change; to be taken before looking, so that nothing falls between."""
        return self._settled

    async def changed(self, change: asyncio.Event, timeout: float = _LOOK_AGAIN) -> None:
        """Wait for *change*, at most *timeout* seconds."""
        try:
            async with asyncio.timeout(timeout):
                await change.wait()
        except TimeoutError:
            return

    async def views(self, event_id: str, store_id: str, wait: timedelta) -> list[DeliveryView]:
        """The deliveries of one event, once none is open any more or *wait* is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        while True:
            change = self.change
            async with self._database.read() as conn:
                views = await deliveries_of_event(conn, event_id, store_id)
            left = end - loop.time()
            if left <= 0 or not any(DeliveryStatus(view.status).open for view in views):
                return views
            await self.changed(change, min(left, _LOOK_AGAIN))
