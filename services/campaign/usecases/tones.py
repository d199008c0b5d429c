"""Tone profiles: kept, listed, kept no longer."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.tone import Tone, check_words
from services.campaign.store import tones as store
from services.campaign.store.tones import KeptTone
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import NotFound
from shared.rpc.principal import current


class Tones:
    """What callers may do with them."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def put(self, store_id: str, tone: Tone, *, once: Once) -> KeptTone:
        """Keep a profile; as it is then kept. Raises Invalid, and NotFound where a repeat finds it taken away."""
        check_words(tone.banned_words, "tone.banned_words")

        async def write(conn: AsyncConnection) -> KeptTone:
            now = self._clock.now()
            if await once.is_first(conn, now):
                await store.keep(conn, KeptTone(store_id, tone, current().subject, now))
                done = NewEntry(once.name, tone.name, store_id, content=tone.document())
                await self._audit.record(conn, done, now)
            found = await store.get(conn, store_id, tone.name)
            if found is None:
                raise _absent()
            return found

        return await self._database.transact(write)

    async def page(
        self, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
    ) -> list[KeptTone]:
        """By store and name, those after *after*; those of every store are among them."""
        async with self._database.read() as conn:
            return await store.page(conn, stores, after, limit)

    async def delete(self, store_id: str, name: str, *, once: Once) -> None:
        """Keep it no longer. Raises NotFound."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return
            if not await store.drop(conn, store_id, name):
                raise _absent()
            await self._audit.record(conn, NewEntry(once.name, name, store_id), now)

        await self._database.transact(write)


def _absent() -> NotFound:
    return NotFound("NOT_FOUND", "there is no such tone", resource="tone")
