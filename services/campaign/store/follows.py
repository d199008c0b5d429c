"""The rows of tasks that are followed, and what a look does to the groups of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import may_become
from services.campaign.domain.outcomes import OPEN_TARGETS, TargetStatus
from services.campaign.store.campaign_tables import campaign_run, campaign_target, owner_task
from services.campaign.store.follow_tables import LOOKING, task_follow
from services.campaign.store.tasks import OPEN, Run, some_of
from shared.db.queue import DEFERRED, PENDING, DueQueue
from shared.db.rows import dialect_of, insert_rows, pack
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class

SETTLED: Final = (
    "confirmed_at", "looks", "failures", "looked_at", "errcode", "error", "ended_at", "updated_at", "rank",
)  # fmt: skip
"""Columns that a settled row brings; whether it is to be stopped is for others to say. Its rank is when it is due: were
it its age, the oldest would be looked at over and over where the rate does not do for all."""
WAITING: Final = (PENDING, DEFERRED, LOOKING)
"""States of tasks that are still followed."""

_CHUNK = 2000


@value_class
class Followed:
    """A task in hand."""

    id: str
    """The task's."""
    epoch: int
    attempts: int
    run_id: str
    campaign_id: str
    store_id: str
    owner: str
    msgid: str
    made_at: datetime
    confirm_by: datetime
    stopping: bool
    """Whether it is to be stopped at the platform, as far as was known when it was taken in hand."""
    confirmed_at: datetime | None
    looks: int
    failures: int
    looked_at: datetime | None


@value_class
class Line:
    """A task that is followed, as a list shows it."""

    id: str
    owner: str
    msgid: str
    confirm_by: datetime
    confirmed_at: datetime | None
    status: str


@value_class
class Found:
    """What a look says of one group."""

    chat_id: str
    status: TargetStatus
    raw_status: int | None
    reason: str = ""
    sent_at: datetime | None = None
    """By the platform's clock."""


def queue(dialect: DialectName) -> DueQueue:
    """The followed tasks as a queue."""
    return DueQueue(dialect, task_follow, running=LOOKING, settle_columns=SETTLED)


def followed(row: Any) -> Followed:
    """A claimed row in words."""
    names = ("id", "run_id", "campaign_id", "store_id", "owner", "msgid", "made_at", "confirm_by", "stopping")
    counts = ("confirmed_at", "looks", "failures", "looked_at")
    plain = {name: row[name] for name in (*names, *counts)}
    return Followed(epoch=row["lease_epoch"], attempts=row["attempt_no"], **plain)


async def add(conn: AsyncConnection, new: Sequence[Mapping[str, object]]) -> None:
    """Follow these from now on; those that are followed already stay as they are."""
    statement = insert_rows(dialect_of(conn), task_follow, "new").on_conflict_do_nothing()
    await conn.execute(statement, {"new": pack(new)})


async def still_held(conn: AsyncConnection, one: Followed) -> bool:
    """Whether the row is still the caller's; nobody else changes it until the transaction ends."""
    t = task_follow
    query = sa.select(t.c.id).where(t.c.id == one.id, t.c.lease_epoch == one.epoch, t.c.status == LOOKING)
    return (await conn.execute(query.with_for_update())).one_or_none() is not None


async def stopping(conn: AsyncConnection, task_id: str) -> bool:
    """Whether the task is to be stopped, as it is now."""
    return bool(await conn.scalar(sa.select(task_follow.c.stopping).where(task_follow.c.id == task_id)))


async def stop(conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
    """Have all tasks of a campaign that are still followed be stopped at the platform, soon."""
    t = task_follow
    ours = (t.c.campaign_id == campaign_id, ~t.c.stopping)
    await conn.execute(sa.update(t).where(*ours, t.c.status == LOOKING).values(stopping=True))
    waiting = sa.update(t).where(*ours, t.c.status.in_((PENDING, DEFERRED)))
    await conn.execute(waiting.values(stopping=True, **_due(now)))


async def hurry(conn: AsyncConnection, task_ids: Collection[str], now: datetime) -> None:
    """Have tasks looked at now that wait for later."""
    t = task_follow
    for some in some_of(sorted(task_ids), _CHUNK):
        waiting = sa.update(t).where(t.c.id.in_(some), t.c.status == DEFERRED)
        await conn.execute(waiting.values(**_due(now)))


async def rest(conn: AsyncConnection, until: datetime, now: datetime) -> None:
    """Have everything that is ready wait; what others are just taking goes its own way."""
    t = task_follow
    ready = sa.select(t.c.id).where(t.c.status == sa.literal_column("'pending'"))
    ids = list(await conn.scalars(ready.order_by(t.c.id).with_for_update(skip_locked=True)))
    for some in some_of(ids, _CHUNK):
        values = {"status": DEFERRED, "due_at": until, "hold_reason": "rest", "updated_at": now}
        await conn.execute(sa.update(t).where(t.c.id.in_(some)).values(values))


def _due(now: datetime) -> dict[str, object]:
    return {"status": PENDING, "due_at": now, "rank": now, "hold_reason": None, "updated_at": now}


async def lines(conn: AsyncConnection, campaign_id: str, *, lock: bool = False) -> list[Line]:
    """The tasks of a campaign that are or were followed, by owner; locked until the end where asked for."""
    t = task_follow
    columns = (t.c.id, t.c.owner, t.c.msgid, t.c.confirm_by, t.c.confirmed_at, t.c.status)
    if lock:  # in one order everywhere
        ids = sa.select(t.c.id).where(t.c.campaign_id == campaign_id).order_by(t.c.id)
        await conn.execute(ids.with_for_update())
    query = sa.select(*columns).where(t.c.campaign_id == campaign_id).order_by(t.c.owner, t.c.id)
    return [Line(**row) for row in (await conn.execute(query)).mappings()]


# --- groups ------------------------------------------------------------------------------------------------


async def targets(conn: AsyncConnection, task_id: str) -> dict[str, TargetStatus]:
    """The groups of a task and where each stands."""
    t = campaign_target
    query = sa.select(t.c.chat_id, t.c.status).where(t.c.task_id == task_id)
    return {row.chat_id: TargetStatus(row.status) for row in await conn.execute(query)}


async def odd(conn: AsyncConnection, task_id: str) -> dict[str, int]:
    """The groups of a task without an outcome of which the platform says a number that nobody knows, and the number."""
    t = campaign_target
    query = sa.select(t.c.chat_id, t.c.raw_status).where(
        t.c.task_id == task_id, t.c.status.in_(OPEN_TARGETS), t.c.raw_status.not_in((0, 1, 2, 3))
    )
    return dict((await conn.execute(query)).tuples().all())


_WRITE: Final = (
    sa.update(campaign_target)
    .where(
        campaign_target.c.run_id == sa.bindparam("run", type_=Id),
        campaign_target.c.chat_id == sa.bindparam("chat", type_=Id),
        campaign_target.c.status == sa.bindparam("before", type_=Id),
    )
    .values(
        status=sa.bindparam("after", type_=Id),
        raw_status=sa.bindparam("raw", type_=sa.Integer),
        reason=sa.bindparam("why", type_=Id),
        sent_at=sa.bindparam("sent", type_=Instant()),
        updated_at=sa.bindparam("now", type_=Instant()),
    )
)


async def write(
    conn: AsyncConnection, one: Followed, found: Sequence[Found], now: datetime
) -> frozenset[str]:
    """Write what became of groups, forward only; those that changed. The caller holds the campaign, under which alone
    they change."""
    t = campaign_target
    query = sa.select(t.c.chat_id, t.c.status, t.c.raw_status, t.c.reason).where(t.c.task_id == one.id)
    known = {row.chat_id: row for row in await conn.execute(query)}
    changes: dict[str, dict[str, object]] = {}
    for item in found:
        row = known.get(item.chat_id)
        if row is None or (row.status, row.raw_status, row.reason) == (
            item.status.value,
            item.raw_status,
            item.reason,
        ):
            continue
        if may_become(TargetStatus(row.status), item.status):
            changes[item.chat_id] = {
                "run": one.run_id,
                "chat": item.chat_id,
                "before": row.status,
                "after": item.status.value,
                "raw": item.raw_status,
                "why": item.reason,
                "sent": item.sent_at,
                "now": now,
            }
    if changes:
        await conn.execute(_WRITE, [changes[chat_id] for chat_id in sorted(changes)])
    return frozenset(changes)


async def making(conn: AsyncConnection) -> bool:
    """Whether tasks wait for nothing but the rate to be made."""
    t = owner_task
    ready = sa.exists().where(t.c.status == sa.literal_column("'pending'"), ~t.c.dry)
    return bool(await conn.scalar(sa.select(ready)))


# --- runs --------------------------------------------------------------------------------------------------


async def unfinished_runs(conn: AsyncConnection, campaign_id: str) -> list[Run]:
    """The real runs of a campaign that are not over, the first first."""
    t = campaign_run
    query = sa.select(t).where(t.c.campaign_id == campaign_id, ~t.c.dry, t.c.finished_at.is_(None))
    return [Run(**row) for row in (await conn.execute(query.order_by(t.c.started_at, t.c.id))).mappings()]


async def moving(conn: AsyncConnection, run_id: str) -> bool:
    """Whether something of a run is still open: a group without its outcome, or a task that may yet be made."""
    g, t = campaign_target, owner_task
    groups = sa.exists().where(g.c.run_id == run_id, g.c.status.in_(OPEN_TARGETS))
    tasks = sa.exists().where(t.c.run_id == run_id, t.c.status.in_(OPEN))
    return bool(await conn.scalar(sa.select(sa.or_(groups, tasks))))


# --- how it goes, and what is past its time ----------------------------------------------------------------


@value_class
class Late:
    """Tasks that should have been looked at by now."""

    count: int
    since: datetime | None
    errcode: int | None
    error: str


async def late(conn: AsyncConnection, before: datetime) -> Late:
    """Tasks whose deadline was before *before* and that are still followed: the platform does not answer for them."""
    t = task_follow
    over = (t.c.status.in_(WAITING), t.c.confirm_by < before)
    count = int(await conn.scalar(sa.select(sa.func.count()).select_from(t).where(*over)) or 0)
    query = sa.select(t.c.confirm_by, t.c.errcode, t.c.error).where(*over).order_by(t.c.confirm_by).limit(1)
    first = (await conn.execute(query)).one_or_none()
    if first is None:
        return Late(0, None, None, "")
    return Late(count, first.confirm_by, first.errcode, first.error)


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* follow-ups that ended before *before*; how many there were."""
    t = task_follow
    old = sa.select(t.c.id).where(t.c.ended_at < before).order_by(t.c.ended_at).limit(limit)
    return (await conn.execute(sa.delete(t).where(t.c.id.in_(old)))).rowcount
