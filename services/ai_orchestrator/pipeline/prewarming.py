"""Once a day every active store's figures are prepared; what was missed today is caught up once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import ActiveStores
from services.ai_orchestrator.pipeline.starting import Order, Started, Starter
from shared.clock import Clock
from shared.db.engine import Database
from shared.supervise import Turn

_LOOK: Final = 10.0
"""Seconds between looks at the clock."""
SCHEDULE: Final = "schedule"


class Prewarming:
    """Starts the chains that nobody waits for. A store's run of the day is one, whoever starts it and however often."""

    def __init__(
        self,
        database: Database,
        book: Book,
        starter: Starter,
        stores: ActiveStores,
        clock: Clock,
        *,
        cron: str,
        zone: ZoneInfo,
    ) -> None:
        self._database = database
        self._book = book
        self._starter = starter
        self._stores = stores
        self._clock = clock
        self._cron = cron
        self._zone = zone
        self._done: datetime | None = None

    async def run(self, turn: Turn) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            turn()
            await asyncio.sleep(_LOOK)

    async def look(self) -> list[str]:
        """Start what is due today and has not been started; the runs."""
        now = self._clock.now()
        due = self.due(now)
        if due is None or due == self._done:
            return []
        async with self._database.read() as conn:
            stores = await self._stores(conn, now)
        begun: list[str] = []
        for store_id in stores:  # a transaction each: one store's trouble is not another's
            started = await self._database.transact(partial(self._start, store_id, now))
            begun += [one.run_id for one in started if not one.deduplicated]
        self._done = due
        return begun

    def due(self, now: datetime) -> datetime | None:
        """The latest time of today that has come; None before the first."""
        local = now.astimezone(self._zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        latest = None
        for at in CronSim(self._cron, midnight - timedelta(seconds=1)):
            if at > local:
                break
            latest = at
        return latest

    async def _start(self, store_id: str, now: datetime, conn: AsyncConnection) -> list[Started]:
        day = now.astimezone(self._zone).date().isoformat()
        return [
            await self._starter.start(
                conn, Order(chain, Subject(store_id), "", f"{SCHEDULE}:{day}", SCHEDULE), now, again=False
            )
            for chain in self._book.chains.values()
            if chain.prewarm
        ]
