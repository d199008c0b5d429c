"""The rows of a run's groups: each has its own outcome."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.store.campaign_tables import campaign_target, owner_task
from services.campaign.store.follow_tables import task_follow
from services.campaign.store.tasks import some_of
from shared.values import value_class


@value_class
class Target:
    """One group of a run, as it is stored, with its task's id at the platform."""

    chat_id: str
    name: str
    owner: str
    task_id: str
    task_status: str
    msgid: str
    status: TargetStatus
    raw_status: int | None
    reason: str
    errcode: int | None
    error: str
    hold_reason: str
    made_at: datetime | None
    sent_at: datetime | None
    updated_at: datetime
    confirmed_at: datetime | None
    """When its owner confirmed the task, by the platform's clock."""


async def chat_ids(conn: AsyncConnection, task_id: str) -> list[str]:
    """The groups of a task that wait for it, in order."""
    t = campaign_target
    open_ones = (TargetStatus.PLANNED.value, TargetStatus.UNKNOWN.value)
    query = sa.select(t.c.chat_id).where(t.c.task_id == task_id, t.c.status.in_(open_ones))
    return list(await conn.scalars(query.order_by(t.c.chat_id)))


async def mark(
    conn: AsyncConnection,
    task_id: str,
    status: TargetStatus,
    now: datetime,
    *,
    only: Collection[str] | None = None,
    reason: str = "",
    errcode: int | None = None,
    error: str = "",
) -> int:
    """Write what became of a task's groups that wait for it, of all or those named; how many there were."""
    t = campaign_target
    open_ones = (TargetStatus.PLANNED.value, TargetStatus.UNKNOWN.value)
    values = {"status": status.value, "reason": reason, "errcode": errcode, "error": error, "updated_at": now}
    waiting = sa.update(t).where(t.c.task_id == task_id, t.c.status.in_(open_ones)).values(values)
    if only is None:
        return (await conn.execute(waiting)).rowcount
    changed = 0
    for some in some_of(sorted(only), 1000):
        changed += (await conn.execute(waiting.where(t.c.chat_id.in_(some)))).rowcount
    return changed


async def page(
    conn: AsyncConnection,
    run_id: str,
    statuses: Collection[TargetStatus],
    after: str,
    limit: int,
    *,
    owner: str = "",
) -> list[Target]:
    """Groups of a run by chat id, those behind *after*; of all states where none is named, of *owner* where one is."""
    t = campaign_target.c
    query = _TARGETS.where(t.run_id == run_id, t.chat_id > after).order_by(t.chat_id).limit(limit)
    if statuses:
        query = query.where(t.status.in_(sorted(one.value for one in statuses)))
    if owner:
        query = query.where(t.owner == owner)
    return [_target(row) for row in (await conn.execute(query)).mappings()]


async def of_task(conn: AsyncConnection, task_id: str) -> list[Target]:
    """The groups of a task by chat id."""
    query = _TARGETS.where(campaign_target.c.task_id == task_id).order_by(campaign_target.c.chat_id)
    return [_target(row) for row in (await conn.execute(query)).mappings()]


async def get(conn: AsyncConnection, run_id: str, chat_id: str) -> Target | None:
    """One group of a run."""
    t = campaign_target.c
    query = _TARGETS.where(t.run_id == run_id, t.chat_id == chat_id)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _target(row)


def _targets() -> sa.Select[Any]:
    t, k = campaign_target.c, owner_task.c
    columns = (
        t.chat_id, t.name, t.owner, t.task_id, k.status.label("task_status"), k.msgid, t.status, t.raw_status,
        t.reason, t.errcode, t.error, sa.func.coalesce(k.hold_reason, "").label("hold_reason"), k.made_at,
        t.sent_at, t.updated_at, task_follow.c.confirmed_at,
    )  # fmt: skip
    rows = campaign_target.join(owner_task, k.id == t.task_id).outerjoin(
        task_follow, task_follow.c.id == t.task_id
    )
    return sa.select(*columns).select_from(rows)


_TARGETS: Final = _targets()


def _target(row: Any) -> Target:
    return Target(**{**row, "status": TargetStatus(row["status"])})
