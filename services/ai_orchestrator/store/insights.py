"""The rows of insights, and what makes them stale."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.insights import Insight
from services.ai_orchestrator.domain.material import Reference
from services.ai_orchestrator.store.result_tables import insight, member_news
from shared.db.rows import dialect_of, insert_into
from shared.db.types import DialectName
from shared.text.instants import instant_text
from shared.values import value_class

Place = tuple[datetime, str, str, str]
"""An insight's place in the list: when it was made, store, kind, target."""

_KEY = ("store_id", "cache_type", "target")
_PARTS = ("member_id", "assistant_id", "time_dimension", "area")
_STALE = sa.case((member_news.c.at > insight.c.known_at, member_news.c.reason), else_="").label("stale")
_ALL = sa.select(insight, _STALE).outerjoin(
    member_news,
    sa.and_(
        insight.c.member_id != "",
        member_news.c.store_id == insight.c.store_id,
        member_news.c.member_id == insight.c.member_id,
    ),
)

_ONE = _ALL.where(
    insight.c.store_id == sa.bindparam("store"),
    insight.c.cache_type == sa.bindparam("kind"),
    insight.c.target == sa.bindparam("aimed_at"),
)


@value_class
class Wanted:
    """Which insights a list shows; what is empty does not narrow it."""

    stores: Collection[str] | None
    """None is every store."""
    cache_type: str = ""
    member_id: str = ""
    assistant_id: str = ""


async def put(conn: AsyncConnection, new: Insight) -> int | None:
    """Keep *new* as the newest for its target; its revision, or None where one of later facts is kept already."""
    values: dict[str, Any] = {
        one.name: getattr(new, one.name)
        for one in fields(new)
        if one.name not in ("references", "stale", "result", "missing")
    }
    values |= {
        "result": dict(new.result),
        "missing": list(new.missing),
        "made_from": [_written(one) for one in new.references],
    }
    revision: int | None = (await conn.execute(_put(dialect_of(conn)), values)).scalar_one_or_none()
    return revision


@cache
def _put(dialect: DialectName) -> sa.Executable:
    new: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in insight.c}
    insert = insert_into(dialect, insight).values(new)
    changed = {name: insert.excluded[name] for name in new if name not in (*_KEY, "revision")}
    return insert.on_conflict_do_update(
        index_elements=list(_KEY),
        set_={**changed, "revision": insight.c.revision + 1},
        where=insight.c.known_at <= insert.excluded.known_at,
    ).returning(insight.c.revision)


async def confirm(
    conn: AsyncConnection, store_id: str, cache_type: str, target: str, fingerprint: str, known_at: datetime
) -> None:
    """What is kept was found to be made from what is known at *known_at*; nothing where something else is kept now."""
    i = insight.c
    same = (i.store_id == store_id, i.cache_type == cache_type, i.target == target)
    statement = sa.update(insight).where(*same, i.fingerprint == fingerprint, i.known_at < known_at)
    await conn.execute(statement.values(known_at=known_at))


async def get(conn: AsyncConnection, store_id: str, cache_type: str, target: str) -> Insight | None:
    """The newest for a target."""
    which = {"store": store_id, "kind": cache_type, "aimed_at": target}
    row = (await conn.execute(_ONE, which)).one_or_none()
    return None if row is None else _insight(row)


async def newest(conn: AsyncConnection, app_type: str, subject: Subject) -> Insight | None:
    """The newest of an application that is about *subject*, or about some of its parts."""
    query = _ALL.where(insight.c.store_id == subject.store_id, insight.c.app_type == app_type)
    for part in _PARTS:
        query = query.where(insight.c[part].in_({"", getattr(subject, part)}))
    row = (await conn.execute(query.order_by(insight.c.made_at.desc()).limit(1))).one_or_none()
    return None if row is None else _insight(row)


async def page(conn: AsyncConnection, wanted: Wanted, before: Place | None, limit: int) -> list[Insight]:
    """The newest first, those behind *before*."""
    i = insight.c
    place = (i.made_at, i.store_id, i.cache_type, i.target)
    query = _ALL.order_by(*(one.desc() for one in place)).limit(limit)
    if wanted.stores is not None:
        query = query.where(i.store_id.in_(list(wanted.stores)))
    for name in ("cache_type", "member_id", "assistant_id"):
        if value := getattr(wanted, name):
            query = query.where(i[name] == value)
    if before is not None:
        bound = [sa.literal(value, one.type) for value, one in zip(before, place, strict=True)]
        query = query.where(sa.tuple_(*place) < sa.tuple_(*bound))
    return [_insight(row) for row in await conn.execute(query)]


async def note_news(
    conn: AsyncConnection, store_id: str, members: Collection[str], reason: str, now: datetime
) -> None:
    """Something newer is known of members; never goes back to something older."""
    if not members:
        return
    # In one order, so that two writers never wait for each other's rows.
    rows = [
        {"store_id": store_id, "member_id": one, "at": now, "reason": reason} for one in sorted(set(members))
    ]
    insert = insert_into(dialect_of(conn), member_news).values(rows)
    await conn.execute(
        insert.on_conflict_do_update(
            index_elements=["store_id", "member_id"],
            set_={"at": insert.excluded.at, "reason": insert.excluded.reason},
            where=member_news.c.at < insert.excluded.at,
        )
    )


def _written(one: Reference) -> dict[str, object]:
    return {"kind": one.kind, "id": one.id, "at": None if one.at is None else instant_text(one.at)}


def _read(plain: Mapping[str, Any]) -> Reference:
    return Reference(
        plain["kind"], plain["id"], None if plain["at"] is None else datetime.fromisoformat(plain["at"])
    )


def _insight(row: sa.Row[Any]) -> Insight:
    plain = dict(row._mapping)
    plain["references"] = tuple(map(_read, plain.pop("made_from")))
    plain["missing"] = tuple(plain["missing"])
    return Insight(**plain)
