"""What begins by itself: chains by their events, and by the clock what nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from services.ai_orchestrator.domain.definitions import ChainDefinition
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import ActiveStores
from services.ai_orchestrator.pipeline.prewarming import SCHEDULE
from services.ai_orchestrator.store import run_reading
from shared.db.engine import Database
from shared.ops.part import ScheduleView


class Schedules:
    """Meets ``shared.ops.part.Schedules``."""

    def __init__(self, database: Database, book: Book, stores: ActiveStores, cron: str) -> None:
        self._database = database
        self._book = book
        self._stores = stores
        self._cron = cron

    async def listed(self, now: datetime) -> Sequence[ScheduleView]:
        """Each chain by its event, and each that is prepared by the clocks there are."""
        chains = sorted(self._book.chains.values(), key=lambda chain: chain.name)
        found = [_by_event(chain) for chain in chains]
        async with self._database.read() as conn:
            clocks: dict[str, list[str]] = {}
            for store_id, zone in (await self._stores(conn, now)).items():
                clocks.setdefault(zone.key, []).append(store_id)
            for chain in chains:
                if not chain.prewarm:
                    continue
                for zone_key, stores in sorted(clocks.items()):
                    view = ScheduleView(
                        name=chain.name,
                        description=_applications(chain),
                        cron=self._cron,
                        time_zone=zone_key,
                        stores=len(stores),
                        last_at=await run_reading.last_begun(conn, chain.name, SCHEDULE, stores),
                        next_at=next(CronSim(self._cron, now.astimezone(ZoneInfo(zone_key)))),
                    )
                    found.append(view)
        return found


def _by_event(chain: ChainDefinition) -> ScheduleView:
    return ScheduleView(name=chain.name, description=_applications(chain), event_type=chain.event_type)


def _applications(chain: ChainDefinition) -> str:
    return ", ".join(dict.fromkeys(step.app_type for step in chain.steps))
