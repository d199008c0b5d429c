"""Escalations for those who ask what became of an event."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.store.escalations import Escalated, Note, escalated_of
from services.notifier.store.tables import escalation, escalation_note
from shared.db.frozen import frozen
from shared.db.inbox import Key
from shared.db.rows import pack, rows
from shared.db.types import DialectName, Id


@cache
def _by_event(dialect: DialectName) -> Any:
    events = rows(dialect, "events", store_id=Id, event_id=Id)
    opened = (escalation.c.store_id == events.c.store_id) & (escalation.c.event_id == events.c.event_id)
    chosen = sa.select(escalation).select_from(events.join(escalation, opened)).order_by(escalation.c.id)
    return frozen(dialect, chosen)


async def of_events(
    conn: AsyncConnection, events: Sequence[Key]
) -> dict[Key, list[tuple[Escalated, list[Note]]]]:
    """The escalations of *events* with what happened to each, in order."""
    if not events:
        return {}
    document = pack({"store_id": store, "event_id": event} for store, event in events)
    opened = (await conn.execute(_by_event(conn.dialect.name), {"events": document})).all()
    notes: dict[str, list[Note]] = {row.id: [] for row in opened}
    if opened:
        query = (
            sa.select(escalation_note)
            .where(escalation_note.c.escalation_id.in_(notes))
            .order_by(escalation_note.c.at, escalation_note.c.level)
        )
        for row in await conn.execute(query):
            values = dict(row._mapping)
            values["told"] = tuple(values["told"])
            notes[values.pop("escalation_id")].append(Note(**values))
    found: dict[Key, list[tuple[Escalated, list[Note]]]] = {}
    for row in opened:
        found.setdefault((row.store_id, row.event_id), []).append((escalated_of(row), notes[row.id]))
    return found
