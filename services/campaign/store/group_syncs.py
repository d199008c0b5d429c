"""The rows of syncs: one under way at most, and what those that are over came to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import SyncPhase, SyncStatus
from services.campaign.store.group_tables import group_sync
from shared.db.rows import dialect_of, insert_into
from shared.ids import new_id
from shared.values import value_class


@value_class
class Sync:
    """One walk over the platform's list of groups, and its report."""

    id: str
    status: SyncStatus
    phase: SyncPhase
    whole: bool
    started_by: str
    cursor: str
    pages: int
    listed: int
    added: int
    changed: int
    gone: int
    read: int
    denied: int
    failed: int
    faults: int
    resume_at: datetime | None
    errcode: int | None
    error: str
    started_at: datetime
    listed_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


async def begin(conn: AsyncConnection, now: datetime, *, by: str, whole: bool) -> Sync:
    """The sync under way, or a new one; locked until the end of the transaction."""
    values = {
        "id": new_id(),
        "status": SyncStatus.RUNNING.value,
        "phase": SyncPhase.LISTING.value,
        "whole": whole,
        "started_by": by,
        "cursor": "",
        **dict.fromkeys(
            ("pages", "listed", "added", "changed", "gone", "read", "denied", "failed", "faults"), 0
        ),
        "error": "",
        "started_at": now,
        "updated_at": now,
    }
    insert = insert_into(dialect_of(conn), group_sync).values(values)
    await conn.execute(insert.on_conflict_do_nothing())
    found = await running(conn, lock=True)
    if found is None:  # the other one ended between the two statements
        return await begin(conn, now, by=by, whole=whole)
    return found


async def running(conn: AsyncConnection, *, lock: bool = False) -> Sync | None:
    """The sync that is under way; with *lock* nobody changes what it is to do until the transaction ends."""
    query = sa.select(group_sync).where(group_sync.c.status == SyncStatus.RUNNING.value)
    row = (await conn.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return None if row is None else _sync(row)


async def hurry(conn: AsyncConnection, sync_id: str, now: datetime) -> None:
    """What waits after a fault goes on at once."""
    mine = (group_sync.c.id == sync_id) & (group_sync.c.status == SyncStatus.RUNNING.value)
    await conn.execute(sa.update(group_sync).where(mine).values(resume_at=None, updated_at=now))


async def change(conn: AsyncConnection, sync_id: str, now: datetime, **values: Any) -> None:
    """Write columns of a sync."""
    await conn.execute(
        sa.update(group_sync).where(group_sync.c.id == sync_id).values(updated_at=now, **values)
    )


async def count(conn: AsyncConnection, sync_id: str, now: datetime, **more: int) -> None:
    """Add to the report of a sync."""
    added = {name: group_sync.c[name] + number for name, number in more.items() if number}
    if added:
        await change(conn, sync_id, now, **added)


async def get(conn: AsyncConnection, sync_id: str) -> Sync | None:
    """One sync."""
    query = sa.select(group_sync).where(group_sync.c.id == sync_id)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _sync(row)


async def page(conn: AsyncConnection, before: tuple[datetime, str] | None, limit: int) -> list[Sync]:
    """Syncs, the newest first, those behind *before* (started_at, id)."""
    t = group_sync
    query = sa.select(t).order_by(t.c.started_at.desc(), t.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(
            (t.c.started_at < before[0]) | ((t.c.started_at == before[0]) & (t.c.id < before[1]))
        )
    return [_sync(row) for row in (await conn.execute(query)).mappings()]


async def last(conn: AsyncConnection) -> Sync | None:
    """The one that was begun last."""
    found = await page(conn, None, 1)
    return found[0] if found else None


async def listed_at(conn: AsyncConnection) -> datetime | None:
    """When the list was last walked to its end."""
    found: datetime | None = await conn.scalar(sa.select(sa.func.max(group_sync.c.listed_at)))
    return found


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* that were over before *before*; how many there were."""
    t = group_sync
    old = sa.select(t.c.id).where(t.c.finished_at < before).limit(limit)
    return (await conn.execute(sa.delete(t).where(t.c.id.in_(old)))).rowcount


def _sync(row: Any) -> Sync:
    return Sync(**{**row, "status": SyncStatus(row["status"]), "phase": SyncPhase(row["phase"])})
