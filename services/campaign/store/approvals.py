"""The rows of frozen audiences and of what was decided about them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.permit import Consent
from services.campaign.pipeline.ports import Group, LeftOut, Selection
from services.campaign.store.campaign_tables import (
    approval,
    audience_snapshot,
    audience_target,
    campaign,
    campaign_version,
)
from services.campaign.store.writing_tables import candidate_set
from shared.db.rows import dialect_of
from shared.values import value_class

APPROVED, REJECTED = "approved", "rejected"
"""The decisions."""

_ROWS = 2000
"""Written in one statement; a database takes so many values at most."""


@value_class
class Snapshot:
    """The audience of a version, as it was frozen."""

    set_hash: str
    content_hash: str
    included: int
    excluded: int
    taken_at: datetime


@value_class
class Approval:
    """What one person said of one version."""

    id: str
    campaign_id: str
    version: int
    store_id: str
    content_hash: str
    approver: str
    token_id: str
    decision: str
    comment: str
    login_at: datetime
    decided_at: datetime
    expires_at: datetime

    @property
    def consent(self) -> Consent:
        """What the permit asks of it."""
        return Consent(
            self.decision == APPROVED,
            self.version,
            self.store_id,
            self.content_hash,
            self.approver,
            self.token_id,
            self.login_at,
            self.expires_at,
        )


async def freeze(
    conn: AsyncConnection,
    campaign_id: str,
    version: int,
    selection: Selection,
    *,
    set_hash: str,
    content_hash: str,
    now: datetime,
) -> None:
    """Keep *selection* as the audience of a version, in the place of what was kept before."""
    for table in (audience_target, audience_snapshot):
        await conn.execute(
            sa.delete(table).where(table.c.campaign_id == campaign_id, table.c.version == version)
        )
    rows = [_row(campaign_id, version, group, "", "") for group in selection.included]
    rows += [_row(campaign_id, version, one.group, one.reason, one.detail) for one in selection.excluded]
    for start in range(0, len(rows), _ROWS):
        await conn.execute(sa.insert(audience_target), rows[start : start + _ROWS])
    values = {
        "campaign_id": campaign_id,
        "version": version,
        "set_hash": set_hash,
        "content_hash": content_hash,
        "included": len(selection.included),
        "excluded": len(selection.excluded),
        "taken_at": now,
    }
    await conn.execute(sa.insert(audience_snapshot).values(values))


def _row(campaign_id: str, version: int, group: Group, reason: str, detail: str) -> dict[str, object]:
    return {
        "campaign_id": campaign_id,
        "version": version,
        "chat_id": group.chat_id,
        "owner": group.owner,
        "name": group.name,
        "members": group.members,
        "reason": reason,
        "detail": detail,
    }


async def snapshot(conn: AsyncConnection, campaign_id: str, version: int) -> Snapshot | None:
    """What was frozen of a version; None where it was not submitted."""
    t = audience_snapshot
    columns = (t.c.set_hash, t.c.content_hash, t.c.included, t.c.excluded, t.c.taken_at)
    query = sa.select(*columns).where(t.c.campaign_id == campaign_id, t.c.version == version)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else Snapshot(**row)


async def frozen_text(conn: AsyncConnection, campaign_id: str, version: int) -> str:
    """(chat id, owner) of the groups that are in, which an approval binds, as ``set_text_hash`` takes them."""
    t = audience_target
    words: sa.ColumnElement[str] = sa.literal("")
    for column in (t.c.chat_id, t.c.owner):
        words = words + sa.cast(sa.func.length(column), sa.Text) + ":" + column
    pairs = (
        sa.select(t.c.chat_id, words.label("pair"))
        .where(t.c.campaign_id == campaign_id, t.c.version == version, t.c.reason == "")
        .order_by(t.c.chat_id)
        .subquery()
    )
    if dialect_of(conn) == "postgresql":
        whole = sa.func.string_agg(pairs.c.pair, aggregate_order_by(sa.literal(""), pairs.c.chat_id))
    else:
        whole = sa.func.group_concat(pairs.c.pair, "")
    found: str | None = await conn.scalar(sa.select(whole))
    return found or ""


async def frozen(conn: AsyncConnection, campaign_id: str, version: int) -> Selection:
    """The audience of a version, by chat id."""
    t = audience_target
    query = sa.select(t).where(t.c.campaign_id == campaign_id, t.c.version == version).order_by(t.c.chat_id)
    included, excluded = [], []
    for row in (await conn.execute(query)).mappings():
        group = Group(row["chat_id"], row["owner"], row["name"], row["members"])
        if row["reason"]:
            excluded.append(LeftOut(group, row["reason"], row["detail"]))
        else:
            included.append(group)
    return Selection(tuple(included), tuple(excluded))


async def authors(conn: AsyncConnection, campaign_id: str) -> frozenset[str]:
    """Subjects of who created a campaign, wrote a version of it, or had an application write for a version before this.

    The last whether or not what came of it was taken as it is: words can be copied by hand as well. What was asked for
    since this version was written cannot be in it.
    """
    created = sa.select(campaign.c.created_by).where(campaign.c.id == campaign_id)
    wrote = sa.select(campaign_version.c.editor).where(campaign_version.c.campaign_id == campaign_id)
    had = (
        sa.select(candidate_set.c.asked_by)
        .join(campaign, campaign.c.id == candidate_set.c.campaign_id)
        .where(campaign.c.id == campaign_id, candidate_set.c.version < campaign.c.version)
    )
    return frozenset((await conn.execute(created.union(wrote, had))).scalars()) - {""}


async def add(conn: AsyncConnection, decided: Approval) -> None:
    """Write what somebody decided."""
    values = {name: getattr(decided, name) for name in Approval.__dataclass_fields__}
    await conn.execute(sa.insert(approval).values(values))


async def get(conn: AsyncConnection, approval_id: str) -> Approval:
    """One decision, which exists: none is ever deleted."""
    row = (await conn.execute(sa.select(approval).where(approval.c.id == approval_id))).mappings().one()
    return Approval(**row)


async def latest(conn: AsyncConnection, campaign_id: str, version: int) -> Approval | None:
    """The last decision about a version."""
    t = approval
    query = (
        sa.select(t)
        .where(t.c.campaign_id == campaign_id, t.c.version == version)
        .order_by(t.c.decided_at.desc(), t.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else Approval(**row)


async def decisions(conn: AsyncConnection, campaign_id: str) -> list[Approval]:
    """All decisions about a campaign, the first first."""
    t = approval
    query = sa.select(t).where(t.c.campaign_id == campaign_id).order_by(t.c.decided_at, t.c.id)
    return [Approval(**row) for row in (await conn.execute(query)).mappings()]


async def due(conn: AsyncConnection, now: datetime, after: str, limit: int) -> list[str]:
    """Campaigns whose time has come and that have not begun, by id, those behind *after*."""
    query = (
        sa.select(campaign.c.id)
        .where(campaign.c.status == "scheduled", campaign.c.schedule_at <= now, campaign.c.id > after)
        .order_by(campaign.c.id)
        .limit(limit)
    )
    return list((await conn.execute(query)).scalars())
