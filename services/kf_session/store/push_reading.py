"""Pushes as somebody looks at them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.store.tables import credit, push, push_attempt, push_item, push_note
from shared.values import value_class


@value_class
class PushView:
    """A push; *row* is its columns, the others in the order in which they came about."""

    row: Mapping[str, Any] = field(repr=False)
    attempts: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    notes: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    items: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@value_class
class Wanted:
    """Which pushes a list shows; None and empty are no condition."""

    stores: frozenset[str] | None
    external_userid: str = ""
    open_kfid: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None


async def get(conn: AsyncConnection, push_id: str, stores: Collection[str] | None) -> PushView | None:
    """One push with all that is known of it; None where there is none that may be seen."""
    query = sa.select(push).where(push.c.id == push_id)
    if stores is not None:
        query = query.where(push.c.store_id.in_(stores))
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else (await filled(conn, [dict(row)]))[0]


async def filled(conn: AsyncConnection, found: Sequence[Mapping[str, Any]]) -> list[PushView]:
    """The rows with all that is known of them."""
    ids = [row["id"] for row in found]
    parts = {}
    for table, order in ((push_attempt, "attempt_no"), (push_note, "seq"), (push_item, "position")):
        query = sa.select(table).where(table.c.push_id.in_(ids)).order_by(table.c.push_id, table.c[order])
        parts[table.name] = (await conn.execute(query)).mappings().all()

    def of(name: str, push_id: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(dict(row) for row in parts[name] if row["push_id"] == push_id)

    return [
        PushView(
            dict(row), of("push_attempt", row["id"]), of("push_note", row["id"]), of("push_item", row["id"])
        )
        for row in found
    ]


async def newest(
    conn: AsyncConnection, wanted: Wanted, before: tuple[datetime, str] | None, limit: int
) -> list[Mapping[str, Any]]:
    """At most *limit* rows, newest first, beyond *before* (when it was created, id)."""
    t = push.c
    query = sa.select(push).order_by(t.created_at.desc(), t.id.desc()).limit(limit)
    for column, value in (
        (t.external_userid, wanted.external_userid),
        (t.open_kfid, wanted.open_kfid),
        (t.status, wanted.status),
    ):
        if value:
            query = query.where(column == value)
    if wanted.stores is not None:
        query = query.where(t.store_id.in_(wanted.stores))
    if wanted.since is not None:
        query = query.where(t.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(t.created_at < wanted.until)
    if before is not None:
        at, last = before
        query = query.where(sa.or_(t.created_at < at, sa.and_(t.created_at == at, t.id < last)))
    return [dict(row) for row in (await conn.execute(query)).mappings()]


async def waiting_in_line(conn: AsyncConnection, open_kfid: str, external_userid: str) -> int:
    """Pushes of a session that a caller was promised and that have no credit yet."""
    t = push.c
    query = (
        sa.select(sa.func.count())
        .select_from(push)
        .where(
            t.open_kfid == open_kfid,
            t.external_userid == external_userid,
            t.status.in_(("pending", "sending")),
            t.purpose == "message",
            ~sa.exists().where(credit.c.push_id == t.id),
        )
    )
    return int(await conn.scalar(query) or 0)
