"""Facts written: a fact that is known already is replaced, so that a repeat changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.kinds import (
    AssistantFact,
    Fact,
    Kind,
    MemberFact,
    NoteFact,
    StoreFact,
    TaskFact,
    VisitFact,
    key_of,
)
from services.ai_orchestrator.domain.facts.stores import fold
from services.ai_orchestrator.store.fact_tables import (
    assistant,
    member,
    note,
    store_profile,
    task,
    visit,
    visit_item,
)
from shared.db.rows import dialect_of, insert_into, insert_rows, pack

_TABLES: Final = {
    Kind.STORE: store_profile,
    Kind.MEMBER: member,
    Kind.ASSISTANT: assistant,
    Kind.VISIT: visit,
    Kind.NOTE: note,
    Kind.TASK: task,
}


async def save(
    conn: AsyncConnection, store_id: str, kind: Kind, facts: Sequence[Fact], now: datetime
) -> set[str]:
    """Write facts of one kind, of which no two have the same key; the keys of those that were not known before."""
    if kind is not Kind.STORE:
        await meet(conn, store_id, now)
    # In one order, so that two writers never wait for each other's rows.
    listed = sorted(facts, key=key_of)
    known = await _known(conn, store_id, kind, [key_of(one) for one in listed])
    table = _TABLES[kind]
    rows = [{"store_id": store_id} | _row(one, now) for one in listed]
    insert = insert_rows(dialect_of(conn), table, "facts")
    keys = [column.name for column in table.primary_key.columns]
    replaced = insert.on_conflict_do_update(index_elements=keys, set_=_replacing(table, insert.excluded))
    if rows:
        await conn.execute(replaced, {"facts": pack(rows)})
    if kind is Kind.VISIT:
        await _save_items(conn, store_id, [one for one in listed if isinstance(one, VisitFact)])
    return {key_of(one) for one in listed} - known


async def meet(conn: AsyncConnection, store_id: str, now: datetime) -> None:
    """Know from now on that there is such a store."""
    insert = insert_into(dialect_of(conn), store_profile).values(store_id=store_id, created_at=now)
    await conn.execute(insert.on_conflict_do_nothing())


async def _known(conn: AsyncConnection, store_id: str, kind: Kind, keys: Sequence[str]) -> set[str]:
    table = _TABLES[kind]
    if kind is Kind.STORE:
        found = await conn.execute(sa.select(sa.literal("")).where(table.c.store_id == store_id))
    else:
        key = list(table.primary_key.columns)[1]
        found = await conn.execute(sa.select(key).where(table.c.store_id == store_id, key.in_(keys)))
    return set(found.scalars())


def _replacing(table: sa.Table, new: Any) -> Mapping[str, Any]:
    """What an arriving row does to the one that is there: a part with an instant of its own yields to a newer one only,
    a part of a store's that is not said stays, everything else is replaced."""
    others = [column for column in table.columns if not column.primary_key and column.name != "created_at"]
    dated = {column.name for column in others if f"{column.name}_at" in table.c}
    dated |= {f"{name}_at" for name in dated}
    found: dict[str, Any] = {}
    for column in others:
        if column.name in dated:
            at = f"{column.name.removesuffix('_at')}_at"
            newer = sa.and_(new[at].is_not(None), sa.or_(table.c[at].is_(None), new[at] >= table.c[at]))
            found[column.name] = sa.case((newer, new[column.name]), else_=column)
        elif table is store_profile:
            found[column.name] = sa.func.coalesce(new[column.name], column)
        else:
            found[column.name] = new[column.name]
    return found


def _row(fact: Fact, now: datetime) -> dict[str, object]:
    match fact:
        case StoreFact():
            areas = None if fact.areas is None else [_area(one) for one in fact.areas]
            dimensions = None if fact.time_dimensions is None else list(fact.time_dimensions)
            said = {"name": fact.name, "zone": fact.zone, "active": fact.active}
            return said | {"areas": areas, "time_dimensions": dimensions, "created_at": now}
        case MemberFact():
            joined = None if fact.joined_on is None else fact.joined_on.isoformat()
            parts = {"name": fact.name, "level": fact.level, "points": fact.points, "joined_on": joined}
            return {"member_id": fact.member_id} | _dated(parts, fact.known_at)
        case AssistantFact():
            joined = None if fact.joined_on is None else fact.joined_on.isoformat()
            parts = {"name": fact.name, "level": fact.level, "skills": fact.skills, "joined_on": joined}
            return {"assistant_id": fact.assistant_id} | _dated(parts, fact.known_at)
        case VisitFact():
            return {
                "visit_id": fact.visit_id,
                "member_id": fact.member_id,
                "assistant_id": fact.assistant_id,
                "cents": fact.cents,
                "area": fact.area,
                "area_folded": fold(fact.area or ""),
                "seconds": fact.seconds,
                "settled_at": fact.settled_at,
            }
        case NoteFact():
            return {
                "note_id": fact.note_id,
                "member_id": fact.member_id,
                "content": fact.content,
                "noted_by": fact.noted_by,
                "noted_at": fact.noted_at,
            }
        case TaskFact():
            return {
                "task_id": fact.task_id,
                "member_id": fact.member_id,
                "assistant_id": fact.assistant_id,
                "assigned_at": fact.assigned_at,
            }


def _area(one: Any) -> dict[str, object]:
    return {"key": one.key, "title": one.title, "names": list(one.names), "within": one.within}


def _dated(parts: Mapping[str, object], at: datetime) -> dict[str, object]:
    """The parts with the instant each is known of; one that was not said has none."""
    return {**parts, **{f"{name}_at": None if value is None else at for name, value in parts.items()}}


async def _save_items(conn: AsyncConnection, store_id: str, visits: Sequence[VisitFact]) -> None:
    ids = [one.visit_id for one in visits]
    theirs = (visit_item.c.store_id == store_id, visit_item.c.visit_id.in_(ids))
    await conn.execute(sa.delete(visit_item).where(*theirs))
    rows = [
        {
            "store_id": store_id,
            "visit_id": one.visit_id,
            "position": position,
            "name": item.name,
            "thousandths": item.thousandths,
            "cents": item.cents,
        }
        for one in visits
        for position, item in enumerate(one.items, 1)
    ]
    if rows:
        insert = insert_rows(dialect_of(conn), visit_item, "items")
        await conn.execute(insert, {"items": pack(rows)})
