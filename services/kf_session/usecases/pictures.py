"""Pictures that cards show: kept, listed, and kept no longer."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.picture import kind_of
from services.kf_session.store import pictures as store
from services.kf_session.store.pictures import WAKEUP, Kept
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import NotFound


class Pictures:
    """What callers may do with them."""

    def __init__(self, database: Database, rows: store.Pictures, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._rows = rows
        self._audit = audit
        self._clock = clock

    async def upsert(self, store_id: str, name: str, content: bytes, *, once: Once) -> Kept:
        """Keep *content* under a name. Raises Invalid for what is no picture."""
        kind_of(content, field="content")

        async def write(conn: AsyncConnection) -> Kept:
            now = self._clock.now()
            if await once.is_first(conn, now):
                await self._rows.keep(conn, store_id, name, content, now)
                told = {"bytes": len(content)}
                await self._audit.record(conn, NewEntry(once.name, name, store_id, detail=told), now)
                self._database.wakeups.notify(conn, WAKEUP)
            found = await store.get(conn, store_id, name)
            if found is None:
                raise _absent()
            return found

        return await self._database.transact(write)

    async def page(
        self, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
    ) -> list[Kept]:
        """By store and name, those after *after*."""
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
    return NotFound("NOT_FOUND", "there is no such picture", resource="picture")
