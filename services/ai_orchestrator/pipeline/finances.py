"""The figures of a store's finance windows, of many windows and areas together: the same few statements whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.facts.showing import Finance
from services.ai_orchestrator.domain.facts.stores import ALL, Store
from services.ai_orchestrator.domain.facts.windows import Window, windows
from services.ai_orchestrator.store import fact_spans
from services.ai_orchestrator.store.fact_spans import Span
from shared.errors import Invalid

_TOP: Final = 10


async def finances(
    conn: AsyncConnection, store: Store, subjects: Sequence[Subject], now: datetime
) -> list[Finance]:
    """What *store* took in the window and the area of each of *subjects*, and in the window before.

    Raises Invalid for an area or a window that there is not.
    """
    if not subjects:
        return []
    today = now.astimezone(store.zone).date()
    areas = [_area(store, one) for one in subjects]
    pairs = [windows(one.time_dimension, today) for one in subjects]
    spans = [_span(store, window, area) for (window, _), area in zip(pairs, areas, strict=True)]
    before = [_span(store, window, area) for (_, window), area in zip(pairs, areas, strict=True)]
    steps = [window.steps() for window, _ in pairs]
    divided = [[_span(store, step, area) for step in each] for each, area in zip(steps, areas, strict=True)]
    whole = [at for at, area in enumerate(areas) if area == ALL]
    figures = await fact_spans.figures(conn, store.store_id, [*spans, *before])
    by_area = await fact_spans.by_area(conn, store.store_id, [spans[at] for at in whole])
    items = await fact_spans.top_items(conn, store.store_id, spans, _TOP)
    trends = await fact_spans.parts(conn, store.store_id, divided)
    shares = dict(zip(whole, by_area, strict=True))
    return [
        Finance(
            one.time_dimension,
            areas[at],
            *pairs[at],
            figures=figures[at],
            figures_before=figures[len(spans) + at],
            by_area=shares.get(at, ()),
            items=items[at],
            trend=[(steps[at][number], share) for number, share in trends[at]],
        )
        for at, one in enumerate(subjects)
    ]


def _area(store: Store, subject: Subject) -> str:
    area = subject.area or ALL
    if area != ALL and area not in {one.key for one in store.areas}:
        known = ", ".join([ALL, *(one.key for one in store.areas)])
        raise Invalid.field("area", f"{area} is none of this store's: {known}")
    return area


def _span(store: Store, window: Window, area: str) -> Span:
    start, end = window.instants(store.zone)
    return Span(start, end, store.spoken(area))
