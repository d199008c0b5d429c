"""Which callbacks were taken. A repeat is recognised for as long as its row is kept."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.rows import dialect_of, insert_into
from shared.db.tables import callback_seen

KEPT: Final = timedelta(days=3)
"""A signed request is refused by its timestamp after minutes; a code of a card lives three days."""


async def is_new(conn: AsyncConnection, keys: Collection[str], now: datetime) -> bool:
    """Whether nothing of *keys* was seen before; all of them are from now on."""
    # In one order everywhere, so that two copies that wait for each other cannot deadlock.
    rows = [{"key": key, "seen_at": now} for key in sorted(keys)]
    insert = insert_into(dialect_of(conn), callback_seen).values(rows)
    added = await conn.execute(insert.on_conflict_do_nothing().returning(callback_seen.c.key))
    return len(added.all()) == len(rows)


async def last(conn: AsyncConnection) -> datetime | None:
    """When the last one was taken of those that are kept; None where none is."""
    found: datetime | None = await conn.scalar(sa.select(sa.func.max(callback_seen.c.seen_at)))
    return found


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* that were taken before *before*; how many there were."""
    old = (
        sa.select(callback_seen.c.key)
        .where(callback_seen.c.seen_at < before)
        .order_by(callback_seen.c.seen_at)
        .limit(limit)
    )
    gone = await conn.execute(sa.delete(callback_seen).where(callback_seen.c.key.in_(old)))
    return gone.rowcount
