"""Everything about facts, wired: what the assembly takes from this slice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.planning import ALL, Site
from services.ai_orchestrator.pipeline import learning
from services.ai_orchestrator.pipeline.materials import FactMaterials
from services.ai_orchestrator.store import fact_aging
from services.ai_orchestrator.store.stores import active_stores, store_of
from services.ai_orchestrator.usecases.loading import Loading
from shared.clock import Clock
from shared.db.engine import Database
from shared.events.kinds import Event
from shared.settings import Settings


class FactsSide:
    """The parts: a use case for the servicer, the materials of prompts, and what the engine asks of stores."""

    types = learning.TYPES
    """The events whose facts are kept."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self.loading = Loading(database, clock, settings.default_zone)
        self.materials = FactMaterials(settings.default_zone)
        self._zone = settings.default_zone
        self._kept = settings.ai.facts_kept

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Delete a batch of facts past their time; how many there were."""
        return await fact_aging.purge(conn, now - self._kept, limit)

    async def learn(self, conn: AsyncConnection, event: Event, now: datetime) -> None:
        """Keep the fact of an event, in the transaction that takes it."""
        await learning.learn(conn, event, self._zone, now)

    async def site_of(self, conn: AsyncConnection, store_id: str) -> Site:
        """How a store is looked at."""
        store = await store_of(conn, store_id, self._zone)
        return Site(store.zone, store.time_dimensions, (ALL, *(area.key for area in store.areas)))

    async def active_stores(self, conn: AsyncConnection, now: datetime) -> Mapping[str, ZoneInfo]:
        """The stores whose figures are worth preparing, with the zone of their clocks."""
        return await active_stores(conn, self._zone)
