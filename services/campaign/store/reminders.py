"""The ledger of reminders: one is written before it leaves, so that no crash makes a fourth of three.

Whoever adds one holds the row of the task that is followed, and its number is the next: of two that are written at once
one fails.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Reminded, Reminder
from services.campaign.store.follow_tables import task_reminder
from services.campaign.store.tasks import some_of
from shared.db.rows import dialect_of, insert_rows, pack
from shared.values import value_class

_CHUNK = 2000


async def of(conn: AsyncConnection, task_ids: Collection[str]) -> Mapping[str, Sequence[Reminder]]:
    """All that there are of each task, the first first; tasks without any are missing."""
    t, found = task_reminder, defaultdict[str, list[Reminder]](list)
    for some in some_of(sorted(task_ids), _CHUNK):
        for row in await conn.execute(
            sa.select(t).where(t.c.task_id.in_(some)).order_by(t.c.task_id, t.c.number)
        ):
            found[row.task_id].append(
                Reminder(row.number, row.by, row.asked_at, row.began_at, row.outcome, row.errcode)
            )
    return found


@value_class
class Planned:
    """One that is to be written."""

    task_id: str
    campaign_id: str
    number: int
    by: str
    """A subject; '' is the service itself."""


async def plan(conn: AsyncConnection, new: Sequence[Planned], now: datetime, *, leaves: bool = False) -> None:
    """Write some; each *leaves* at once, or waits for its turn."""
    rows = [
        {
            "task_id": one.task_id,
            "number": one.number,
            "campaign_id": one.campaign_id,
            "by": one.by,
            "asked_at": now,
            "began_at": now if leaves else None,
            "outcome": "",
            "error": "",
        }
        for one in new
    ]
    statement = insert_rows(dialect_of(conn), task_reminder, "new")
    for some in some_of(rows, _CHUNK):
        await conn.execute(statement, {"new": pack(some)})


async def begin(conn: AsyncConnection, task_id: str, number: int, now: datetime) -> None:
    """One that waited leaves: it counts from now on."""
    t = task_reminder
    ours = (t.c.task_id == task_id, t.c.number == number, t.c.outcome == "")
    await conn.execute(sa.update(t).where(*ours).values(asked_at=now, began_at=now))


async def put_back(conn: AsyncConnection, task_id: str, number: int) -> None:
    """One that was about to leave did not: it waits for its turn again, and goes on counting."""
    t = task_reminder
    ours = (t.c.task_id == task_id, t.c.number == number, t.c.outcome == "")
    await conn.execute(sa.update(t).where(*ours).values(began_at=None))


async def finish(
    conn: AsyncConnection,
    task_id: str,
    number: int,
    outcome: Reminded,
    now: datetime,
    *,
    errcode: int | None = None,
    error: str = "",
) -> None:
    """Write how one ended, unless that is written."""
    t = task_reminder
    ours = (t.c.task_id == task_id, t.c.number == number, t.c.outcome == "")
    values = {"outcome": outcome.value, "errcode": errcode, "error": error, "finished_at": now}
    await conn.execute(sa.update(t).where(*ours).values(values))


async def drop(conn: AsyncConnection, task_id: str, why: str, now: datetime) -> None:
    """Those of a task that wait for their turn are not wanted any more."""
    t = task_reminder
    waiting = (t.c.task_id == task_id, t.c.outcome == "", t.c.began_at.is_(None))
    values = {"outcome": Reminded.DROPPED.value, "error": why, "finished_at": now}
    await conn.execute(sa.update(t).where(*waiting).values(values))


async def lost(conn: AsyncConnection, task_id: str, now: datetime) -> None:
    """Whoever was giving reminders of a task is gone: they may have been given."""
    t = task_reminder
    begun = (t.c.task_id == task_id, t.c.outcome == "", t.c.began_at.is_not(None))
    values = {"outcome": Reminded.UNKNOWN.value, "error": "lost", "finished_at": now}
    await conn.execute(sa.update(t).where(*begun).values(values))


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* that were asked for before *before*; how many there were."""
    t = task_reminder
    key = sa.tuple_(t.c.task_id, t.c.number)
    old = sa.select(t.c.task_id, t.c.number).where(t.c.asked_at < before).order_by(t.c.asked_at).limit(limit)
    return (await conn.execute(sa.delete(t).where(key.in_(old)))).rowcount
