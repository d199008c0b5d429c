"""Facts read as they were told."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.figures import Selection
from services.ai_orchestrator.domain.facts.kinds import Item, NoteFact, Profile, TaskFact, VisitFact
from services.ai_orchestrator.store.fact_tables import assistant, member, note, task, visit, visit_item


async def member_of(conn: AsyncConnection, store_id: str, member_id: str) -> Profile | None:
    """What was said of a member; None where nothing was."""
    query = sa.select(member).where(member.c.store_id == store_id, member.c.member_id == member_id)
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    return Profile(member_id, row.name, row.level, _day(row.joined_on), {"积分": row.points})


async def assistant_of(conn: AsyncConnection, store_id: str, assistant_id: str) -> Profile | None:
    """What was said of an assistant; None where nothing was."""
    query = sa.select(assistant).where(
        assistant.c.store_id == store_id, assistant.c.assistant_id == assistant_id
    )
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    return Profile(assistant_id, row.name, row.level, _day(row.joined_on), {"特长": row.skills})


async def names_of(conn: AsyncConnection, store_id: str, assistants: Collection[str]) -> dict[str, str]:
    """The names of assistants, as far as they are known, by id."""
    query = sa.select(assistant.c.assistant_id, assistant.c.name).where(
        assistant.c.store_id == store_id,
        assistant.c.assistant_id.in_(sorted(assistants)),
        assistant.c.name.is_not(None),
    )
    return {row.assistant_id: row.name for row in await conn.execute(query)}


async def last_visits(conn: AsyncConnection, of: Selection, most: int) -> list[VisitFact]:
    """The last visits of a member, newest first, refunds among them."""
    query = sa.select(visit).where(visit.c.store_id == of.store_id, visit.c.member_id == of.member_id)
    if of.assistant_id is not None:
        query = query.where(visit.c.assistant_id == of.assistant_id)
    newest = query.order_by(visit.c.settled_at.desc(), visit.c.visit_id.desc()).limit(most)
    found = (await conn.execute(newest)).all()
    theirs = await _items(conn, of.store_id, [row.visit_id for row in found])
    return [
        VisitFact(
            row.visit_id,
            row.settled_at,
            row.cents,
            row.member_id,
            row.assistant_id,
            row.area,
            row.seconds,
            tuple(theirs.get(row.visit_id, ())),
        )
        for row in found
    ]


async def _items(conn: AsyncConnection, store_id: str, ids: Collection[str]) -> dict[str, list[Item]]:
    query = (
        sa.select(visit_item)
        .where(visit_item.c.store_id == store_id, visit_item.c.visit_id.in_(ids))
        .order_by(visit_item.c.visit_id, visit_item.c.position)
    )
    found: dict[str, list[Item]] = {}
    for row in await conn.execute(query):
        found.setdefault(row.visit_id, []).append(Item(row.name, row.thousandths, row.cents))
    return found


async def last_notes(conn: AsyncConnection, store_id: str, member_id: str, most: int) -> list[NoteFact]:
    """The last notes about a member, newest first."""
    query = (
        sa.select(note)
        .where(note.c.store_id == store_id, note.c.member_id == member_id)
        .order_by(note.c.noted_at.desc(), note.c.note_id.desc())
        .limit(most)
    )
    return [
        NoteFact(row.note_id, row.member_id, row.content, row.noted_by, row.noted_at)
        for row in await conn.execute(query)
    ]


async def count_notes(conn: AsyncConnection, store_id: str, member_id: str) -> int:
    """How many notes there are about a member."""
    query = sa.select(sa.func.count()).where(note.c.store_id == store_id, note.c.member_id == member_id)
    return int(await conn.scalar(query.select_from(note)) or 0)


async def last_tasks(
    conn: AsyncConnection, store_id: str, member_id: str, most: int, assistant_id: str | None = None
) -> list[TaskFact]:
    """To whom a member was given last, newest first; with *assistant_id* only when it was to them."""
    query = sa.select(task).where(task.c.store_id == store_id, task.c.member_id == member_id)
    if assistant_id is not None:
        query = query.where(task.c.assistant_id == assistant_id)
    newest = query.order_by(task.c.assigned_at.desc(), task.c.task_id.desc()).limit(most)
    return [_task(row) for row in await conn.execute(newest)]


def _task(row: sa.Row[Any]) -> TaskFact:
    return TaskFact(row.task_id, row.member_id, row.assistant_id, row.assigned_at)


def _day(written: str | None) -> date | None:
    return None if written is None else date.fromisoformat(written)
