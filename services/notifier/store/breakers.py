"""How credentials stand, as rows: only those that failed since they last worked are looked at in passing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.breaker import HELD, Breaker, BreakerState, probing
from services.notifier.store.tables import breaker, delivery
from shared.db.queue import DEFERRED, PENDING
from shared.db.rows import insert_into
from shared.values import value_class

ALERT_DUE, ALERT_SENT, ALERT_UNDELIVERABLE = "due", "sent", "undeliverable"
"""What became of telling somebody about an opening."""
ALERT_OVER = "over"
"""It works again, and those who were told are to hear that as well."""

_FIELDS: Final = tuple(one.name for one in fields(Breaker))
# As the partial indexes of the queue spell them: a bound value would not find those.
_PENDING: sa.ColumnElement[str] = sa.literal_column(f"'{PENDING}'")
_DEFERRED: sa.ColumnElement[str] = sa.literal_column(f"'{DEFERRED}'")
_DUE = breaker.c.alert.in_([ALERT_DUE, ALERT_OVER])
_UNCLEAN = sa.or_(breaker.c.state != BreakerState.CLOSED.value, breaker.c.failures > 0, _DUE)


@value_class
class Row:
    """One credential's breaker as stored."""

    key: str
    breaker: Breaker
    alert: str = ""
    alerted_at: datetime | None = None
    updated_at: datetime | None = None
    updated_by: str = ""


async def unclean(conn: AsyncConnection) -> dict[str, Row]:
    """Those that failed since they last worked, or of which somebody is still to be told."""
    return {row.key: _row(row) for row in await conn.execute(sa.select(breaker).where(_UNCLEAN))}


async def everything(conn: AsyncConnection) -> list[Row]:
    """All of them, by key."""
    return [_row(row) for row in await conn.execute(sa.select(breaker).order_by(breaker.c.key))]


async def locked(conn: AsyncConnection, keys: Collection[str], now: datetime) -> dict[str, Row]:
    """Those of *keys*, made where they are missing; nobody else changes them until the transaction is over."""
    # In one order everywhere, and after every other lock of the transaction: two that meet do not deadlock.
    ordered = sorted(keys)
    found = await _lock(conn, ordered)
    if missing := [key for key in ordered if key not in found]:
        fresh = [_values(key, Breaker(), now) | {"alert": "", "updated_by": ""} for key in missing]
        await conn.execute(insert_into(_dialect(conn), breaker).values(fresh).on_conflict_do_nothing())
        found |= await _lock(conn, missing)
    return found


async def write(conn: AsyncConnection, key: str, value: Breaker, now: datetime, **more: object) -> None:
    """Store how one stands, under its lock."""
    await conn.execute(
        sa.update(breaker).where(breaker.c.key == key).values(**_values(key, value, now), **more)
    )


async def seize(conn: AsyncConnection, key: str, delivery_id: str, until: datetime, now: datetime) -> bool:
    """Let *delivery_id* be the probe until *until*; false where another is, or it is not time yet.

    One conditional update, so that of all replicas one gets it.
    """
    mine = probing(Breaker(), delivery_id, until)
    taken = await conn.execute(
        sa.update(breaker)
        .where(
            breaker.c.key == key,
            breaker.c.state != BreakerState.CLOSED.value,
            breaker.c.retry_at <= now,
            sa.or_(breaker.c.probe == "", breaker.c.probe_until <= now),
        )
        .values(state=mine.state.value, probe=mine.probe, probe_until=mine.probe_until, updated_at=now)
    )
    return taken.rowcount == 1


async def release_waiting(conn: AsyncConnection, channels: Collection[str], now: datetime) -> int:
    """Let what waits for a breaker of *channels* be due at once; how many that were."""
    released = await conn.execute(
        sa.update(delivery)
        .where(
            delivery.c.status == _DEFERRED,
            delivery.c.hold_reason == HELD,
            delivery.c.channel.in_(sorted(channels)),
            delivery.c.due_at > now,
        )
        .values(due_at=now)
    )
    return released.rowcount


async def waiting(conn: AsyncConnection, channels: Collection[str]) -> int:
    """How many deliveries of *channels* wait, for whatever reason."""
    theirs = delivery.c.channel.in_(sorted(channels))
    counts = [
        sa.select(sa.func.count()).where(delivery.c.status == status, theirs).scalar_subquery()
        for status in (_PENDING, _DEFERRED)
    ]
    return sum((await conn.execute(sa.select(*counts))).one())


async def alerts_due(conn: AsyncConnection) -> Sequence[Row]:
    """Those of whose opening, or end, somebody is still to be told."""
    return [_row(row) for row in await conn.execute(sa.select(breaker).where(_DUE))]


async def note_alert(conn: AsyncConnection, row: Row, became: str, now: datetime) -> bool:
    """Record what became of the alert of that opening; false where it was recorded already."""
    noted = await conn.execute(
        sa.update(breaker)
        .where(
            breaker.c.key == row.key,
            breaker.c.opening == row.breaker.opening,
            breaker.c.alert == row.alert,
        )
        .values(alert=became, alerted_at=now)
    )
    return noted.rowcount == 1


async def _lock(conn: AsyncConnection, ordered: Sequence[str]) -> dict[str, Row]:
    query = sa.select(breaker).where(breaker.c.key.in_(ordered)).order_by(breaker.c.key)
    if _dialect(conn) == "postgresql":
        query = query.with_for_update()
    return {row.key: _row(row) for row in await conn.execute(query)}


def _dialect(conn: AsyncConnection) -> Any:
    return conn.dialect.name


def _values(key: str, value: Breaker, now: datetime) -> dict[str, object]:
    return {**asdict(value), "state": value.state.value, "key": key, "updated_at": now}


def _row(row: Any) -> Row:
    stored: Mapping[str, Any] = row._mapping
    plain = {name: stored[name] for name in _FIELDS} | {"state": BreakerState(row.state)}
    return Row(row.key, Breaker(**plain), row.alert, row.alerted_at, row.updated_at, row.updated_by)
