"""The rows of groups as syncs and callbacks write them: listed, hinted at, due to be read, gone.

Only whoever holds the lease of the sync writes what was read; a callback writes that something is due. The two meet in
``hinted_at``: a reading that began before a hint does not answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import (
    REREAD_AFTER,
    SETTLES,
    Change,
    ChangeKind,
    GoneReason,
    GroupStatus,
    status_of,
)
from services.campaign.store.group_tables import customer_group, group_change
from shared.db.rows import dialect_of, insert_rows, pack
from shared.db.types import Instant
from shared.ids import new_id
from shared.values import value_class

WAKEUP: Final = "groups"
"""Given when a group is due, or a sync was asked for."""

_HINT, _SYNC = 0, 1
_CHUNK: Final = 500


@value_class
class Due:
    """A group whose details are to be read."""

    chat_id: str
    hinted_at: datetime | None
    sync_id: str
    attempts: int


@value_class
class PageCounts:
    """What a page of the list brought that the sync had not seen."""

    listed: int
    added: int
    changed: int


async def take_page(
    conn: AsyncConnection, sync_id: str, page: Sequence[tuple[str, int]], now: datetime
) -> PageCounts:
    """Write that these were listed; those that are new, changed, back or read long ago are due for the sync."""
    wanted = {chat_id: status_of(number) for chat_id, number in page}
    t = customer_group
    columns = (t.c.chat_id, t.c.status, t.c.gone_reason, t.c.read_at, t.c.seen_in, t.c.counted_in)
    query = sa.select(*columns).where(t.c.chat_id.in_(list(wanted)))
    known = {row.chat_id: row for row in await conn.execute(query)}
    fresh = [_new(one, status, now, sync_id=sync_id) for one, status in wanted.items() if one not in known]
    added = await _insert(conn, fresh)
    counts = PageCounts(
        added + sum(row.seen_in != sync_id for row in known.values()),
        added,
        await _restate(conn, sync_id, known, wanted, now),
    )
    if known:
        await conn.execute(sa.update(t).where(t.c.chat_id.in_(list(known))).values(seen_in=sync_id))
    old = now - REREAD_AFTER
    owed = [
        one
        for one, row in known.items()
        if row.seen_in != sync_id
        and (row.read_at is None or row.read_at <= old or row.gone_reason or row.status != wanted[one])
    ]
    await owe(conn, sync_id, owed, now)
    return counts


async def _restate(
    conn: AsyncConnection,
    sync_id: str,
    known: Mapping[str, Any],
    wanted: Mapping[str, GroupStatus],
    now: datetime,
) -> int:
    """Write the status of those whose it is another, and that those are back which were gone; how many are reported."""
    changed = 0
    for chat_id, row in known.items():
        changes = []
        if row.status != wanted[chat_id]:
            changes.append(Change(ChangeKind.STATUS, row.status, wanted[chat_id]))
        if row.gone_reason:
            changes.append(Change(ChangeKind.BACK, row.gone_reason, ""))
        if not changes:
            continue
        await note(conn, chat_id, changes, now)
        values = {"status": wanted[chat_id].value, "gone_reason": "", "gone_at": None, "updated_at": now}
        changed += row.counted_in != sync_id
        await change(conn, chat_id, counted_in=sync_id, **values)
    return changed


async def owe(conn: AsyncConnection, sync_id: str, chat_ids: Collection[str], now: datetime) -> None:
    """These are to be read before the sync is done; a hint keeps its place in front."""
    if not chat_ids:
        return
    t = customer_group
    values = {
        "sync_id": sync_id,
        "read_due_at": sa.func.coalesce(t.c.read_due_at, _at(now)),
        "read_rank": sa.case((t.c.read_due_at.is_(None), _SYNC), else_=t.c.read_rank),
        "read_attempts": 0,
    }
    await conn.execute(sa.update(t).where(t.c.chat_id.in_(list(chat_ids))).values(values))


async def owe_all(conn: AsyncConnection, sync_id: str, begun_at: datetime, now: datetime) -> None:
    """All that are here are to be read before the sync, which began at *begun_at*, is done."""
    t = customer_group
    values = {
        "sync_id": sync_id,
        "read_due_at": sa.func.coalesce(t.c.read_due_at, _at(now)),
        "read_attempts": 0,
    }
    unread = t.c.read_at.is_(None) | (t.c.read_at <= begun_at)
    await conn.execute(sa.update(t).where(t.c.gone_reason == "", unread).values(values))


async def owe_unlisted(conn: AsyncConnection, sync_id: str, begun_at: datetime, now: datetime) -> None:
    """Those that the sync, which began at *begun_at*, did not list are to be read, before all others.

    None of them counts as gone for that alone: a list that left out by mistake half of what there is would take it from
    every campaign under way.
    """
    t = customer_group
    values = {"sync_id": sync_id, "read_due_at": now, "read_rank": _HINT, "read_attempts": 0}
    missing = (t.c.gone_reason == "", t.c.seen_in != sync_id, t.c.first_seen_at < begun_at)
    await conn.execute(sa.update(t).where(*missing).values(values))


async def mark_gone(conn: AsyncConnection, chat_id: str, reason: GoneReason, now: datetime) -> None:
    """Write that a group is no longer here; of one that is gone already, only why."""
    t = customer_group
    was = await conn.scalar(sa.select(t.c.gone_reason).where(t.c.chat_id == chat_id))
    if was == reason:
        return
    await note(conn, chat_id, [Change(ChangeKind.GONE, was or "", reason)], now)
    since = {} if was else {"gone_at": now}
    await change(conn, chat_id, gone_reason=reason.value, updated_at=now, **since)


async def hint(conn: AsyncConnection, chat_id: str, now: datetime) -> None:
    """The platform told of a change: the group, known or not, is read when the platform has settled.

    One that is about to be read keeps its time, so that a lively group is not put off for ever.
    """
    fresh = _new(chat_id, GroupStatus.NORMAL, now) | {
        "read_due_at": now + SETTLES,
        "read_rank": _HINT,
        "hinted_at": now,
    }
    if await _insert(conn, [fresh]):
        return
    due_at, soon = customer_group.c.read_due_at, now + SETTLES
    await change(
        conn,
        chat_id,
        read_due_at=sa.case((due_at <= soon, due_at), else_=_at(soon)),
        read_rank=_HINT,
        read_attempts=0,
        hinted_at=now,
    )


async def due(conn: AsyncConnection, now: datetime, limit: int) -> list[Due]:
    """Those that are to be read now: first where a change was told of, then the longest due."""
    t = customer_group
    query = (
        sa.select(t.c.chat_id, t.c.hinted_at, t.c.sync_id, t.c.read_attempts)
        .where(t.c.read_due_at <= now)
        .order_by(t.c.read_rank, t.c.read_due_at)
        .limit(limit)
    )
    return [Due(*row) for row in await conn.execute(query)]


async def next_due(conn: AsyncConnection) -> datetime | None:
    """When the next one is due; None where none is."""
    t = customer_group
    found: datetime | None = await conn.scalar(
        sa.select(sa.func.min(t.c.read_due_at)).where(t.c.read_due_at.is_not(None))
    )
    return found


async def is_owed(conn: AsyncConnection, sync_id: str) -> bool:
    """Whether a sync waits for readings."""
    t = customer_group
    query = sa.select(t.c.chat_id).where(t.c.sync_id == sync_id).limit(1)
    return (await conn.execute(query)).first() is not None


async def release(conn: AsyncConnection, sync_id: str) -> None:
    """No sync waits for these any more; they stay due."""
    await conn.execute(
        sa.update(customer_group).where(customer_group.c.sync_id == sync_id).values(sync_id="")
    )


async def put_off(conn: AsyncConnection, due: Due, until: datetime, errcode: int | None) -> None:
    """The reading came to nothing: again at *until*, unless a hint came meanwhile."""
    t = customer_group
    await change(
        conn,
        due.chat_id,
        read_due_at=sa.case((_unhinted(due), _at(until)), else_=t.c.read_due_at),
        read_attempts=due.attempts + 1,
        read_errcode=errcode,
    )


async def settle(
    conn: AsyncConnection,
    due: Due,
    now: datetime,
    *,
    error: str = "",
    errcode: int | None = None,
    **values: Any,
) -> None:
    """The reading of *due* is over; a hint that came meanwhile, or just before it, has it read once more."""
    answered = sa.false() if is_early(due, now) else _unhinted(due)
    await change(
        conn,
        due.chat_id,
        read_due_at=sa.case((answered, sa.null()), else_=_at(now + SETTLES)),
        read_attempts=0,
        read_error=error,
        read_errcode=errcode,
        sync_id="",
        **values,
    )


async def change(conn: AsyncConnection, chat_id: str, **values: Any) -> None:
    """Write columns of one group."""
    await conn.execute(sa.update(customer_group).where(customer_group.c.chat_id == chat_id).values(values))


async def note(conn: AsyncConnection, chat_id: str, changes: Sequence[Change], now: datetime) -> None:
    """Write into the history of a group."""
    rows = [
        {
            "id": new_id(),
            "chat_id": chat_id,
            "kind": one.kind.value,
            "before": one.before,
            "after": one.after,
            "at": now,
        }
        for one in changes
    ]
    if rows:
        await conn.execute(sa.insert(group_change), rows)


async def replaced(
    conn: AsyncConnection, store_of: Callable[[str], str], now: datetime, limit: int = _CHUNK
) -> int:
    """Move up to *limit* groups, each with a record, to the store that the settings now give their owner."""
    t = customer_group
    pairs = await conn.execute(sa.select(t.c.owner, t.c.store_id).where(t.c.read_at.is_not(None)).distinct())
    moved = 0
    for owner, store_id in pairs.all():
        if (wanted := store_of(owner)) == store_id:
            continue
        mine = sa.and_(t.c.owner == owner, t.c.store_id == store_id, t.c.read_at.is_not(None))
        found = list((await conn.execute(sa.select(t.c.chat_id).where(mine).limit(limit - moved))).scalars())
        for chat_id in found:
            await note(conn, chat_id, [Change(ChangeKind.STORE, store_id, wanted)], now)
            await change(conn, chat_id, store_id=wanted, updated_at=now)
        moved += len(found)
        if moved >= limit:
            break
    return moved


async def counts(conn: AsyncConnection) -> dict[str, int]:
    """How many groups there are: ``here``, ``gone``, and of those here ``due``, ``denied``, ``homeless``."""
    t = customer_group
    here = t.c.gone_reason == ""
    query = sa.select(
        sa.func.count().filter(here),
        sa.func.count().filter(sa.not_(here)),
        sa.func.count().filter(here & t.c.read_due_at.is_not(None)),
        sa.func.count().filter(here & (t.c.read_error == "denied")),
        sa.func.count().filter(here & t.c.read_at.is_not(None) & (t.c.store_id == "")),
    )
    found = (await conn.execute(query)).one()
    return dict(zip(("here", "gone", "due", "denied", "homeless"), found, strict=True))


async def homeless_owners(conn: AsyncConnection, limit: int = 5) -> list[str]:
    """Some owners whose groups belong to no store."""
    t = customer_group
    mine = (t.c.gone_reason == "") & t.c.read_at.is_not(None) & (t.c.store_id == "")
    query = sa.select(t.c.owner).where(mine).distinct().order_by(t.c.owner).limit(limit)
    return list((await conn.execute(query)).scalars())


async def last_hint(conn: AsyncConnection) -> datetime | None:
    """When the platform last told of a change of a group."""
    found: datetime | None = await conn.scalar(sa.select(sa.func.max(customer_group.c.hinted_at)))
    return found


async def purge_changes(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* entries of history from before *before*; how many there were."""
    old = sa.select(group_change.c.id).where(group_change.c.at < before).limit(limit)
    return (await conn.execute(sa.delete(group_change).where(group_change.c.id.in_(old)))).rowcount


def backoff(attempts: int) -> timedelta:
    """How long a reading that came to nothing waits: 10 s, twice as long each time, ten minutes at most."""
    return min(timedelta(seconds=10 * 2 ** min(attempts, 10)), timedelta(minutes=10))


def is_early(due: Due, now: datetime) -> bool:
    """Whether what was read at *now* may be older than the change that was told of."""
    return due.hinted_at is not None and now - due.hinted_at < SETTLES


def _at(instant: datetime) -> sa.ColumnElement[datetime]:
    """As a value inside an expression, which would else have the database's own type: not ours, on SQLite."""
    return sa.literal(instant, Instant())


def _unhinted(due: Due) -> sa.ColumnElement[bool]:
    t = customer_group
    return t.c.hinted_at.is_(None) if due.hinted_at is None else t.c.hinted_at == due.hinted_at


async def _insert(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write those that are new; how many were."""
    if not rows:
        return 0
    insert = insert_rows(dialect_of(conn), customer_group, "fresh").on_conflict_do_nothing()
    done = await conn.execute(insert.returning(customer_group.c.chat_id), {"fresh": pack(rows)})
    return len(done.all())


def _new(chat_id: str, status: GroupStatus, now: datetime, *, sync_id: str = "") -> dict[str, Any]:
    return {
        "chat_id": chat_id,
        "store_id": "",
        "owner": "",
        "name": "",
        "status": status.value,
        "gone_reason": "",
        "member_count": 0,
        "customer_count": 0,
        "first_seen_at": now,
        "updated_at": now,
        "read_due_at": now,
        "read_rank": _SYNC,
        "read_attempts": 0,
        "read_error": "",
        "sync_id": sync_id,
        "seen_in": sync_id,
        "counted_in": sync_id,
    }
