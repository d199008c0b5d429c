"""How stores are looked at: what was said of each, the deployment's where nothing was."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.stores import AREAS, TIME_DIMENSIONS, Area, Store
from services.ai_orchestrator.store.fact_tables import store_profile


async def store_of(conn: AsyncConnection, store_id: str, zone: ZoneInfo) -> Store:
    """The store; *zone* is the deployment's."""
    query = sa.select(store_profile).where(store_profile.c.store_id == store_id)
    row = (await conn.execute(query)).first()
    return Store(store_id, zone) if row is None else _store(row, zone)


async def active_stores(conn: AsyncConnection, zone: ZoneInfo) -> dict[str, ZoneInfo]:
    """Stores that are prewarmed, by id, with the zone of their clocks; *zone* is the deployment's.

    They are those that anything is known of and that were not taken out.
    """
    s = store_profile.c
    query = sa.select(s.store_id, s.zone).where(sa.func.coalesce(s.active, sa.true())).order_by(s.store_id)
    return {row.store_id: ZoneInfo(row.zone) if row.zone else zone for row in await conn.execute(query)}


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
