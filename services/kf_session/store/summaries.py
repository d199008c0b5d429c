"""The rows of the daily summary: what is due, what a day's became, and what waits to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.daily import Outcome
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.push import Item, Purpose
from services.kf_session.store import matches
from services.kf_session.store.learning_tables import summary_day, summary_schedule
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.outgoing import Claimed, claimed
from services.kf_session.store.tables import push, push_attempt, push_item, session
from shared.db.queue import DEFERRED, PENDING
from shared.db.rows import insert_into
from shared.db.types import DialectName

SUPPRESSED = "suppressed"
"""The end of a push that is not sent on purpose."""

MERGED = "merged"
"""The reason of one whose items another one carries."""


async def schedule(conn: AsyncConnection, dialect: DialectName, key: SessionKey, at: datetime) -> None:
    """Have a summary be due at *at*, unless one is scheduled already."""
    new = insert_into(dialect, summary_schedule).values(
        open_kfid=key.open_kfid, external_userid=key.external_userid, next_at=at
    )
    await conn.execute(new.on_conflict_do_nothing())


async def reschedule(conn: AsyncConnection, store_id: str, customer: str, now: datetime) -> None:
    """Have when a customer's summaries are due be found anew, as their zone or time has changed; of nobody, the store's.

    What is due already stays so: it would be lost, since what was due before it is scheduled is not made.
    """
    mine = sa.select(session.c.open_kfid, session.c.external_userid).where(session.c.store_id == store_id)
    if customer:
        mine = mine.where(session.c.external_userid == customer)
    t = summary_schedule.c
    await conn.execute(
        sa.update(summary_schedule)
        .where(t.next_at > now, sa.tuple_(t.open_kfid, t.external_userid).in_(mine))
        .values(next_at=now)
    )


async def move_on(conn: AsyncConnection, key: SessionKey, at: datetime) -> None:
    """The next one is due at *at*."""
    await conn.execute(sa.update(summary_schedule).where(*_is(summary_schedule, key)).values(next_at=at))


async def unschedule(conn: AsyncConnection, key: SessionKey) -> None:
    """None is due until the customer writes again."""
    await conn.execute(sa.delete(summary_schedule).where(*_is(summary_schedule, key)))


async def due(conn: AsyncConnection, now: datetime, limit: int) -> list[SessionKey]:
    """Sessions whose summary is due, the longest waiting first; nothing is locked."""
    found = await conn.execute(
        sa.select(summary_schedule.c.open_kfid, summary_schedule.c.external_userid)
        .where(summary_schedule.c.next_at <= now)
        .order_by(summary_schedule.c.next_at)
        .limit(limit)
    )
    return [SessionKey(*row) for row in found.all()]


async def next_at(conn: AsyncConnection, key: SessionKey) -> datetime | None:
    """When the session's next is due; to be asked under its lock."""
    found: datetime | None = await conn.scalar(
        sa.select(summary_schedule.c.next_at).where(*_is(summary_schedule, key))
    )
    return found


async def decide(
    conn: AsyncConnection, dialect: DialectName, key: SessionKey, day: date, due_at: datetime, now: datetime
) -> bool:
    """Take a day's summary upon oneself; False where somebody has."""
    new = insert_into(dialect, summary_day).values(
        open_kfid=key.open_kfid,
        external_userid=key.external_userid,
        day=day.isoformat(),
        outcome=Outcome.NOTHING_PENDING.value,
        due_at=due_at,
        decided_at=now,
    )
    taken = await conn.scalar(new.on_conflict_do_nothing().returning(summary_day.c.day))
    return taken is not None


async def record(
    conn: AsyncConnection, key: SessionKey, day: date, outcome: Outcome, push_id: str | None
) -> None:
    """What became of a day's summary that ``decide`` took."""
    await conn.execute(
        sa.update(summary_day)
        .where(*_is(summary_day, key), summary_day.c.day == day.isoformat())
        .values(outcome=outcome.value, push_id=push_id)
    )


async def waiting(conn: AsyncConnection, key: SessionKey, now: datetime) -> tuple[list[str], list[Item]]:
    """Pushes about matches that have not gone, and what they list, the best first; locked against being sent.

    One that may have arrived is to be repeated with its own msgid or not at all: it keeps its credit, and goes on alone.
    """
    unclear = (
        sa.select(push_attempt.c.push_id)
        .where(push_attempt.c.push_id == push.c.id, push_attempt.c.state == PushStatus.UNKNOWN.value)
        .exists()
    )
    held = (
        sa.select(push.c.id)
        .where(
            *_is(push, key),
            push.c.purpose == Purpose.MATCH.value,
            push.c.status.in_((PENDING, DEFERRED)),
            push.c.expires_at > now,
            ~unclear,
        )
        .order_by(push.c.id)
        # One that a replica is about to send is locked by it: that one goes by itself.
        .with_for_update(skip_locked=True)
    )
    waits = list((await conn.execute(held)).scalars())
    void = await matches.void(conn, waits)
    ids = [one for one in waits if one not in void]
    found = await conn.execute(sa.select(push_item).where(push_item.c.push_id.in_(ids)))
    items = [Item(row.item_id, row.line, row.details, row.score) for row in found.all()]
    return ids, items


async def merge(conn: AsyncConnection, ids: Sequence[str], into: str, now: datetime) -> list[Claimed]:
    """End pushes whose items *into* carries; those."""
    ended = await conn.execute(
        sa.update(push)
        .where(push.c.id.in_(ids))
        .values(status=SUPPRESSED, merged_into=into, reason=MERGED, hold_reason=None, updated_at=now)
        .returning(push)
    )
    return [claimed(row) for row in ended.mappings()]


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget days decided before *before*; how many there were."""
    keys = (summary_day.c.open_kfid, summary_day.c.external_userid, summary_day.c.day)
    old = sa.select(*keys).where(summary_day.c.decided_at < before).limit(limit)
    return (await conn.execute(sa.delete(summary_day).where(sa.tuple_(*keys).in_(old)))).rowcount


def _is(table: sa.Table, key: SessionKey) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.open_kfid == key.open_kfid, table.c.external_userid == key.external_userid
