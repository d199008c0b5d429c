"""Bins in the database: who gathers where, and what has been gathered.

Whoever adds to a bin or empties it holds its row for the transaction, so that an event is either in the digest that
was emptied or in the one that follows, on any replica. Rows are held in one order, and before any rate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.digest import LINES_KEPT, Gathered
from services.notifier.domain.merging import BinState
from services.notifier.store.tables import bin_, bin_item
from shared.db.frozen import frozen
from shared.db.rows import insert_into, insert_rows, pack, rows
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class


@value_class
class NewItem:
    """One event that was added to a digest."""

    delivery_id: str
    store_id: str
    event_id: str
    at: datetime
    """When it happened."""
    line: str


@value_class
class Changed:
    """How a bin stands after a batch."""

    state: BinState
    cools: timedelta
    """How long it cools down once it was emptied; nothing for a window."""


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        self.dialect = dialect
        missing = rows(dialect, "missing", key=Id, updated_at=Instant)
        columns = ["key", "cool_seconds", "updated_at"]
        fresh = sa.select(missing.c.key, sa.literal(0.0), missing.c.updated_at).where(sa.true())
        self.insert = frozen(
            dialect, insert_into(dialect, bin_).from_select(columns, fresh).on_conflict_do_nothing()
        )
        wanted = rows(dialect, "wanted", key=Id)
        found = sa.select(bin_.c.key, bin_.c.delivery_id, bin_.c.free_at).join_from(
            wanted, bin_, bin_.c.key == wanted.c.key
        )
        ids = rows(dialect, "ids", id=Id)
        gathering = sa.select(bin_.c.key).join_from(ids, bin_, bin_.c.delivery_id == ids.c.id)
        if dialect == "postgresql":
            found, gathering = found.with_for_update(of=bin_), gathering.with_for_update(of=bin_)
        self.hold = frozen(dialect, found.order_by(bin_.c.key))
        self.hold_open = frozen(dialect, gathering.order_by(bin_.c.key))
        new = rows(
            dialect, "new", key=Id, delivery_id=Id, free_at=Instant, cool_seconds=sa.Float, updated_at=Instant
        )
        changed = ("delivery_id", "free_at", "cool_seconds", "updated_at")
        self.write = frozen(
            dialect,
            sa.update(bin_).where(bin_.c.key == new.c.key).values({name: new.c[name] for name in changed}),
        )
        self.add = frozen(dialect, insert_rows(dialect, bin_item, "items"))


_statements = cache(_Statements)


async def hold(conn: AsyncConnection, keys: Collection[str], now: datetime) -> dict[str, BinState]:
    """How the bins of *keys* stand; nobody else adds to them or empties them until the transaction is over."""
    sql = _statements(conn.dialect.name)
    missing = pack({"key": key, "updated_at": now} for key in sorted(keys))
    wanted = pack({"key": key} for key in sorted(keys))
    while True:
        # A row that is missing cannot be held, and two replicas would both open a digest.
        await conn.execute(sql.insert, {"missing": missing})
        found = await conn.execute(sql.hold, {"wanted": wanted})
        held = {row.key: BinState(row.delivery_id, row.free_at) for row in found}
        if len(held) == len(keys):  # else one that was there was old, and forgotten before we held it
            return held


async def write(conn: AsyncConnection, changed: Mapping[str, Changed], now: datetime) -> None:
    """Record how held bins stand now."""
    document = pack(
        {
            "key": key,
            "delivery_id": one.state.digest,
            "free_at": one.state.free_at,
            "cool_seconds": one.cools.total_seconds(),
            "updated_at": now,
        }
        for key, one in sorted(changed.items())
    )
    await conn.execute(_statements(conn.dialect.name).write, {"new": document})


async def add(conn: AsyncConnection, items: Sequence[NewItem]) -> None:
    """Add events to digests whose bins are held."""
    document = pack(
        {
            "delivery_id": one.delivery_id,
            "store_id": one.store_id,
            "event_id": one.event_id,
            "at": one.at,
            "line": one.line,
        }
        for one in items
    )
    await conn.execute(_statements(conn.dialect.name).add, {"items": document})


async def hold_open(conn: AsyncConnection, deliveries: Collection[str]) -> None:
    """Hold the bins in which *deliveries* gather, so that nothing is added until the transaction is over."""
    ids = pack({"id": one} for one in sorted(deliveries))
    await conn.execute(_statements(conn.dialect.name).hold_open, {"ids": ids})


async def empty(conn: AsyncConnection, deliveries: Collection[str], now: datetime) -> dict[str, Gathered]:
    """Take *deliveries*, whose bins are held, out of them, and say what they have gathered."""
    for row in (
        await conn.execute(
            sa.select(bin_.c.key, bin_.c.cool_seconds).where(bin_.c.delivery_id.in_(sorted(deliveries)))
        )
    ).all():
        free_at = now + timedelta(seconds=row.cool_seconds) if row.cool_seconds else None
        await conn.execute(
            sa.update(bin_)
            .where(bin_.c.key == row.key)
            .values(delivery_id=None, free_at=free_at, updated_at=now)
        )
    return {one: await _gathered(conn, one) for one in sorted(deliveries)}


async def _gathered(conn: AsyncConnection, delivery_id: str) -> Gathered:
    mine = bin_item.c.delivery_id == delivery_id
    sums = sa.select(sa.func.count(), sa.func.min(bin_item.c.at), sa.func.max(bin_item.c.at)).where(mine)
    count, first, last = (await conn.execute(sums)).one()._tuple()
    lines = (
        sa.select(bin_item.c.line).where(mine).order_by(bin_item.c.at, bin_item.c.event_id).limit(LINES_KEPT)
    )
    return Gathered(count, first, last, tuple((await conn.execute(lines)).scalars()))


async def abandon(conn: AsyncConnection, delivery_id: str) -> None:
    """Let nothing be added any more to a delivery that will not go as it is."""
    await conn.execute(sa.update(bin_).where(bin_.c.delivery_id == delivery_id).values(delivery_id=None))


async def copy(conn: AsyncConnection, moves: Sequence[tuple[str, str]]) -> None:
    """Let the second of each pair of deliveries have gathered what the first has."""
    for old, new in moves:
        chosen = sa.select(
            sa.literal(new), bin_item.c.store_id, bin_item.c.event_id, bin_item.c.at, bin_item.c.line
        ).where(bin_item.c.delivery_id == old)
        columns = ["delivery_id", "store_id", "event_id", "at", "line"]
        await conn.execute(sa.insert(bin_item).from_select(columns, chosen))


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* bins in which nothing gathers and nothing happened since *before*."""
    unused = (bin_.c.updated_at < before, bin_.c.delivery_id.is_(None))
    old = sa.select(bin_.c.key).where(*unused).order_by(bin_.c.updated_at).limit(limit)
    # Asked once more of the row itself: whoever held it while we looked may gather in it now.
    return (await conn.execute(sa.delete(bin_).where(bin_.c.key.in_(old), *unused))).rowcount
