"""Runs, steps and attempts as callers see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store.run_tables import attempt, chain_run, run_event, step_run
from shared.values import value_class

Row = Mapping[Any, Any]


@value_class
class RunView:
    """A run with its steps in order."""

    run: Row
    steps: tuple[Row, ...]


@value_class
class RunsWanted:
    """Which runs a list shows; what is empty or None does not narrow it."""

    stores: Collection[str] | None
    member_id: str = ""
    event_type: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None


@value_class
class AttemptsWanted:
    """Which attempts a list shows; likewise."""

    stores: Collection[str] | None
    run_id: str = ""
    app_type: str = ""
    member_id: str = ""
    status: str = ""


Before = tuple[datetime, str] | None
"""Time and id of the last row shown."""


async def get(conn: AsyncConnection, run_id: str, stores: Collection[str] | None) -> RunView | None:
    """One run of these stores."""
    query = sa.select(chain_run).where(chain_run.c.id == run_id)
    if stores is not None:
        query = query.where(chain_run.c.store_id.in_(sorted(stores)))
    run = (await conn.execute(query)).mappings().one_or_none()
    return None if run is None else RunView(run, tuple(await steps_of(conn, run_id)))


async def steps_of(conn: AsyncConnection, run_id: str) -> Sequence[Row]:
    """A run's steps, in order."""
    query = sa.select(step_run).where(step_run.c.run_id == run_id).order_by(step_run.c.position)
    return (await conn.execute(query)).mappings().all()


async def newest(conn: AsyncConnection, wanted: RunsWanted, before: Before, limit: int) -> Sequence[Row]:
    """Runs, newest first."""
    r = chain_run
    query = sa.select(r).order_by(r.c.created_at.desc(), r.c.id.desc()).limit(limit)
    if wanted.stores is not None:
        query = query.where(r.c.store_id.in_(sorted(wanted.stores)))
    for column, value in (
        (r.c.member_id, wanted.member_id),
        (r.c.event_type, wanted.event_type),
        (r.c.status, wanted.status),
    ):
        if value:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(r.c.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(r.c.created_at < wanted.until)
    if before is not None:
        query = query.where(_behind(r, r.c.created_at, before))
    return (await conn.execute(query)).mappings().all()


async def newest_attempts(
    conn: AsyncConnection, wanted: AttemptsWanted, before: Before, limit: int
) -> Sequence[Row]:
    """Attempts, newest first."""
    a = attempt
    query = sa.select(a).order_by(a.c.started_at.desc(), a.c.id.desc()).limit(limit)
    if wanted.stores is not None:
        query = query.where(a.c.store_id.in_(sorted(wanted.stores)))
    for column, value in (
        (a.c.run_id, wanted.run_id),
        (a.c.app_type, wanted.app_type),
        (a.c.member_id, wanted.member_id),
        (a.c.status, wanted.status),
    ):
        if value:
            query = query.where(column == value)
    if before is not None:
        query = query.where(_behind(a, a.c.started_at, before))
    return (await conn.execute(query)).mappings().all()


def _behind(table: sa.Table, time: sa.Column[datetime], before: tuple[datetime, str]) -> Any:
    return sa.or_(time < before[0], sa.and_(time == before[0], table.c.id < before[1]))


async def of_event(conn: AsyncConnection, event_id: str, stores: Collection[str] | None) -> list[str]:
    """The runs that answer an event, oldest first, at most 20."""
    query = (
        sa.select(chain_run.c.id)
        .join(run_event, run_event.c.run_id == chain_run.c.id)
        .where(run_event.c.event_id == event_id)
        .order_by(chain_run.c.created_at, chain_run.c.id)
        .limit(20)
    )
    if stores is not None:
        query = query.where(chain_run.c.store_id.in_(sorted(stores)))
    return list((await conn.execute(query)).scalars())


async def last_begun(
    conn: AsyncConnection, chain: str, trigger: str, stores: Collection[str]
) -> datetime | None:
    """When *trigger* began a run of *chain* last, in one of *stores*."""
    r = chain_run.c
    query = sa.select(r.created_at).where(
        r.chain == chain, r.trigger == trigger, r.store_id.in_(sorted(stores))
    )
    found: datetime | None = (await conn.execute(query.order_by(r.created_at.desc()).limit(1))).scalar()
    return found


async def stores_with_runs(conn: AsyncConnection, since: datetime) -> Sequence[str]:
    """The stores in which something other than the schedule started a chain since an instant."""
    r = chain_run
    query = sa.select(r.c.store_id).where(r.c.created_at >= since, r.c.trigger != "schedule").distinct()
    return sorted((await conn.execute(query)).scalars())
