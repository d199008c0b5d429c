"""Looking at insights."""

from __future__ import annotations

from services.ai_orchestrator.domain.insights import Insight
from services.ai_orchestrator.store import insights as store
from services.ai_orchestrator.store.insights import Place, Wanted
from shared.db.engine import Database
from shared.errors import NotFound


class Insights:
    """What was found out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, store_id: str, cache_type: str, target: str) -> Insight:
        """The newest for a target. Raises NotFound."""
        async with self._database.read() as conn:
            found = await store.get(conn, store_id, cache_type, target)
        if found is None:
            raise NotFound("NOT_FOUND", f"there is no {cache_type} of that target", resource="insight")
        return found

    async def page(self, wanted: Wanted, before: Place | None, limit: int) -> list[Insight]:
        """The newest first."""
        async with self._database.read() as conn:
            return await store.page(conn, wanted, before, limit)
