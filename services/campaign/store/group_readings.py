"""What a reading of a group leaves behind: its facts, its members, the ledgers of joins and departures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import SETTLES, Before, Joined, Reading
from services.campaign.store import groups
from services.campaign.store.group_tables import customer_group, group_day, group_join, group_members
from services.campaign.store.groups import Due
from shared.db.frozen import frozen
from shared.db.rows import Types, dialect_of, insert_into, insert_rows, pack, rows
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class
from shared.wecom.customer_groups import GroupDetail


@value_class
class Known:
    """A group before its reading, and how the sync that waits for it has it in its report."""

    before: Before
    counted_in: str
    seen_in: str


async def known(conn: AsyncConnection, chat_ids: Collection[str]) -> dict[str, Known]:
    """The groups as they are, with who was in them."""
    t, m = customer_group, group_members
    query = (
        sa.select(t, m.c.members)
        .join(m, m.c.chat_id == t.c.chat_id, isouter=True)
        .where(t.c.chat_id.in_(list(chat_ids)))
    )
    return {
        row.chat_id: Known(
            Before(
                row.store_id,
                row.owner,
                row.name,
                row.gone_reason,
                row.read_at is not None,
                bytes(row.members or b""),
                row.last_changed_at,
            ),
            row.counted_in,
            row.seen_in,
        )
        for row in await conn.execute(query)
    }


@value_class
class Written:
    """A group that was read, and what that comes to."""

    due: Due
    detail: GroupDetail
    reading: Reading
    store_id: str
    counted_in: str
    joins: tuple[Joined, ...]
    """Those present who came by a join way."""


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = customer_group
        facts: dict[str, Types] = {
            **dict.fromkeys(("store_id", "owner", "counted_in"), Id),
            "name": sa.Text(),
            **dict.fromkeys(("member_count", "customer_count", "early", "differs"), sa.Integer()),
            **dict.fromkeys(("created_at", "last_joined_at", "last_changed_at", "hinted_at"), Instant()),
        }
        new = rows(dialect, "new", chat_id=Id, **facts)
        now, later = sa.bindparam("now", type_=Instant()), sa.bindparam("later", type_=Instant())
        unhinted = (t.c.hinted_at == new.c.hinted_at) | (t.c.hinted_at.is_(None) & new.c.hinted_at.is_(None))
        values = {name: new.c[name] for name in facts if name not in ("early", "differs", "hinted_at")}
        self.write = frozen(
            dialect,
            sa.update(t)
            .where(t.c.chat_id == new.c.chat_id)
            .values(
                **values,
                gone_reason="",
                gone_at=sa.null(),
                read_at=now,
                read_due_at=sa.case((unhinted & (new.c.early == 0), sa.null()), else_=later),
                read_attempts=0,
                read_error="",
                read_errcode=sa.null(),
                sync_id="",
                updated_at=sa.case((new.c.differs == 1, now), else_=t.c.updated_at),
            ),
        )
        insert = insert_into(dialect, group_members).values(
            chat_id=sa.bindparam("chat"), members=sa.bindparam("packed")
        )
        self.members = insert.on_conflict_do_update(
            index_elements=["chat_id"], set_={"members": insert.excluded.members}
        )
        came = insert_rows(dialect, group_join, "came", ("chat_id", "member", "joined_at", "state"))
        self.came = frozen(dialect, came.on_conflict_do_nothing())


_statements = cache(_Statements)


async def write(conn: AsyncConnection, read: Sequence[Written], now: datetime, zone: ZoneInfo) -> None:
    """Write what was read, and that nothing is owed any more but where a hint came meanwhile, or just before."""
    if not read:
        return
    sql, later = _statements(dialect_of(conn)), now + SETTLES
    facts = [
        {
            "chat_id": one.due.chat_id,
            "store_id": one.store_id,
            "owner": one.detail.owner,
            "name": one.detail.name,
            "member_count": len(one.detail.members),
            "customer_count": sum(member.external for member in one.detail.members),
            "created_at": one.detail.created_at,
            "last_joined_at": one.reading.last_joined_at,
            "last_changed_at": one.reading.last_changed_at,
            "counted_in": one.counted_in,
            "hinted_at": one.due.hinted_at,
            "early": int(groups.is_early(one.due, now)),
            "differs": int(one.reading.differs),
        }
        for one in read
    ]
    await conn.execute(sql.write, {"new": pack(facts), "now": now, "later": later})
    packed = [{"chat": one.due.chat_id, "packed": one.reading.members} for one in read]
    await conn.execute(sql.members, packed)
    for one in read:
        await groups.note(conn, one.due.chat_id, one.reading.changes, now)
        await count_days(conn, one.due.chat_id, one.reading.joined, one.reading.left, now, zone)
    await _keep_joins(conn, read, now)


async def count_days(
    conn: AsyncConnection, chat_id: str, joined: Sequence[datetime], left: int, now: datetime, zone: ZoneInfo
) -> None:
    """Add joins to the days on which they were, departures to the day on which they were seen."""
    days: Counter[str] = Counter(at.astimezone(zone).date().isoformat() for at in joined)
    today = now.astimezone(zone).date().isoformat()
    for day in sorted({*days, *([today] if left else [])}):
        insert = insert_into(dialect_of(conn), group_day).values(
            chat_id=chat_id, day=day, joined=days[day], left=left if day == today else 0
        )
        added = {
            "joined": group_day.c.joined + insert.excluded.joined,
            "left": group_day.c.left + insert.excluded.left,
        }
        await conn.execute(insert.on_conflict_do_update(index_elements=["chat_id", "day"], set_=added))


async def _keep_joins(conn: AsyncConnection, read: Sequence[Written], now: datetime) -> None:
    """Write who came by a join way, and until when those stayed who are not there any more."""
    t = group_join
    chats = [one.due.chat_id for one in read]
    query = sa.select(t.c.chat_id, t.c.member, t.c.joined_at).where(
        t.c.chat_id.in_(chats), t.c.left_at.is_(None)
    )
    known = set((await conn.execute(query)).tuples().all())
    there = {(one.due.chat_id, join.member, join.joined_at): join for one in read for join in one.joins}
    for chat_id, member, joined_at in sorted(known - there.keys()):
        mine = sa.and_(t.c.chat_id == chat_id, t.c.member == member, t.c.joined_at == joined_at)
        await conn.execute(sa.update(t).where(mine).values(left_at=now))
    came = [
        {"chat_id": key[0], "member": join.member, "joined_at": join.joined_at, "state": join.state}
        for key, join in there.items()
        if key not in known
    ]
    if came:
        await conn.execute(_statements(dialect_of(conn)).came, {"came": pack(came)})


async def leave_all(conn: AsyncConnection, chat_id: str, now: datetime) -> None:
    """A dismissed group holds nobody."""
    t = group_join
    await conn.execute(sa.update(t).where(t.c.chat_id == chat_id, t.c.left_at.is_(None)).values(left_at=now))
    await conn.execute(sa.delete(group_members).where(group_members.c.chat_id == chat_id))


async def purge_days(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* days that ended before *before*; how many there were."""
    t = group_day
    old = sa.select(t.c.chat_id, t.c.day).where(t.c.day < before.date().isoformat()).limit(limit)
    both = sa.tuple_(t.c.chat_id, t.c.day)
    return (await conn.execute(sa.delete(t).where(both.in_(old)))).rowcount


async def purge_joins(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* who left before *before*; how many there were."""
    t = group_join
    old = sa.select(t.c.chat_id, t.c.member, t.c.joined_at).where(t.c.left_at < before).limit(limit)
    key = sa.tuple_(t.c.chat_id, t.c.member, t.c.joined_at)
    return (await conn.execute(sa.delete(t).where(key.in_(old)))).rowcount
