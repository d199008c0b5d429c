"""The figures of stretches of time and of areas, of many of them in one statement each.

Like `fact_figures`, in whole cents, seconds and thousandths.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.figures import Figures, Share
from services.ai_orchestrator.store.fact_figures import PAID, count, figures_of, signed, totals
from services.ai_orchestrator.store.fact_tables import visit, visit_item
from shared.db.frozen import frozen
from shared.db.rows import dialect_of, pack, rows
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class


@value_class
class Span:
    """Which visits are meant."""

    start_at: datetime
    end_at: datetime
    """Excluded."""
    areas: frozenset[str] | None
    """Names of areas, folded; None is all of them."""


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        spans = rows(
            dialect,
            "spans",
            position=sa.Integer,
            part=sa.Integer,
            start_at=Instant(),
            end_at=Instant(),
            areas=sa.Text,
        )
        find = sa.func.strpos if dialect == "postgresql" else sa.func.instr
        named = find(spans.c.areas, sa.literal_column("' '") + visit.c.area_folded + sa.literal_column("' '"))
        within = sa.and_(
            visit.c.store_id == sa.bindparam("store", type_=Id),
            visit.c.settled_at >= spans.c.start_at,
            visit.c.settled_at < spans.c.end_at,
            sa.or_(spans.c.areas.is_(None), named > sa.literal_column("0")),
        )
        at = (spans.c.position, spans.c.part)
        self.figures = frozen(
            dialect, sa.select(*at, *totals()).join_from(spans, visit, within).group_by(*at)
        )
        visits, cents = count(PAID).label("visits"), sa.func.sum(visit.c.cents).label("cents")
        self.parts = frozen(
            dialect, sa.select(*at, visits, cents).join_from(spans, visit, within).group_by(*at).order_by(*at)
        )
        area = sa.type_coerce(visit.c.area_folded, Id).label("name")
        by_area = sa.select(spans.c.position, area, visits, cents).join_from(spans, visit, within)
        by_area = by_area.group_by(spans.c.position, visit.c.area_folded)
        self.by_area = frozen(dialect, by_area.order_by(spans.c.position, sa.desc("visits"), sa.asc("name")))
        self.top_items = frozen(dialect, _top_items(spans, within))


def _top_items(spans: sa.FromClause, within: sa.ColumnElement[bool]) -> sa.Select[Any]:
    cents = signed(sa.func.coalesce(visit_item.c.cents, sa.literal_column("0")))
    thousandths = signed(visit_item.c.thousandths)
    order = (cents.desc(), thousandths.desc(), visit_item.c.name)
    place = sa.func.row_number().over(partition_by=spans.c.position, order_by=order).label("place")
    theirs = sa.and_(visit_item.c.store_id == visit.c.store_id, visit_item.c.visit_id == visit.c.visit_id)
    ranked = (
        sa.select(
            spans.c.position,
            visit_item.c.name,
            thousandths.label("thousandths"),
            cents.label("cents"),
            place,
        )
        .select_from(sa.join(spans, visit, within).join(visit_item, theirs))
        .group_by(spans.c.position, visit_item.c.name)
        .subquery("ranked")
    )
    first = ranked.c.place <= sa.bindparam("most", type_=sa.Integer())
    return sa.select(ranked).where(first).order_by(ranked.c.position, ranked.c.place)


_statements = cache(_Statements)


async def figures(conn: AsyncConnection, store_id: str, spans: Sequence[Span]) -> list[Figures]:
    """What the visits of each come to."""
    found = await conn.execute(_statements(dialect_of(conn)).figures, _given(store_id, spans))
    of = {row.position: figures_of(row) for row in found}
    return [of.get(at, Figures()) for at in range(len(spans))]


async def by_area(conn: AsyncConnection, store_id: str, spans: Sequence[Span]) -> list[list[Share]]:
    """Of each, by the folded names of areas that tills use, the most visited first."""
    listed: list[list[Share]] = [[] for _ in spans]
    if spans:
        for row in await conn.execute(_statements(dialect_of(conn)).by_area, _given(store_id, spans)):
            listed[row.position].append(Share(row.name, int(row.visits), int(row.cents)))
    return listed


async def top_items(
    conn: AsyncConnection, store_id: str, spans: Sequence[Span], most: int
) -> list[list[Share]]:
    """Of each, what was consumed for most money, then most often; refunds count against it."""
    listed: list[list[Share]] = [[] for _ in spans]
    given = {**_given(store_id, spans), "most": most}
    for row in await conn.execute(_statements(dialect_of(conn)).top_items, given):
        listed[row.position].append(Share(row.name, int(row.thousandths), int(row.cents)))
    return listed


async def parts(
    conn: AsyncConnection, store_id: str, divided: Sequence[Sequence[Span]]
) -> list[list[tuple[int, Share]]]:
    """Of each of *divided*, the parts in which there were visits, by their numbers."""
    listed: list[list[tuple[int, Share]]] = [[] for _ in divided]
    spans = pack(
        [_row(at, part, span) for at, spans in enumerate(divided) for part, span in enumerate(spans)]
    )
    for row in await conn.execute(_statements(dialect_of(conn)).parts, {"store": store_id, "spans": spans}):
        listed[row.position].append((row.part, Share("", int(row.visits), int(row.cents))))
    return listed


def _given(store_id: str, spans: Sequence[Span]) -> dict[str, object]:
    return {"store": store_id, "spans": pack([_row(at, 0, span) for at, span in enumerate(spans)])}


def _row(position: int, part: int, span: Span) -> dict[str, object]:
    # No folded name has a blank, so none is part of another one between blanks.
    areas = None if span.areas is None else f" {' '.join(sorted(span.areas))} "
    return {"position": position, "part": part, "start_at": span.start_at, "end_at": span.end_at} | {
        "areas": areas
    }
