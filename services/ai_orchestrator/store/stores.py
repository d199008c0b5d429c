"""How stores are looked at: what was said of each, the deployment's where nothing was."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.stores import AREAS, TIME_DIMENSIONS, Area, Store
from services.ai_orchestrator.store.fact_tables import store_profile

_ONE: Final = sa.select(store_profile).where(store_profile.c.store_id == sa.bindparam("store"))


async def store_of(conn: AsyncConnection, store_id: str, zone: ZoneInfo) -> Store:
    """The store; *zone* is the deployment's."""
    row = (await conn.execute(_ONE, {"store": store_id})).first()
    return Store(store_id, zone) if row is None else _store(row, zone)


async def active_stores(
    conn: AsyncConnection, zone: ZoneInfo, after: str = "", limit: int = 500
) -> list[Store]:
    """Stores that are prewarmed, by id: those that anything is known of and that were not taken out."""
    query = (
        sa.select(store_profile)
        .where(store_profile.c.store_id > after, sa.func.coalesce(store_profile.c.active, sa.true()))
        .order_by(store_profile.c.store_id)
        .limit(limit)
    )
    return [_store(row, zone) for row in await conn.execute(query)]


def _store(row: sa.Row[tuple[object, ...]], zone: ZoneInfo) -> Store:
    areas: tuple[Area, ...] = AREAS
    if row.areas is not None:
        areas = tuple(Area(one["key"], one["title"], tuple(one["names"]), one["within"]) for one in row.areas)
    return Store(
        row.store_id,
        ZoneInfo(row.zone) if row.zone else zone,
        row.name,
        areas,
        tuple(row.time_dimensions or TIME_DIMENSIONS),
        row.active is not False,
    )
