"""Figures, counted by the database from the visits themselves, in whole cents, seconds and thousandths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.figures import Figures, Selection, Share
from services.ai_orchestrator.domain.facts.windows import Window
from services.ai_orchestrator.store.fact_tables import visit, visit_item
from shared.db.rows import dialect_of, pack, rows
from shared.db.types import Id, Instant

_PAID = visit.c.cents >= 0
_ASSISTED = sa.and_(_PAID, visit.c.assistant_id.is_not(None))


async def figures(conn: AsyncConnection, of: Selection) -> Figures:
    """What the visits of *of* come to."""
    query = sa.select(
        _count(_PAID).label("visits"),
        _sum(_PAID, visit.c.cents).label("gross"),
        _count(sa.not_(_PAID)).label("refunds"),
        _sum(sa.not_(_PAID), -visit.c.cents).label("refunded"),
        _sum(_PAID, sa.func.coalesce(visit.c.seconds, 0)).label("seconds"),
        sa.func.count(sa.distinct(sa.case((_PAID, visit.c.member_id)))).label("members"),
        _count(_ASSISTED).label("assisted"),
        _sum(_ASSISTED, visit.c.cents).label("assisted_gross"),
        sa.type_coerce(sa.func.min(sa.case((_PAID, visit.c.settled_at))), Instant()).label("first_at"),
        sa.type_coerce(sa.func.max(sa.case((_PAID, visit.c.settled_at))), Instant()).label("last_at"),
    ).where(*_narrowed(of))
    row = (await conn.execute(query)).one()
    return Figures(
        visits=int(row.visits or 0),
        gross_cents=int(row.gross or 0),
        refunds=int(row.refunds or 0),
        refund_cents=int(row.refunded or 0),
        seconds=int(row.seconds or 0),
        members=row.members,
        assisted=int(row.assisted or 0),
        assisted_cents=int(row.assisted_gross or 0),
        first_at=row.first_at,
        last_at=row.last_at,
    )


async def by_area(conn: AsyncConnection, of: Selection) -> list[Share]:
    """By the folded names of areas that tills use."""
    return await _shares(conn, of, visit.c.area_folded)


async def by_assistant(conn: AsyncConnection, of: Selection, most: int) -> list[Share]:
    """By assistants' ids, the most frequent first; empty is none."""
    return await _shares(conn, of, sa.func.coalesce(visit.c.assistant_id, ""), most)


async def _shares(
    conn: AsyncConnection, of: Selection, by: sa.ColumnElement[Any], most: int | None = None
) -> list[Share]:
    count = _count(_PAID).label("visits")
    query = (
        sa.select(sa.type_coerce(by, Id).label("name"), count, sa.func.sum(visit.c.cents).label("cents"))
        .where(*_narrowed(of))
        .group_by(by)
        .order_by(sa.desc("visits"), sa.asc("name"))
        .limit(most)
    )
    return [Share(row.name, int(row.visits), int(row.cents)) for row in await conn.execute(query)]


async def top_items(conn: AsyncConnection, of: Selection, most: int) -> list[Share]:
    """What was consumed for most money, then most often; refunds count against it."""
    cents = _signed(sa.func.coalesce(visit_item.c.cents, 0)).label("sum_cents")
    thousandths = _signed(visit_item.c.thousandths).label("sum_thousandths")
    query = (
        sa.select(visit_item.c.name, thousandths, cents)
        .join(
            visit,
            sa.and_(visit.c.store_id == visit_item.c.store_id, visit.c.visit_id == visit_item.c.visit_id),
        )
        .where(*_narrowed(of))
        .group_by(visit_item.c.name)
        .order_by(sa.desc("sum_cents"), sa.desc("sum_thousandths"), visit_item.c.name)
        .limit(most)
    )
    return [
        Share(row.name, int(row.sum_thousandths), int(row.sum_cents)) for row in await conn.execute(query)
    ]


async def trend(
    conn: AsyncConnection, of: Selection, steps: Sequence[Window], zone: ZoneInfo
) -> list[tuple[Window, Share]]:
    """The visits of each step in which there were any."""
    buckets = rows(dialect_of(conn), "steps", position=sa.Integer, start_at=Instant(), end_at=Instant())
    query = (
        sa.select(
            buckets.c.position, _count(_PAID).label("visits"), sa.func.sum(visit.c.cents).label("cents")
        )
        .join_from(
            buckets,
            visit,
            sa.and_(visit.c.settled_at >= buckets.c.start_at, visit.c.settled_at < buckets.c.end_at),
        )
        .where(*_narrowed(of))
        .group_by(buckets.c.position)
        .order_by(buckets.c.position)
    )
    spans = [step.instants(zone) for step in steps]
    listed = [{"position": at, "start_at": start, "end_at": end} for at, (start, end) in enumerate(spans)]
    found = await conn.execute(query, {"steps": pack(listed)})
    return [(steps[row.position], Share("", int(row.visits), int(row.cents))) for row in found]


def _signed(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The sum of *value*, taken off where it is given back: some tills write what a refund is of without a sign."""
    return sa.func.sum(sa.case((_PAID, value), else_=-sa.func.abs(value)))


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _sum(condition: sa.ColumnElement[bool], value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, value), else_=0))


def _narrowed(of: Selection) -> list[sa.ColumnElement[bool]]:
    found = [visit.c.store_id == of.store_id]
    if of.start_at is not None:
        found.append(visit.c.settled_at >= of.start_at)
    if of.end_at is not None:
        found.append(visit.c.settled_at < of.end_at)
    if of.areas is not None:
        found.append(visit.c.area_folded.in_(sorted(of.areas)))
    if of.member_id is not None:
        found.append(visit.c.member_id == of.member_id)
    if of.assistant_id is not None:
        found.append(visit.c.assistant_id == of.assistant_id)
    return found
