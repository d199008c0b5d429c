"""A table that is a queue, for the tests of `DueQueue`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, MetaData, RowMapping, Table, Text, select

from shared.db.engine import Database
from shared.db.queue import NORMAL, DueQueue, Settlement, due_columns, due_indexes
from shared.db.rows import insert_rows, pack
from shared.db.types import DialectName, Id, Json

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)

metadata = MetaData()
job = Table(
    "job",
    metadata,
    Column("id", Id, primary_key=True),
    *due_columns(),
    Column("note", Text),
    Column("result", Json),
    *due_indexes("job", "sending"),
)


def queue_on(dialect: DialectName) -> DueQueue:
    return DueQueue(dialect, job, settle_columns=("note", "result"))


class Jobs:
    """Drives a queue, each call in a transaction of its own."""

    def __init__(self, database: Database, owner: str = "worker") -> None:
        self.database = database
        self.queue = queue_on(database.dialect)
        self.owner = owner
        self._insert = insert_rows(database.dialect, job, "new")

    async def insert(self, *new: Mapping[str, object]) -> None:
        async with self.database.write() as connection:
            await connection.execute(self._insert, {"new": pack(new)})

    async def ready(
        self, *ids: str, priority: int = NORMAL, at: datetime = NOW, lane: str | None = None
    ) -> None:
        await self.insert(*({"id": key, **self.queue.ready(priority, at, lane=lane)} for key in ids))

    async def deferred(self, key: str, due_at: datetime, at: datetime = NOW, lane: str | None = None) -> None:
        await self.insert({"id": key, **self.queue.deferred(NORMAL, at, due_at, "quiet", lane=lane)})

    async def claim(self, now: datetime = NOW, limit: int = 10) -> list[RowMapping]:
        return await self.database.transact(
            lambda connection: self.queue.claim(connection, self.owner, now, LEASE, limit)
        )

    async def claim_ids(self, now: datetime = NOW, limit: int = 10) -> list[str]:
        return [row["id"] for row in await self.claim(now, limit)]

    async def settle(self, *settlements: Settlement) -> set[str]:
        return await self.database.transact(lambda connection: self.queue.settle(connection, settlements))

    async def done(self, *claimed: RowMapping) -> set[str]:
        return await self.settle(
            *(Settlement(row["id"], row["lease_epoch"], "delivered", 1) for row in claimed)
        )

    async def promote(self, now: datetime, limit: int = 500) -> int:
        return await self.database.transact(lambda connection: self.queue.promote(connection, now, limit))

    async def expired(self, now: datetime, owner: str = "reaper", limit: int = 10) -> list[RowMapping]:
        return await self.database.transact(
            lambda connection: self.queue.expired(connection, owner, now, LEASE, limit)
        )

    async def row(self, key: str) -> RowMapping:
        async with self.database.read() as connection:
            return (await connection.execute(select(job).where(job.c.id == key))).mappings().one()
