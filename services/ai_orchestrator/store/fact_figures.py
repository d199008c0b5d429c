"""Figures, counted by the database from the visits themselves, in whole cents, seconds and thousandths."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.figures import Figures, Selection, Share
from services.ai_orchestrator.store.fact_tables import visit, visit_item
from shared.db.types import Id, Instant

_ZERO: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer)
_ONE: sa.ColumnElement[int] = sa.literal_column("1", sa.Integer)

PAID = visit.c.cents >= _ZERO
"""Holds for visits; the others are refunds."""
_ASSISTED = sa.and_(PAID, visit.c.assistant_id.is_not(None))


async def figures(conn: AsyncConnection, of: Selection) -> Figures:
    """What the visits of *of* come to."""
    return figures_of((await conn.execute(sa.select(*totals()).where(*_narrowed(of)))).one())


def totals() -> list[sa.ColumnElement[Any]]:
    """The columns of figures."""
    return [
        count(PAID).label("visits"),
        _sum(PAID, visit.c.cents).label("gross"),
        count(sa.not_(PAID)).label("refunds"),
        _sum(sa.not_(PAID), -visit.c.cents).label("refunded"),
        _sum(PAID, sa.func.coalesce(visit.c.seconds, _ZERO)).label("seconds"),
        sa.func.count(sa.distinct(sa.case((PAID, visit.c.member_id)))).label("members"),
        count(_ASSISTED).label("assisted"),
        _sum(_ASSISTED, visit.c.cents).label("assisted_gross"),
        sa.type_coerce(sa.func.min(sa.case((PAID, visit.c.settled_at))), Instant()).label("first_at"),
        sa.type_coerce(sa.func.max(sa.case((PAID, visit.c.settled_at))), Instant()).label("last_at"),
    ]


def figures_of(row: Any) -> Figures:
    """A row of `totals`."""
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
    visits = count(PAID).label("visits")
    query = (
        sa.select(sa.type_coerce(by, Id).label("name"), visits, sa.func.sum(visit.c.cents).label("cents"))
        .where(*_narrowed(of))
        .group_by(by)
        .order_by(sa.desc("visits"), sa.asc("name"))
        .limit(most)
    )
    return [Share(row.name, int(row.visits), int(row.cents)) for row in await conn.execute(query)]


async def top_items(conn: AsyncConnection, of: Selection, most: int) -> list[Share]:
    """What was consumed for most money, then most often; refunds count against it."""
    cents = signed(sa.func.coalesce(visit_item.c.cents, 0)).label("sum_cents")
    thousandths = signed(visit_item.c.thousandths).label("sum_thousandths")
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


def signed(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The sum of *value*, taken off where it is given back: some tills write what a refund is of without a sign."""
    return sa.func.sum(sa.case((PAID, value), else_=-sa.func.abs(value)))


def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    """The rows for which *condition* holds."""
    return sa.func.sum(sa.case((condition, _ONE), else_=_ZERO))


def _sum(condition: sa.ColumnElement[bool], value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, value), else_=_ZERO))


def _narrowed(of: Selection) -> list[sa.ColumnElement[bool]]:
    found = [visit.c.store_id == of.store_id]
    if of.member_id is not None:
        found.append(visit.c.member_id == of.member_id)
    if of.assistant_id is not None:
        found.append(visit.c.assistant_id == of.assistant_id)
    return found
