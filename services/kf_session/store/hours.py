"""When customers write, by the hours of their clocks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.hours import hour_of, weight
from services.kf_session.store.learning_tables import reply_hour
from shared.db.rows import insert_into
from shared.db.types import DialectName


async def add(
    conn: AsyncConnection, dialect: DialectName, store_id: str, customer: str, at: datetime, zone: ZoneInfo
) -> None:
    """Count a message of a customer."""
    new = insert_into(dialect, reply_hour).values(
        store_id=store_id, external_userid=customer, hour=hour_of(at, zone), weight=weight(at)
    )
    await conn.execute(
        new.on_conflict_do_update(
            index_elements=["store_id", "external_userid", "hour"],
            set_={"weight": reply_hour.c.weight + new.excluded.weight},
        )
    )


async def of_customer(conn: AsyncConnection, store_id: str, customer: str) -> list[float]:
    """A customer's twenty-four weights."""
    return await _read(conn, reply_hour.c.store_id == store_id, reply_hour.c.external_userid == customer)


async def of_store(conn: AsyncConnection, store_id: str) -> list[float]:
    """Those of all customers of a store together."""
    return await _read(conn, reply_hour.c.store_id == store_id)


async def _read(conn: AsyncConnection, *which: sa.ColumnElement[bool]) -> list[float]:
    query = sa.select(reply_hour.c.hour, sa.func.sum(reply_hour.c.weight)).where(*which)
    found = dict((await conn.execute(query.group_by(reply_hour.c.hour))).tuples().all())
    return [float(found.get(hour, 0.0)) for hour in range(24)]
