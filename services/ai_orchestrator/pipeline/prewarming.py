"""Once a day, by its own clocks, every active store's figures are prepared; what was missed today is caught up once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import ActiveStores
from services.ai_orchestrator.pipeline.starting import Order, Started, Starter
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Overtaken, Throttled, Unavailable
from shared.supervise import Turn

_LOOK: Final = 10.0
"""Seconds between looks at the clock."""
SCHEDULE: Final = "schedule"

_log = structlog.get_logger("reach.ai_orchestrator.runs")


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
    ) -> None:
        self._database = database
        self._book = book
        self._starter = starter
        self._stores = stores
        self._clock = clock
        self._cron = cron
        self._done: dict[str, datetime] = {}
        """Of each zone the time up to which all is begun."""

    async def run(self, turn: Turn) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            turn()
            await asyncio.sleep(_LOOK)

    async def look(self) -> list[str]:
        """Start what is due today and has not been started; the runs."""
        now = self._clock.now()
        async with self._database.read() as conn:
            stores = await self._stores(conn, now)
        zones = {zone.key: zone for zone in stores.values()}
        due = {
            key: at for key, zone in zones.items() if (at := latest_of_day(self._cron, now, zone)) is not None
        }
        open_zones = {key for key, at in due.items() if self._done.get(key) != at}
        begun: list[str] = []
        failed: set[str] = set()
        for store_id, zone in stores.items():
            if zone.key not in open_zones:
                continue
            try:  # a transaction each: one store's trouble is not another's
                started = await self._database.transact(partial(self._start, store_id, now.astimezone(zone)))
            except (Overtaken, Throttled, Unavailable):
                raise  # the database's: all of them are begun at the next look
            except Exception:
                _log.exception("figures could not be prepared", store_id=store_id)
                failed.add(zone.key)
                continue
            begun += [one.run_id for one in started if not one.deduplicated]
        self._done |= {key: due[key] for key in open_zones - failed}
        return begun

    async def _start(self, store_id: str, now: datetime, conn: AsyncConnection) -> list[Started]:
        day = now.date().isoformat()
        return [
            await self._starter.start(
                conn, Order(chain, Subject(store_id), "", f"{SCHEDULE}:{day}", SCHEDULE), now, again=False
            )
            for chain in self._book.chains.values()
            if chain.prewarm
        ]


def latest_of_day(cron: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    """The latest time of *cron* that has come today on the clocks of *zone*; None before the first."""
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    latest = None
    for at in CronSim(cron, midnight - timedelta(seconds=1)):
        if at > local:
            break
        latest = at
    return latest
