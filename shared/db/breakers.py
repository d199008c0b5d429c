"""How breakers stand, as rows of a service's own table: over all replicas, and after a restart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.breaker import Breaker, BreakerState, probing
from shared.db.rows import dialect_of, insert_into
from shared.db.types import Id, Instant
from shared.values import value_class

_FIELDS: Final = tuple(one.name for one in fields(Breaker))
R = TypeVar("R")


@value_class
class Row:
    """One breaker as stored."""

    key: str
    breaker: Breaker
    updated_at: datetime | None = None
    updated_by: str = ""
    """Who closed it by hand last; empty when it moved by itself since."""


def breaker_columns() -> list[sa.Column[Any]]:
    """The columns of a table of breakers."""
    return [
        sa.Column("key", Id, primary_key=True),  # what it guards
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("since", Instant),
        sa.Column("failed_at", Instant),
        sa.Column("opening", sa.Integer, nullable=False),
        sa.Column("failed_probes", sa.Integer, nullable=False),
        sa.Column("opened_at", Instant),
        sa.Column("retry_at", Instant),
        sa.Column("probe", Id, nullable=False),
        sa.Column("probe_until", Instant),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("errcode", sa.Integer),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
    ]


def breaker_of(row: Any) -> Breaker:
    """The breaker that a row tells of."""
    stored: Mapping[str, Any] = row._mapping
    return Breaker(**{name: stored[name] for name in _FIELDS} | {"state": BreakerState(row.state)})


def plain(row: Any) -> Row:
    """A row that has no columns of its service's own."""
    return Row(row.key, breaker_of(row), row.updated_at, row.updated_by)


class BreakerRows(Generic[R]):
    """A table of breakers; *read* makes its rows, *fresh* fills what it has beside ``breaker_columns``."""

    def __init__(
        self, table: sa.Table, read: Callable[[Any], R], fresh: Mapping[str, object] | None = None
    ) -> None:
        self._table = table
        self._read = read
        self._fresh = {**(fresh or {}), "updated_by": ""}
        self.unclean: sa.ColumnElement[bool] = sa.or_(
            table.c.state != BreakerState.CLOSED.value, table.c.failures > 0
        )
        """Holds for those that failed since they last worked."""

    async def some(self, conn: AsyncConnection, where: sa.ColumnElement[bool]) -> dict[str, R]:
        """Those for which *where* holds, as they stand; nobody is kept from changing them."""
        found = await conn.execute(sa.select(self._table).where(where))
        return {row.key: self._read(row) for row in found}

    async def everything(self, conn: AsyncConnection) -> list[R]:
        """All of them, by key."""
        return [
            self._read(row) for row in await conn.execute(sa.select(self._table).order_by(self._table.c.key))
        ]

    async def locked(self, conn: AsyncConnection, keys: Collection[str], now: datetime) -> dict[str, R]:
        """Those of *keys*, made where they are missing; nobody else changes them until the transaction is over."""
        # In one order everywhere, and after every other lock of the transaction: two that meet do not deadlock.
        ordered = sorted(keys)
        found = await self._lock(conn, ordered)
        if missing := [key for key in ordered if key not in found]:
            fresh = [_values(key, Breaker(), now) | self._fresh for key in missing]
            await conn.execute(
                insert_into(dialect_of(conn), self._table).values(fresh).on_conflict_do_nothing()
            )
            found |= await self._lock(conn, missing)
        return found

    async def write(
        self, conn: AsyncConnection, key: str, value: Breaker, now: datetime, **more: object
    ) -> None:
        """Store how one stands, under its lock."""
        t = self._table
        await conn.execute(sa.update(t).where(t.c.key == key).values(**_values(key, value, now), **more))

    async def seize(self, conn: AsyncConnection, key: str, by: str, until: datetime, now: datetime) -> bool:
        """Let *by* be the probe until *until*; false where another is, or it is not time yet.

        One conditional update, so that of all replicas one gets it.
        """
        t, mine = self._table, probing(Breaker(), by, until)
        taken = await conn.execute(
            sa.update(t)
            .where(
                t.c.key == key,
                t.c.state != BreakerState.CLOSED.value,
                t.c.retry_at <= now,
                sa.or_(t.c.probe == "", t.c.probe_until <= now),
            )
            .values(state=mine.state.value, probe=mine.probe, probe_until=mine.probe_until, updated_at=now)
        )
        return taken.rowcount == 1

    async def _lock(self, conn: AsyncConnection, ordered: Sequence[str]) -> dict[str, R]:
        t = self._table
        query = sa.select(t).where(t.c.key.in_(ordered)).order_by(t.c.key)
        if dialect_of(conn) == "postgresql":
            query = query.with_for_update()
        return {row.key: self._read(row) for row in await conn.execute(query)}


def _values(key: str, value: Breaker, now: datetime) -> dict[str, object]:
    return {**asdict(value), "state": value.state.value, "key": key, "updated_at": now}
