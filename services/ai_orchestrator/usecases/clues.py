"""Clues by hand: look at them, add one, take one away."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.clues import BASIC, MANUAL, Clue
from services.ai_orchestrator.pipeline.keeping import CLUES_CHANGED
from services.ai_orchestrator.store import clues as store
from services.ai_orchestrator.store import insights
from services.ai_orchestrator.store.clues import KeptClue
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid, NotFound
from shared.ids import new_id
from shared.rpc.principal import current


class Clues:
    """What people do with clues."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def page(
        self, store_id: str, member_id: str, source: str, after_id: str, limit: int
    ) -> list[KeptClue]:
        """A member's, by id."""
        async with self._database.read() as conn:
            return await store.page(conn, store_id, member_id, source, after_id, limit)

    async def add(self, store_id: str, member_id: str, said: Clue, once: Once) -> KeptClue:
        """Keep what somebody knows; no application touches it. Raises Invalid."""
        if not said.summary:
            raise Invalid.field("summary", "holds nothing but blanks; say it in a few words")
        now = self._clock.now()
        new = KeptClue(new_id(), store_id, member_id, MANUAL, said, "", now, current().subject)

        async def write(conn: AsyncConnection) -> str:
            before = await once.begin(conn, now)
            if before is not None:
                return before.decode()
            await store.add(conn, new)
            await insights.note_news(conn, store_id, [member_id], CLUES_CHANGED, now)
            await once.finish(conn, new.id.encode())
            await self._audit.record(conn, NewEntry(once.name, new.id, store_id), now)
            return new.id

        made = await self._database.transact(write)
        if made == new.id:
            return new
        async with self._database.read() as conn:
            return await self._found(conn, store_id, made)

    async def delete(self, store_id: str, clue_id: str, once: Once) -> None:
        """Take one away. Raises NotFound."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            found = await self._found(conn, store_id, clue_id)
            await store.remove(conn, store_id, clue_id)
            await insights.note_news(conn, store_id, [found.member_id], CLUES_CHANGED, now)
            told = {"source": found.source}
            await self._audit.record(conn, NewEntry(once.name, clue_id, store_id, detail=told), now)

        await self._database.transact(write)

    @staticmethod
    async def _found(conn: AsyncConnection, store_id: str, clue_id: str) -> KeptClue:
        found = await store.get(conn, store_id, clue_id)
        if found is None:
            raise NotFound("NOT_FOUND", f"there is no clue {clue_id}", resource="clue")
        return found


def said(category: str, emoji: str, summary: str, detail: str) -> Clue:
    """A clue as somebody wrote it."""
    return Clue(category.strip() or BASIC, emoji.strip(), summary.strip(), detail.strip(), "")
