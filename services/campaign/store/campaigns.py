"""The rows of campaigns, their versions and what happened to them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Attachment, AttachmentKind, Canary, Content, Spec
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import Hours, SendWindow
from services.campaign.store.campaign_tables import campaign, campaign_log, campaign_version
from shared.ids import new_id
from shared.values import value_class


@value_class
class Kept:
    """A campaign as it is stored, with its present version."""

    id: str
    store_id: str
    status: Status
    version: int
    reason: str
    created_by: str
    top_up_of: str
    playbook: str
    traceparent: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    spec: Spec


@value_class
class Edit:
    """A version, and whose it was."""

    version: int
    editor: str
    how: str
    created_at: datetime


@value_class
class Move:
    """One step from state to state."""

    version: int
    before: str
    after: str
    by: str
    reason: str
    comment: str
    at: datetime


_KEPT = sa.select(campaign, campaign_version.c.spec).join(
    campaign_version,
    sa.and_(
        campaign_version.c.campaign_id == campaign.c.id,
        campaign_version.c.version == campaign.c.version,
    ),
)


async def add(conn: AsyncConnection, kept: Kept, *, editor: str, how: str) -> None:
    """Write a new campaign with its first version."""
    await conn.execute(
        sa.insert(campaign).values(
            id=kept.id,
            store_id=kept.store_id,
            status=kept.status.value,
            version=kept.version,
            name=kept.spec.name,
            reason=kept.reason,
            created_by=kept.created_by,
            schedule_at=kept.spec.schedule_at,
            top_up_of=kept.top_up_of or None,
            playbook=kept.playbook,
            traceparent=kept.traceparent,
            created_at=kept.created_at,
            updated_at=kept.updated_at,
        )
    )
    await add_version(conn, kept.id, kept.version, kept.spec, editor=editor, how=how, now=kept.created_at)


async def add_version(
    conn: AsyncConnection, campaign_id: str, version: int, spec: Spec, *, editor: str, how: str, now: datetime
) -> None:
    """Write one version; the campaign's row is the caller's to change."""
    values = {
        "campaign_id": campaign_id,
        "version": version,
        "spec": spec.document(),
        "editor": editor,
        "how": how,
        "created_at": now,
    }
    await conn.execute(sa.insert(campaign_version).values(values))


async def change(conn: AsyncConnection, campaign_id: str, **values: Any) -> None:
    """Write columns of a campaign that the caller has locked by ``hold``."""
    await conn.execute(sa.update(campaign).where(campaign.c.id == campaign_id).values(values))


async def get(conn: AsyncConnection, campaign_id: str) -> Kept | None:
    """One campaign."""
    row = (await conn.execute(_KEPT.where(campaign.c.id == campaign_id))).mappings().one_or_none()
    return None if row is None else _kept(row)


async def hold(conn: AsyncConnection, campaign_id: str) -> Kept | None:
    """One campaign, locked until the end of the transaction: whoever changes it or acts on it comes by here."""
    lock = sa.select(campaign.c.id).where(campaign.c.id == campaign_id).with_for_update()
    if (await conn.execute(lock)).one_or_none() is None:
        return None
    return await get(conn, campaign_id)


async def share(conn: AsyncConnection, campaign_id: str) -> Kept | None:
    """One campaign, kept from being changed until the end of the transaction; for the many that act at once."""
    lock = sa.select(campaign.c.id).where(campaign.c.id == campaign_id).with_for_update(read=True)
    if (await conn.execute(lock)).one_or_none() is None:
        return None
    return await get(conn, campaign_id)


async def page(
    conn: AsyncConnection,
    stores: Collection[str] | None,
    *,
    statuses: Collection[Status] = (),
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Kept]:
    """Campaigns, the newest first, those behind *before* (created_at, id)."""
    query = _KEPT.order_by(campaign.c.created_at.desc(), campaign.c.id.desc()).limit(limit)
    if stores is not None:
        query = query.where(campaign.c.store_id.in_(sorted(stores)))
    if statuses:
        query = query.where(campaign.c.status.in_(sorted(one.value for one in statuses)))
    if before is not None:
        at, last = before
        query = query.where(
            sa.or_(
                campaign.c.created_at < at,
                sa.and_(campaign.c.created_at == at, campaign.c.id < last),
            )
        )
    return [_kept(row) for row in (await conn.execute(query)).mappings()]


async def edits(conn: AsyncConnection, campaign_id: str) -> list[Edit]:
    """Every version, the first first."""
    t = campaign_version
    query = sa.select(t.c.version, t.c.editor, t.c.how, t.c.created_at).where(t.c.campaign_id == campaign_id)
    return [Edit(**row) for row in (await conn.execute(query.order_by(t.c.version))).mappings()]


async def spec_of(conn: AsyncConnection, campaign_id: str, version: int) -> Spec | None:
    """What one version says."""
    t = campaign_version
    query = sa.select(t.c.spec).where(t.c.campaign_id == campaign_id, t.c.version == version)
    found = (await conn.execute(query)).scalar_one_or_none()
    return None if found is None else read_spec(found)


async def log(
    conn: AsyncConnection,
    before: Kept,
    after: Status,
    now: datetime,
    *,
    by: str,
    reason: str = "",
    comment: str = "",
    version: int | None = None,
) -> None:
    """Write that a campaign moved."""
    values = {
        "id": new_id(),
        "campaign_id": before.id,
        "version": before.version if version is None else version,
        "before": before.status.value,
        "after": after.value,
        "by": by,
        "reason": reason,
        "comment": comment,
        "at": now,
    }
    await conn.execute(sa.insert(campaign_log).values(values))


async def moves(conn: AsyncConnection, campaign_id: str) -> list[Move]:
    """All that happened to it, the first first."""
    t = campaign_log
    columns = (t.c.version, t.c.before, t.c.after, t.c.by, t.c.reason, t.c.comment, t.c.at)
    query = sa.select(*columns).where(t.c.campaign_id == campaign_id).order_by(t.c.at, t.c.id)
    return [Move(**row) for row in (await conn.execute(query)).mappings()]


def read_spec(document: dict[str, Any]) -> Spec:
    """A spec from ``Spec.document``."""
    content, window, canary = document["content"], document["window"], document["canary"]
    schedule = document["schedule_at"]
    return Spec(
        name=document["name"],
        content=Content(
            content["text"],
            tuple(
                Attachment(**{**one, "kind": AttachmentKind(one["kind"])}) for one in content["attachments"]
            ),
        ),
        audience=document["audience"],
        window=SendWindow(
            window["zone"],
            tuple((day, _hours(hours)) for day, hours in window["weekdays"]),
            tuple((date.fromisoformat(day), _hours(hours)) for day, hours in window["dates"]),
        ),
        schedule_at=None if schedule is None else datetime.fromisoformat(schedule),
        canary=Canary(canary["owners"], timedelta(seconds=canary["wait"])),
        confirm_within=timedelta(seconds=document["confirm_within"]),
        banned_words=tuple(document["banned_words"]),
        theme=document["theme"],
        tone=document["tone"],
    )


def _hours(found: list[list[str]]) -> tuple[Hours, ...]:
    return tuple(Hours(time.fromisoformat(start), time.fromisoformat(end)) for start, end in found)


def _kept(row: Any) -> Kept:
    return Kept(
        id=row["id"],
        store_id=row["store_id"],
        status=Status(row["status"]),
        version=row["version"],
        reason=row["reason"],
        created_by=row["created_by"],
        top_up_of=row["top_up_of"] or "",
        playbook=row["playbook"],
        traceparent=row["traceparent"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        spec=read_spec(row["spec"]),
    )
