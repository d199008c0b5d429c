"""What the story of a campaign, a group or an owner's task is told from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.story import Reminded, TaskTold, Tried
from services.campaign.store import reminders
from services.campaign.store.campaign_tables import (
    audience_target,
    campaign,
    campaign_run,
    campaign_target,
    owner_task,
    run_left_out,
    task_attempt,
)
from services.campaign.store.follow_tables import task_follow
from shared.values import value_class


@value_class
class FrozenGroup:
    """A group of the audience of a version."""

    owner: str
    reason: str
    """Why it is left out; '' is in."""
    detail: str


@value_class
class KeptTask:
    """A task, and what it is of."""

    campaign_id: str
    run_id: str
    told: TaskTold


async def task(conn: AsyncConnection, task_id: str) -> KeptTask | None:
    """A task by its id, or by the platform's."""
    t = owner_task.c
    found = None
    for where in (t.id == task_id, sa.and_(t.msgid == task_id, t.msgid != "")):
        found = (await conn.execute(sa.select(owner_task).where(where))).mappings().one_or_none()
        if found is not None:
            break
    if found is None:
        return None
    f = task_follow.c
    followed = sa.select(f.confirm_by, f.confirmed_at).where(f.id == found["id"])
    follow = (await conn.execute(followed)).one_or_none()
    given = await reminders.of(conn, [found["id"]])
    return KeptTask(
        found["campaign_id"],
        found["run_id"],
        TaskTold(
            id=found["id"],
            owner=found["owner"],
            dry=found["dry"],
            status=TaskStatus(found["status"]),
            hold_reason=found["hold_reason"] or "",
            due_at=found["due_at"],
            reason=found["reason"],
            errcode=found["errcode"],
            error=found["error"],
            msgid=found["msgid"],
            groups=await _groups(conn, campaign_target.c.task_id == found["id"]),
            created_at=found["created_at"],
            updated_at=found["updated_at"],
            made_at=found["made_at"],
            confirm_by=None if follow is None else follow.confirm_by,
            confirmed_at=None if follow is None else follow.confirmed_at,
            tries=await _tries(conn, found["id"]),
            reminders=[Reminded(one.by, one.outcome, one.asked_at) for one in given.get(found["id"], ())],
        ),
    )


async def run_groups(conn: AsyncConnection, run_id: str) -> Mapping[TargetStatus, int]:
    """Where the groups of a run stand."""
    return await _groups(conn, campaign_target.c.run_id == run_id)


async def run_holds(conn: AsyncConnection, run_id: str) -> Mapping[str, int]:
    """What the tasks of a run wait for, and how many of each."""
    t = owner_task.c
    query = (
        sa.select(t.hold_reason, sa.func.count())
        .where(t.run_id == run_id, t.status == TaskStatus.DEFERRED.value)
        .group_by(t.hold_reason)
    )
    found: Counter[str] = Counter()
    for reason, count in await conn.execute(query):
        found[reason or ""] += count
    return found


async def _groups(conn: AsyncConnection, where: sa.ColumnElement[bool]) -> Mapping[TargetStatus, int]:
    t = campaign_target.c
    query = sa.select(t.status, sa.func.count()).where(where).group_by(t.status)
    counts = {row[0]: row[1] for row in await conn.execute(query)}
    return {status: counts[status.value] for status in TargetStatus if status.value in counts}


async def _tries(conn: AsyncConnection, task_id: str) -> Sequence[Tried]:
    t = task_attempt.c
    query = sa.select(t.attempt_no, t.outcome, t.errcode, t.error, t.started_at)
    query = query.where(t.task_id == task_id).order_by(t.attempt_no)
    return [Tried(*row) for row in await conn.execute(query)]


async def campaigns_of(
    conn: AsyncConnection, chat_id: str, stores: Collection[str] | None, limit: int, *, only: str = ""
) -> Sequence[str]:
    """Campaigns of *stores* that a group was meant for, the latest first: those in whose frozen audience it is, and
    those that were run with it. Of *only* that one, where it is given."""
    c, r = campaign.c, campaign_run.c
    frozen = sa.select(audience_target.c.campaign_id).where(audience_target.c.chat_id == chat_id)
    ran = sa.select(campaign_target.c.campaign_id).where(campaign_target.c.chat_id == chat_id)
    left = (
        sa.select(r.campaign_id)
        .join_from(run_left_out, campaign_run, r.id == run_left_out.c.run_id)
        .where(run_left_out.c.chat_id == chat_id)
    )
    query = sa.select(c.id).where(c.id.in_(frozen.union(ran, left)))
    if stores is not None:
        query = query.where(c.store_id.in_(sorted(stores)))
    if only:
        query = query.where(c.id == only)
    return list(await conn.scalars(query.order_by(c.created_at.desc(), c.id.desc()).limit(limit)))


async def frozen_group(
    conn: AsyncConnection, campaign_id: str, version: int, chat_id: str
) -> FrozenGroup | None:
    """A group of the audience of a version; None where it is not among them, or nothing is frozen."""
    t = audience_target.c
    query = sa.select(t.owner, t.reason, t.detail)
    query = query.where(t.campaign_id == campaign_id, t.version == version, t.chat_id == chat_id)
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else FrozenGroup(*row)
