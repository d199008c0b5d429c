"""The rows of join ways, and what whoever came by them did since."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import join_way as domain
from services.campaign.domain.join_way import CHECK_EVERY, LOST_AFTER, Drift, WayStatus
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.group_tables import customer_group, group_join, join_way
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class
from shared.wecom.customer_groups import JoinWaySpec

WAKEUP: Final = "join_ways"
"""Given when one is to be compared with the platform's at once."""


@value_class
class Way:
    """A join way as it is stored."""

    id: str
    store_id: str
    status: WayStatus
    config_id: str
    spec: JoinWaySpec
    qr_code: str
    drift: tuple[Drift, ...]
    version: int
    errcode: int | None
    error: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    checked_at: datetime | None


@value_class
class Attribution:
    """What became of those who came by a state, as far as groups were read."""

    joined: int
    """Times that somebody joined."""
    members: int
    """Different customers among them."""
    present: int
    """Of the joins, those who are still there."""
    matured: tuple[int, ...]
    """By length of stay: joins long enough ago to tell."""
    stayed: tuple[int, ...]
    """Of those, who stayed so long."""
    groups: int
    reached: int
    """Joins after which a campaign was sent to the group while they were in it."""
    campaigns: int
    """Different campaigns among those."""


async def add(conn: AsyncConnection, way: Way) -> bool:
    """Write a new one, pending; False where another of the store has its state."""
    t = join_way
    values: dict[str, Any] = {
        "id": way.id,
        "store_id": way.store_id,
        "status": way.status.value,
        "spec": domain.document(way.spec),
        "state": way.spec.state,
        "open_state": way.spec.state or None,
        "qr_code": "",
        "drift": [],
        "version": way.version,
        "error": "",
        "created_by": way.created_by,
        "created_at": way.created_at,
        "updated_at": way.updated_at,
        "asked_at": way.created_at,
        "check_due_at": way.created_at + LOST_AFTER,
    }
    insert = insert_into(dialect_of(conn), t).values(values).on_conflict_do_nothing()
    return (await conn.execute(insert.returning(t.c.id))).first() is not None


async def is_taken(conn: AsyncConnection, store_id: str, state: str, but: str = "") -> bool:
    """Whether another way of the store than *but* has this state."""
    t = join_way
    query = sa.select(t.c.id).where(t.c.store_id == store_id, t.c.open_state == state, t.c.id != but)
    return bool(state) and (await conn.execute(query)).first() is not None


async def change(conn: AsyncConnection, way_id: str, **values: Any) -> None:
    """Write columns of one."""
    await conn.execute(sa.update(join_way).where(join_way.c.id == way_id).values(values))


async def settle(
    conn: AsyncConnection,
    way_id: str,
    status: WayStatus,
    now: datetime,
    *,
    again: timedelta | None = CHECK_EVERY,
    **values: Any,
) -> None:
    """Nobody waits for an answer any more; the next check is in *again*, None: never. What is over frees its state."""
    if status in (WayStatus.REFUSED, WayStatus.DELETED):
        values["open_state"] = None
    await change(
        conn,
        way_id,
        status=status.value,
        asked_at=None,
        updated_at=now,
        check_due_at=None if again is None else now + again,
        **values,
    )


async def get(
    conn: AsyncConnection, way_id: str, stores: Collection[str] | None, *, lock: bool = False
) -> Way | None:
    """One, where the caller may see its store; locked until the end of the transaction where *lock* is given."""
    query = sa.select(join_way).where(join_way.c.id == way_id)
    if stores is not None:
        query = query.where(join_way.c.store_id.in_(sorted(stores)))
    row = (await conn.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return None if row is None else _way(row)


async def page(
    conn: AsyncConnection,
    stores: Collection[str] | None,
    *,
    states: Sequence[str],
    statuses: Sequence[WayStatus],
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Way]:
    """Join ways, the newest first, those behind *before* (created_at, id); deleted and refused ones when asked for."""
    t = join_way
    query = sa.select(t).order_by(t.c.created_at.desc(), t.c.id.desc()).limit(limit)
    if stores is not None:
        query = query.where(t.c.store_id.in_(sorted(stores)))
    if states:
        query = query.where(t.c.state.in_(list(states)))
    shown = statuses or [one for one in WayStatus if one not in (WayStatus.DELETED, WayStatus.REFUSED)]
    query = query.where(t.c.status.in_([one.value for one in shown]))
    if before is not None:
        query = query.where(
            (t.c.created_at < before[0]) | ((t.c.created_at == before[0]) & (t.c.id < before[1]))
        )
    return [_way(row) for row in (await conn.execute(query)).mappings()]


async def due(conn: AsyncConnection, now: datetime, limit: int) -> list[Way]:
    """Those to be compared with the platform's now."""
    t = join_way
    query = sa.select(t).where(t.c.check_due_at <= now).order_by(t.c.check_due_at).limit(limit)
    return [_way(row) for row in (await conn.execute(query)).mappings()]


async def counts(conn: AsyncConnection) -> dict[str, int]:
    """How many there are, by status."""
    t = join_way
    found = await conn.execute(sa.select(t.c.status, sa.func.count()).group_by(t.c.status))
    return dict(found.tuples().all())


async def attribution(
    conn: AsyncConnection,
    store_id: str,
    state: str,
    start: datetime,
    end: datetime,
    stays: Sequence[timedelta],
    now: datetime,
) -> Attribution:
    """What became of those who joined a group of the store by *state* from *start* until before *end*."""
    j, g, target = group_join, customer_group, campaign_target
    mine = (
        (g.c.chat_id == j.c.chat_id)
        & (g.c.store_id == store_id)
        & (j.c.state == state)
        & (j.c.joined_at >= start)
        & (j.c.joined_at < end)
    )
    one = j.c.chat_id + "/" + j.c.member + "/" + sa.cast(j.c.joined_at, sa.Text)
    stays_query = sa.select(j.c.chat_id, j.c.member, j.c.joined_at, j.c.left_at).join(g, mine)
    rows = (await conn.execute(stays_query)).all()
    matured = [[row for row in rows if now - row.joined_at >= stay] for stay in stays]
    stayed = [
        sum(row.left_at is None or row.left_at - row.joined_at >= stay for row in ripe)
        for stay, ripe in zip(stays, matured, strict=True)
    ]
    there = (
        (target.c.chat_id == j.c.chat_id)
        & target.c.sent_at.is_not(None)
        & (target.c.sent_at >= j.c.joined_at)
        & (j.c.left_at.is_(None) | (target.c.sent_at < j.c.left_at))
    )
    seen = sa.select(sa.func.count(sa.distinct(one)), sa.func.count(sa.distinct(target.c.campaign_id)))
    reached, campaigns = (await conn.execute(seen.select_from(j).join(g, mine).join(target, there))).one()
    return Attribution(
        joined=len(rows),
        members=len({row.member for row in rows}),
        present=sum(row.left_at is None for row in rows),
        matured=tuple(map(len, matured)),
        stayed=tuple(stayed),
        groups=len({row.chat_id for row in rows}),
        reached=reached,
        campaigns=campaigns,
    )


def _way(row: Any) -> Way:
    return Way(
        row["id"],
        row["store_id"],
        WayStatus(row["status"]),
        row["config_id"] or "",
        domain.read(row["spec"]),
        row["qr_code"],
        tuple(Drift(**one) for one in row["drift"]),
        row["version"],
        row["errcode"],
        row["error"],
        row["created_by"],
        row["created_at"],
        row["updated_at"],
        row["checked_at"],
    )
