"""Which groups of a campaign were handed on to another one: each to one at most."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.report import UNSURE
from services.campaign.store.campaign_tables import campaign, campaign_target, top_up_group
from services.campaign.store.tasks import some_of
from shared.db.rows import dialect_of, insert_rows, pack

_ROWS = 5000
"""Inserted by one statement."""


async def give_back(conn: AsyncConnection, parent_id: str) -> None:
    """Groups of top-ups that were dropped before they began may be handed on once more."""
    t, c = top_up_group.c, campaign.c
    over = [status.value for status in Status if status.over]
    dropped = sa.select(c.id).where(c.top_up_of == parent_id, c.started_at.is_(None), c.status.in_(over))
    await conn.execute(sa.delete(top_up_group).where(t.parent_id == parent_id, t.campaign_id.in_(dropped)))


async def remaining(
    conn: AsyncConnection, parent_id: str, run_id: str, outcomes: Collection[TargetStatus], limit: int
) -> tuple[Sequence[str], int]:
    """Groups of a run with one of *outcomes* that were not handed on, by chat id, and how many there are in all."""
    t, g = campaign_target.c, top_up_group.c
    handed = sa.exists().where(g.parent_id == parent_id, g.chat_id == t.chat_id)
    # Where a task was lost sight of, or the platform says what nobody understands, it may have been sent.
    unsure = sa.or_(t.raw_status.is_not(None), t.reason.in_(sorted(UNSURE)))
    where = (
        t.run_id == run_id,
        t.status.in_(sorted(one.value for one in outcomes)),
        ~sa.and_(t.status == TargetStatus.REFUSED.value, unsure),
        ~handed,
    )
    chats = await conn.scalars(sa.select(t.chat_id).where(*where).order_by(t.chat_id).limit(limit))
    count = await conn.scalar(sa.select(sa.func.count()).select_from(campaign_target).where(*where))
    return list(chats), int(count or 0)


async def taker(conn: AsyncConnection, parent_id: str, chat_id: str = "") -> str:
    """The latest campaign, but for dropped ones, that groups of a campaign were handed on to, or one group was; '' for
    none."""
    t, c = top_up_group.c, campaign.c
    dropped = (Status.CANCELLED.value, Status.FAILED.value, Status.MISSED.value)
    query = sa.select(c.id).where(
        c.top_up_of == parent_id, sa.or_(c.status.not_in(dropped), c.started_at.is_not(None))
    )
    if chat_id:
        query = query.where(
            sa.exists().where(t.parent_id == parent_id, t.chat_id == chat_id, t.campaign_id == c.id)
        )
    found = await conn.scalar(query.order_by(c.created_at.desc(), c.id.desc()).limit(1))
    return str(found or "")


async def hand_on(conn: AsyncConnection, parent_id: str, campaign_id: str, chat_ids: Sequence[str]) -> None:
    """Hand groups of a campaign on to another one."""
    statement = insert_rows(dialect_of(conn), top_up_group, "new")
    rows = [{"parent_id": parent_id, "chat_id": one, "campaign_id": campaign_id} for one in chat_ids]
    for some in some_of(rows, _ROWS):
        await conn.execute(statement, {"new": pack(some)})
