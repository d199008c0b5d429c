"""The figures of a run: counted where the rows are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Reminded
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.report import CONFIRMED_RAW, Cell, Prompt, TaskFacts
from services.campaign.pipeline.ports import LeftOut
from services.campaign.store.campaign_tables import (
    audience_target,
    campaign,
    campaign_target,
    owner_task,
    run_left_out,
    top_up_group,
)
from services.campaign.store.follow_tables import task_follow, task_reminder
from services.campaign.store.group_tables import group_label
from services.campaign.store.tasks import Run, some_of
from services.campaign.store.writing_tables import candidate, candidate_set
from shared.db.rows import dialect_of, insert_rows, pack
from shared.values import value_class

_ROWS: Final = 5000
"""Inserted by one statement."""
_LOOKED_UP: Final = 500
"""Looked up by one statement."""


@value_class
class Handed:
    """A campaign that groups of another one were handed on to."""

    campaign_id: str
    status: Status
    groups: int
    created_at: datetime


@value_class
class Excluded:
    """A group of the audience that was left out."""

    chat_id: str
    name: str
    owner: str
    reason: str
    detail: str


async def leave_out(conn: AsyncConnection, run_id: str, excluded: Sequence[LeftOut]) -> None:
    """Write which groups of its audience a dry run left out."""
    statement = insert_rows(dialect_of(conn), run_left_out, "new")
    rows = [
        {
            "run_id": run_id,
            "chat_id": one.group.chat_id,
            "owner": one.group.owner,
            "name": one.group.name,
            "reason": one.reason,
            "detail": one.detail,
        }
        for one in excluded
    ]
    for some in some_of(rows, _ROWS):
        await conn.execute(statement, {"new": pack(some)})


def _left_out(run: Run) -> sa.Subquery:
    """The groups that a run left out: those that are frozen with its version, or its own where it was for show."""
    t: Any
    if run.dry:
        t = run_left_out.c
        where = [t.run_id == run.id]
    else:
        t = audience_target.c
        where = [t.campaign_id == run.campaign_id, t.version == run.version, t.reason != ""]
    return sa.select(t.chat_id, t.name, t.owner, t.reason, t.detail).where(*where).subquery()


async def excluded_reasons(conn: AsyncConnection, run: Run) -> Mapping[str, int]:
    """How many groups a run left out, by reason."""
    left = _left_out(run).c
    query = sa.select(left.reason, sa.func.count()).group_by(left.reason)
    return {row[0]: row[1] for row in await conn.execute(query)}


async def excluded_page(conn: AsyncConnection, run: Run, after: str, limit: int) -> list[Excluded]:
    """Groups that a run left out by chat id, those behind *after*."""
    left = _left_out(run)
    query = sa.select(left).where(left.c.chat_id > after).order_by(left.c.chat_id).limit(limit)
    return [Excluded(**row) for row in (await conn.execute(query)).mappings()]


async def excluded_of(conn: AsyncConnection, run: Run, chat_id: str) -> Excluded | None:
    """One group that a run left out; None where it did not."""
    left = _left_out(run)
    row = (await conn.execute(sa.select(left).where(left.c.chat_id == chat_id))).mappings().one_or_none()
    return None if row is None else Excluded(**row)


def _when() -> tuple[sa.Label[bool], sa.Label[bool]]:
    """Whether a group's task was made, and whether what is known of the group became known after that."""
    t, k = campaign_target.c, owner_task.c
    later = sa.func.coalesce(t.updated_at > k.made_at, sa.false())
    return k.made_at.is_not(None).label("made"), later.label("later")


async def cells(conn: AsyncConnection, run_id: str) -> list[Cell]:
    """The groups of a run, those that are alike counted together."""
    t, k = campaign_target.c, owner_task.c
    alike = (t.status, t.reason, t.errcode, t.raw_status, *_when())
    query = (
        sa.select(*alike, sa.func.count().label("count"), sa.func.max(t.error).label("example"))
        .join_from(campaign_target, owner_task, k.id == t.task_id)
        .where(t.run_id == run_id)
        .group_by(*alike)
    )
    return [_cell(row) for row in (await conn.execute(query)).mappings()]


async def labelled_cells(conn: AsyncConnection, run_id: str) -> Mapping[str, Sequence[Cell]]:
    """The same by label; a group with two labels is counted with both, one without any under ''."""
    t, k, g = campaign_target.c, owner_task.c, group_label.c
    label = sa.func.coalesce(g.label, sa.literal_column("''"))
    alike = (label.label("label"), t.status, t.reason, t.raw_status, *_when())
    query = (
        sa.select(*alike, sa.func.count().label("count"))
        .select_from(
            campaign_target.join(owner_task, k.id == t.task_id).outerjoin(group_label, g.chat_id == t.chat_id)
        )
        .where(t.run_id == run_id)
        .group_by(label, *alike[1:])
    )
    found: dict[str, list[Cell]] = defaultdict(list)
    for row in (await conn.execute(query)).mappings():
        values = {name: value for name, value in row.items() if name != "label"}
        found[row["label"]].append(_cell({"errcode": None, "example": "", **values}))
    return found


def _cell(row: Any) -> Cell:
    return Cell(
        **{
            **row,
            "status": TargetStatus(row["status"]),
            "made": bool(row["made"]),
            "later": bool(row["later"]),
        }
    )


async def task_facts(conn: AsyncConnection, run_id: str) -> list[TaskFacts]:
    """Each task of a run, with how far its groups have come."""
    t, k, f = campaign_target.c, owner_task.c, task_follow.c
    sent = t.status == TargetStatus.SENT.value
    confirmed = sa.or_(sent, t.raw_status.in_(sorted(CONFIRMED_RAW)))
    query = (
        sa.select(
            k.id,
            k.owner,
            k.status,
            k.hold_reason,
            k.due_at,
            k.made_at,
            sa.func.count(t.chat_id).label("groups"),
            sa.func.coalesce(sa.func.sum(sa.case((sent, 1), else_=0)), 0).label("sent"),
            sa.func.coalesce(sa.func.max(sa.case((confirmed, 1), else_=0)), 0).label("confirmed"),
            sa.func.coalesce(
                sa.func.sum(sa.case((t.status == TargetStatus.AWAITING_OWNER.value, 1), else_=0)), 0
            ).label("awaiting"),
            # A follow-up is kept for a good year, a run for ever.
            sa.func.coalesce(f.confirmed_at, sa.func.min(t.sent_at)).label("confirmed_at"),
        )
        .select_from(
            owner_task.outerjoin(campaign_target, t.task_id == k.id).outerjoin(task_follow, f.id == k.id)
        )
        .where(k.run_id == run_id)
        .group_by(k.id, f.confirmed_at)
    )
    return [
        TaskFacts(
            **{
                **row,
                "status": TaskStatus(row["status"]),
                "hold_reason": row["hold_reason"] or "",
                "confirmed": row["made_at"] is not None
                and (bool(row["confirmed"]) or row["confirmed_at"] is not None),
            }
        )
        for row in (await conn.execute(query)).mappings()
    ]


async def reminders_given(conn: AsyncConnection, run_id: str) -> Mapping[str, int]:
    """How often each task of a run was reminded of, as far as is known; those that never were are missing."""
    k, r = owner_task.c, task_reminder.c
    query = (
        sa.select(r.task_id, sa.func.count())
        .join_from(owner_task, task_reminder, r.task_id == k.id)
        .where(k.run_id == run_id, r.outcome.in_((Reminded.GIVEN.value, Reminded.UNKNOWN.value)))
        .group_by(r.task_id)
    )
    return {row[0]: row[1] for row in await conn.execute(query)}


async def prompts(conn: AsyncConnection, campaign_id: str) -> list[Prompt]:
    """What applications were asked for a campaign, request by request."""
    t, c = candidate_set.c, candidate.c
    used = sa.exists().where(c.set_id == t.id, c.used_version > 0)
    columns = (t.app_version, t.prompt_hash, t.models, t.input_tokens, t.output_tokens, t.total_tokens)
    query = sa.select(*columns, used.label("used")).where(t.campaign_id == campaign_id)
    rows = (await conn.execute(query.order_by(t.created_at, t.id))).mappings()
    return [
        Prompt(**{**row, "models": tuple(row["models"]), "used": bool(row["used"])}, requests=1)
        for row in rows
    ]


async def handed_on(conn: AsyncConnection, campaign_id: str) -> list[Handed]:
    """The top-ups of a campaign, the oldest first, with how many groups each was handed."""
    t, g = campaign.c, top_up_group.c
    count = sa.select(sa.func.count()).where(g.campaign_id == t.id).scalar_subquery()
    query = sa.select(t.id, t.status, count.label("groups"), t.created_at)
    query = query.where(t.top_up_of == campaign_id).order_by(t.created_at, t.id)
    return [Handed(row[0], Status(row[1]), row[2], row[3]) for row in await conn.execute(query)]


async def labels_of(conn: AsyncConnection, chat_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """What groups are labelled now."""
    t = group_label.c
    found: dict[str, list[str]] = defaultdict(list)
    for some in some_of(sorted(chat_ids), _LOOKED_UP):
        query = sa.select(t.chat_id, t.label).where(t.chat_id.in_(some)).order_by(t.chat_id, t.label)
        for row in await conn.execute(query):
            found[row[0]].append(row[1])
    return found
