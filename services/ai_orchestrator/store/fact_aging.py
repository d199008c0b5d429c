"""Facts that no figure reads any more leave; a profile leaves with the last that is known of its member."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store.fact_tables import member, note, task, visit, visit_item
from shared.db.rows import dialect_of, pack, rows
from shared.db.types import Id

_DATED: Final = (
    (visit, visit.c.visit_id, visit.c.settled_at),
    (note, note.c.note_id, note.c.noted_at),
    (task, task.c.task_id, task.c.assigned_at),
)
_KNOWN_AT: Final = (member.c.name_at, member.c.level_at, member.c.points_at, member.c.joined_on_at)

Pair = tuple[str, str]
"""A store, and something of it by its id."""


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* visits, notes and tasks each that are of before *before*; the most of one kind."""
    most = 0
    people: set[Pair] = set()
    for table, key, at in _DATED:
        query = (
            sa.select(table.c.store_id, key, table.c.member_id).where(at < before).order_by(at).limit(limit)
        )
        found = (await conn.execute(query)).tuples().all()
        gone = [(store_id, one) for store_id, one, _ in found]
        if table is visit:
            await _delete(conn, visit_item, visit_item.c.visit_id, gone)
        await _delete(conn, table, key, gone)
        people |= {(store_id, who) for store_id, _, who in found if who is not None}
        most = max(most, len(found))
    await _forget(conn, sorted(people), before)
    return most


async def _forget(conn: AsyncConnection, people: Sequence[Pair], before: datetime) -> None:
    """Delete the profiles of members of whom nothing else is known, and nothing was learned since."""
    same: list[Any] = [
        sa.exists().where(table.c.store_id == member.c.store_id, table.c.member_id == member.c.member_id)
        for table, _, _ in _DATED
    ]
    old = [sa.or_(at.is_(None), at < before) for at in _KNOWN_AT]
    await _delete(conn, member, member.c.member_id, people, *old, *(sa.not_(one) for one in same))


async def _delete(
    conn: AsyncConnection, table: sa.Table, key: sa.Column[Any], gone: Sequence[Pair], *also: Any
) -> None:
    if not gone:
        return
    chosen = rows(dialect_of(conn), "gone", store_id=Id, key=Id)
    both = sa.tuple_(table.c.store_id, key).in_(sa.select(chosen.c.store_id, chosen.c.key))
    document = pack([{"store_id": store_id, "key": one} for store_id, one in gone])
    await conn.execute(sa.delete(table).where(both, *also), {"gone": document})
