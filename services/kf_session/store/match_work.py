"""What changed and has not been compared yet, and who it must be compared with.

The row is the queue, and the transaction that holds it is the lease: who dies loses both, and the next one goes on
where the last committed batch ended. Whoever changes an intent or a profile writes the row first, so that a worker in
the middle of it and the change wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.store.matching_tables import intent_anchor, match, match_work, profile_term
from shared.db.recalling import CLOCKS_DIFFER
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class

WAKEUP: Final = "matching"

PUT_OFF_MOST: Final = timedelta(minutes=10)
"""The longest that work which failed waits for its next try."""


class Kind(StrEnum):
    """What changed."""

    INTENT = "intent"
    PROFILE = "profile"


@value_class
class Work:
    """One thing to compare with its candidates."""

    store_id: str
    kind: Kind
    object_id: str
    cursor: str
    failures: int = 0


async def enqueue(
    conn: AsyncConnection, store_id: str, kind: Kind, ids: Collection[str], now: datetime
) -> None:
    """Compare each of *ids* anew, from the beginning."""
    for object_id in sorted(ids):
        key = {"store_id": store_id, "kind": kind.value, "object_id": object_id}
        fresh: dict[str, object] = {"cursor": "", "due_at": now, "failures": 0}
        insert = insert_into(dialect_of(conn), match_work).values(**key, **fresh)
        await conn.execute(insert.on_conflict_do_update(index_elements=list(key), set_=fresh))


async def take(conn: AsyncConnection, now: datetime) -> Work | None:
    """The work that has been due longest and that nobody else holds; ours until the transaction ends."""
    # Due later than any failure puts off is what was written by a clock that has gone back since.
    wrong = match_work.c.due_at > now + PUT_OFF_MOST + CLOCKS_DIFFER
    due = (
        sa.select(match_work)
        .where((match_work.c.due_at <= now) | wrong)
        .order_by(match_work.c.due_at, match_work.c.store_id, match_work.c.kind, match_work.c.object_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = (await conn.execute(due)).first()
    return (
        None if row is None else Work(row.store_id, Kind(row.kind), row.object_id, row.cursor, row.failures)
    )


async def take_one(conn: AsyncConnection, store_id: str, kind: Kind, object_id: str) -> Work | None:
    """This very work, waiting for who holds it; None where it is done."""
    work = Work(store_id, kind, object_id, "")
    row = (await conn.execute(sa.select(match_work).where(*_is(work)).with_for_update())).first()
    return None if row is None else Work(store_id, kind, object_id, row.cursor, row.failures)


async def go_on(conn: AsyncConnection, work: Work, cursor: str, now: datetime) -> None:
    """Its batch is done; the others that are due come before its next one."""
    values = {"cursor": cursor, "due_at": now, "failures": 0}
    await conn.execute(sa.update(match_work).where(*_is(work)).values(**values))


async def finish(conn: AsyncConnection, work: Work) -> None:
    """All its candidates are compared."""
    await conn.execute(sa.delete(match_work).where(*_is(work)))


async def put_off(conn: AsyncConnection, work: Work, until: datetime) -> None:
    """It failed: try again at *until*."""
    values = {"due_at": until, "failures": match_work.c.failures + 1}
    await conn.execute(sa.update(match_work).where(*_is(work)).values(**values))


async def waits(conn: AsyncConnection, store_id: str, kind: Kind, object_id: str) -> bool:
    """Whether something is still to be compared."""
    work = Work(store_id, kind, object_id, "")
    return (await conn.execute(sa.select(match_work.c.kind).where(*_is(work)))).first() is not None


def _is(work: Work) -> tuple[sa.ColumnElement[bool], ...]:
    c = match_work.c
    return c.store_id == work.store_id, c.kind == work.kind.value, c.object_id == work.object_id


async def profiles_for(
    conn: AsyncConnection, store_id: str, intent_id: str, after: str, limit: int
) -> list[str]:
    """The next profiles that may match an intent, or did, by id."""
    term, anchor = profile_term, intent_anchor
    by_index = (
        sa.select(term.c.profile_id)
        .join(anchor, (anchor.c.store_id == term.c.store_id) & (anchor.c.term == term.c.term))
        .where(anchor.c.store_id == store_id, anchor.c.intent_id == intent_id, term.c.profile_id > after)
    )
    before = sa.select(match.c.profile_id).where(
        match.c.store_id == store_id,
        match.c.intent_id == intent_id,
        match.c.profile_id > after,
        match.c.source == "own",
        match.c.withdrawn_at.is_(None),
    )
    both = sa.union(by_index, before).subquery()
    chosen = sa.select(both.c.profile_id).order_by(both.c.profile_id).limit(limit)
    return list((await conn.execute(chosen)).scalars())


async def intents_for(
    conn: AsyncConnection, store_id: str, profile_id: str, after: str, limit: int
) -> list[str]:
    """The next intents that a profile may match, or did, by id."""
    term, anchor = profile_term, intent_anchor
    by_index = (
        sa.select(anchor.c.intent_id)
        .join(term, (anchor.c.store_id == term.c.store_id) & (anchor.c.term == term.c.term))
        .where(term.c.store_id == store_id, term.c.profile_id == profile_id, anchor.c.intent_id > after)
    )
    before = sa.select(match.c.intent_id).where(
        match.c.store_id == store_id,
        match.c.profile_id == profile_id,
        match.c.intent_id > after,
        match.c.source == "own",
        match.c.withdrawn_at.is_(None),
    )
    both = sa.union(by_index, before).subquery()
    chosen = sa.select(both.c.intent_id).order_by(both.c.intent_id).limit(limit)
    return list((await conn.execute(chosen)).scalars())
