"""The rows of a run: its tasks, and the requests that were made for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.brake import LOOKED_AT, OWN_REASONS, Ended
from services.campaign.domain.making import Renewed, Tries
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.store.campaign_tables import (
    CREATING,
    campaign_run,
    campaign_target,
    owner_task,
    task_attempt,
)
from shared.db.queue import DEFERRED, PENDING, DueQueue
from shared.db.rows import insert_rows, pack
from shared.db.types import DialectName
from shared.values import value_class

SETTLED: Final = (
    "msgid", "reason", "errcode", "error", "updated_at", "made_at", "retries", "renewals", "looks", "unclear_at",
    "take_first",
)  # fmt: skip
"""Columns of its own that a settled task brings."""

OPEN: Final = (PENDING, DEFERRED, CREATING, TaskStatus.UNKNOWN.value)
"""Tasks of which it is not said yet whether they are made."""

_ROWS = 5000
"""Inserted by one statement."""
_SOME = 1000
"""Changed by one statement, and put off or woken at once: nobody waits long for a lock because a run is large. What is
not put off yet is when it comes up; what is not woken yet comes up by itself."""
_T = TypeVar("_T")


def some_of(items: Sequence[_T], most: int) -> Iterator[Sequence[_T]]:
    """*items* in pieces of at most *most*: a statement has only so many parameters."""
    for begin in range(0, len(items), most):
        yield items[begin : begin + most]


@value_class
class Claimed:
    """A task in hand."""

    id: str
    epoch: int
    lease_until: datetime
    run_id: str
    campaign_id: str
    version: int
    store_id: str
    dry: bool
    owner: str
    chunk: int
    canary: bool
    lane: str | None
    attempts: int
    """Those that were made before."""
    tries: Tries
    unclear_at: datetime | None
    take_first: bool
    created_at: datetime


@value_class
class Run:
    """One run of a campaign."""

    id: str
    campaign_id: str
    version: int
    store_id: str
    dry: bool
    content_hash: str
    started_by: str
    started_at: datetime
    finished_at: datetime | None


def queue(dialect: DialectName) -> DueQueue:
    """The tasks as a queue."""
    return DueQueue(dialect, owner_task, running=CREATING, settle_columns=SETTLED)


def claimed(row: Any) -> Claimed:
    """A claimed row in words."""
    return Claimed(
        row["id"],
        row["lease_epoch"],
        row["lease_until"],
        row["run_id"],
        row["campaign_id"],
        row["version"],
        row["store_id"],
        row["dry"],
        row["owner"],
        row["chunk"],
        row["canary"],
        row["lane"],
        row["attempt_no"],
        Tries(row["retries"], Renewed(row["renewals"]), row["looks"]),
        row["unclear_at"],
        row["take_first"],
        row["created_at"],
    )


async def add_run(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write a run."""
    await conn.execute(sa.insert(campaign_run).values(dict(values)))


async def add_tasks(
    conn: AsyncConnection, dialect: DialectName, rows: Sequence[Mapping[str, object]]
) -> None:
    """Write tasks."""
    await _insert(conn, dialect, owner_task, rows)


async def add_targets(
    conn: AsyncConnection, dialect: DialectName, rows: Sequence[Mapping[str, object]]
) -> None:
    """Write targets."""
    await _insert(conn, dialect, campaign_target, rows)


async def _insert(
    conn: AsyncConnection, dialect: DialectName, table: sa.Table, rows: Sequence[Mapping[str, object]]
) -> None:
    statement = insert_rows(dialect, table, "new")
    for some in some_of(rows, _ROWS):
        await conn.execute(statement, {"new": pack(some)})


async def run_of(conn: AsyncConnection, run_id: str, *, lock: bool = False) -> Run | None:
    """One run; locked until the end of the transaction where asked for."""
    query = sa.select(campaign_run).where(campaign_run.c.id == run_id)
    row = (await conn.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return None if row is None else Run(**row)


async def runs(conn: AsyncConnection, campaign_id: str) -> list[Run]:
    """All runs of a campaign, the last first."""
    t = campaign_run
    query = sa.select(t).where(t.c.campaign_id == campaign_id).order_by(t.c.started_at.desc(), t.c.id.desc())
    return [Run(**row) for row in (await conn.execute(query)).mappings()]


async def end_run(conn: AsyncConnection, run_id: str, now: datetime) -> None:
    """Write that a run is over."""
    t = campaign_run
    await conn.execute(
        sa.update(t).where(t.c.id == run_id, t.c.finished_at.is_(None)).values(finished_at=now)
    )


async def still_held(conn: AsyncConnection, one: Claimed) -> bool:
    """Whether the task is still the caller's; nobody else changes its row until the transaction ends."""
    t = owner_task
    query = sa.select(t.c.id).where(t.c.id == one.id, t.c.lease_epoch == one.epoch, t.c.status == CREATING)
    return (await conn.execute(query.with_for_update())).one_or_none() is not None


async def unfinished(conn: AsyncConnection, run_id: str) -> bool:
    """Whether it is not said yet of every task of the run whether it is made."""
    t = owner_task
    query = sa.select(sa.exists().where(t.c.run_id == run_id, t.c.status.in_(OPEN)))
    return bool(await conn.scalar(query))


async def unresolved(conn: AsyncConnection, lane: str, but: str) -> bool:
    """Whether a person has still to say of another task of the lane whether it exists."""
    t = owner_task
    same = (t.c.lane == lane, t.c.status == sa.literal_column("'unknown'"), t.c.id != but)
    return bool(await conn.scalar(sa.select(sa.exists().where(*same))))


async def hold_run(
    conn: AsyncConnection,
    run_id: str,
    due_at: datetime,
    reason: str,
    now: datetime,
    *,
    others_only: bool = False,
) -> None:
    """Have what is ready of a run wait, the first thousand; what others are just taking goes its own way.

    *others_only*: but for the first owners' tasks.
    """
    t = owner_task
    ready = sa.select(t.c.id).where(t.c.run_id == run_id, t.c.status == sa.literal_column("'pending'"))
    if others_only:
        ready = ready.where(~t.c.canary)
    await _put(conn, ready, status=DEFERRED, due_at=due_at, hold_reason=reason, updated_at=now)


async def hold_all(conn: AsyncConnection, due_at: datetime, reason: str, now: datetime) -> None:
    """Have what is ready wait, of whatever run, the first thousand, but for what nothing leaves for."""
    t = owner_task
    ready = sa.select(t.c.id).where(t.c.status == sa.literal_column("'pending'"), ~t.c.dry)
    await _put(conn, ready, status=DEFERRED, due_at=due_at, hold_reason=reason, updated_at=now)


async def release(
    conn: AsyncConnection, campaign_id: str, reason: str, due_at: datetime, now: datetime
) -> None:
    """Have what waits for *reason*, the first thousand, come up at *due_at*; at once, where that is not ahead."""
    t = owner_task
    held = sa.select(t.c.id).where(
        t.c.campaign_id == campaign_id,
        t.c.status == sa.literal_column("'deferred'"),
        t.c.hold_reason == reason,
    )
    ready = {"status": PENDING, "hold_reason": None} if due_at <= now else {}
    await _put(conn, held, due_at=due_at, updated_at=now, **ready)


async def _put(conn: AsyncConnection, chosen: Any, **values: Any) -> None:
    """Change the first rows of *chosen*, passing over those that others have locked."""
    t = owner_task.c
    first = chosen.order_by(t.rank, t.id).limit(_SOME).with_for_update(skip_locked=True)
    ids = list(await conn.scalars(first))
    if ids:
        await conn.execute(sa.update(owner_task).where(t.id.in_(ids)).values(**values))


async def cancel(conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
    """End the tasks and targets of which certainly nothing left; a dry run goes on, since it sends nothing."""
    t, g = owner_task, campaign_target
    clear = (
        t.c.campaign_id == campaign_id,
        ~t.c.dry,
        t.c.status.in_((PENDING, DEFERRED)),
        t.c.unclear_at.is_(None),
    )
    ended = sa.update(t).values(
        status=TaskStatus.CANCELLED.value, hold_reason=None, reason="campaign_cancelled", updated_at=now
    )
    waiting = list(await conn.scalars(sa.select(t.c.id).where(*clear).order_by(t.c.id)))
    for some in some_of(waiting, _SOME):
        ids = list(await conn.scalars(ended.where(t.c.id.in_(some), *clear).returning(t.c.id)))
        gone = sa.update(g).where(g.c.task_id.in_(ids), g.c.status == TargetStatus.PLANNED.value)
        values = {"status": TargetStatus.CANCELLED.value, "reason": "campaign_cancelled", "updated_at": now}
        await conn.execute(gone.values(values))


# --- requests --------------------------------------------------------------------------------------------


async def start_attempt(
    conn: AsyncConnection, one: Claimed, owner: str, trace_id: str, now: datetime
) -> None:
    """Write the request before it leaves."""
    values = {
        "task_id": one.id,
        "attempt_no": one.attempts + 1,
        "outcome": "",
        "error": "",
        "owner": owner,
        "trace_id": trace_id,
        "started_at": now,
    }
    await conn.execute(sa.insert(task_attempt).values(values))


async def finish_attempt(
    conn: AsyncConnection, one: Claimed, outcome: str, errcode: int | None, error: str, now: datetime
) -> None:
    """Write how a request ended."""
    t = task_attempt
    ours = (t.c.task_id == one.id, t.c.attempt_no == one.attempts + 1, t.c.outcome == "")
    values = {"outcome": outcome, "errcode": errcode, "error": error, "finished_at": now}
    await conn.execute(sa.update(t).where(*ours).values(values))


async def under_way(conn: AsyncConnection, task_id: str) -> datetime | None:
    """When the request for the task began whose end nobody has written; None where there is none."""
    t = task_attempt
    query = sa.select(t.c.started_at).where(t.c.task_id == task_id, t.c.outcome == "")
    found: datetime | None = await conn.scalar(query)
    return found


async def known(conn: AsyncConnection, msgids: Iterable[str]) -> frozenset[str]:
    """Those of *msgids* that are tasks of ours."""
    found: set[str] = set()
    for some in some_of(sorted(msgids), 1000):
        found.update(await conn.scalars(sa.select(owner_task.c.msgid).where(owner_task.c.msgid.in_(some))))
    return frozenset(found)


# --- how it goes -----------------------------------------------------------------------------------------


async def last_ended(conn: AsyncConnection, run_id: str, since: datetime | None) -> list[Ended]:
    """How the last tasks of a run ended, those since *since*."""
    t = owner_task
    ended = (TaskStatus.CREATED.value, TaskStatus.REFUSED.value, TaskStatus.UNKNOWN.value)
    query = sa.select(t.c.status, t.c.reason).where(t.c.run_id == run_id, t.c.status.in_(ended))
    if since is not None:
        query = query.where(t.c.updated_at >= since)
    rows = await conn.execute(query.order_by(t.c.updated_at.desc()).limit(LOOKED_AT))
    return [Ended(TaskStatus(row.status), own_check=row.reason in OWN_REASONS) for row in rows]


@value_class
class CanaryTask:
    """How one task of the first owners stands."""

    status: TaskStatus
    reason: str
    made_at: datetime | None

    @property
    def ended(self) -> Ended:
        """For the brake."""
        return Ended(self.status, own_check=self.reason in OWN_REASONS)


async def canary(conn: AsyncConnection, run_id: str) -> list[CanaryTask]:
    """The first owners' tasks of a run."""
    t = owner_task
    query = sa.select(t.c.status, t.c.reason, t.c.made_at).where(t.c.run_id == run_id, t.c.canary)
    return [CanaryTask(TaskStatus(row.status), row.reason, row.made_at) for row in await conn.execute(query)]
