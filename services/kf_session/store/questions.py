"""What a model is to be asked about matches: one row for each match and kind, and the row is the queue.

It names what is asked about and holds nothing of it: that is read when it is asked.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.asking import Kind
from services.kf_session.store import matches
from services.kf_session.store.matching_tables import ASKING, question
from shared.db.queue import DEFERRED, HIGH, NORMAL, PENDING, DueQueue, Settlement
from shared.db.recalling import recall
from shared.db.rows import dialect_of, insert_into
from shared.db.types import DialectName
from shared.ids import new_id
from shared.values import value_class

WAKEUP: Final = "questions"
"""Given when something is to be asked."""

DONE: Final = "done"
"""The state of a question that is not asked any more; `outcome` says what came of it."""

_OPEN: Final = (PENDING, DEFERRED, ASKING)
_RANKS: Final = {Kind.TEXT: HIGH, Kind.SCORE: NORMAL}
"""A push waits for its words, and nothing for a score."""


@value_class
class Held:
    """A question under our lease."""

    id: str
    epoch: int
    match_id: str
    kind: Kind
    fingerprint: str
    push_id: str | None
    tries: int
    """Those that were made before."""
    asked_at: datetime


@value_class
class Kept:
    """A question as it stands."""

    kind: Kind
    outcome: str
    """Empty: it is still to be answered."""
    updated_at: datetime


@cache
def queue(dialect: DialectName) -> DueQueue:
    """Questions that are to be asked."""
    return DueQueue(dialect, question, running=ASKING, settle_columns=("outcome", "updated_at"))


async def ask(
    conn: AsyncConnection,
    match_id: str,
    kind: Kind,
    fingerprint: str,
    now: datetime,
    *,
    push_id: str | None = None,
) -> bool:
    """Have it be asked, unless the same was already; whether it is now. The caller holds the match.

    Who asks what was to be asked before finds the epoch raised, and its answer counts for nothing.
    """
    dialect = dialect_of(conn)
    row = {
        "id": new_id(),
        "match_id": match_id,
        "kind": kind.value,
        "fingerprint": fingerprint,
        "push_id": push_id,
        "outcome": "",
        "created_at": now,
        "updated_at": now,
        **queue(dialect).ready(_RANKS[kind], now),
    }
    new = insert_into(dialect, question).values(row)
    names = ("fingerprint", "push_id", "outcome", "created_at", "updated_at", "status", "due_at", "rank")
    anew: dict[str, Any] = {name: new.excluded[name] for name in names}
    anew |= {"lease_epoch": question.c.lease_epoch + 1, "lease_until": None, "attempt_no": 0}
    written = await conn.scalar(
        new.on_conflict_do_update(
            index_elements=["match_id", "kind"],
            set_=anew,
            where=question.c.fingerprint != new.excluded.fingerprint,
        ).returning(question.c.id)
    )
    if written is not None and kind is Kind.SCORE:
        await matches.judged(conn, match_id, None, "")
    return written is not None


async def drop(conn: AsyncConnection, match_id: str, kind: Kind) -> None:
    """Nobody wants to know any more. The caller holds the match."""
    gone = await conn.execute(
        sa.delete(question).where(question.c.match_id == match_id, question.c.kind == kind.value)
    )
    if gone.rowcount and kind is Kind.SCORE:
        await matches.judged(conn, match_id, None, "")


async def claim(conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int) -> list[Held]:
    """At most *limit* that are due, first those whose holder is gone."""
    line = queue(dialect_of(conn))
    await line.promote(conn, now)
    taken = list(await line.expired(conn, owner, now, lease, limit))
    if len(taken) < limit:
        taken += await line.claim(conn, owner, now, lease, limit - len(taken))
    return [_held(row) for row in taken]


async def finish(conn: AsyncConnection, held: Held, outcome: str, now: datetime) -> bool:
    """It is over. False: the lease is lost."""
    extra = {"outcome": outcome, "updated_at": now}
    end = Settlement(held.id, held.epoch, DONE, held.tries + 1, extra=extra)
    return bool(await queue(dialect_of(conn)).settle(conn, [end]))


async def put_off(conn: AsyncConnection, held: Held, why: str, until: datetime, now: datetime) -> bool:
    """It is asked once more at *until*. False: the lease is lost."""
    extra = {"outcome": "", "updated_at": now}
    later = Settlement(held.id, held.epoch, DEFERRED, held.tries + 1, until, why, extra)
    return bool(await queue(dialect_of(conn)).settle(conn, [later]))


async def bring_back(conn: AsyncConnection, now: datetime, lease: timedelta) -> None:
    """Make due what a clock that has gone back since would keep waiting."""
    await recall(conn, question, ASKING, now, lease)


async def awaited(conn: AsyncConnection, push_ids: Collection[str]) -> frozenset[str]:
    """Those of the pushes whose words are still to come."""
    found = sa.select(question.c.push_id).where(
        question.c.push_id.in_(push_ids), question.c.kind == Kind.TEXT.value, question.c.status.in_(_OPEN)
    )
    return frozenset(await conn.scalars(found))


async def of_match(conn: AsyncConnection, match_id: str) -> list[Kept]:
    """What was asked about a match."""
    found = sa.select(question.c.kind, question.c.outcome, question.c.updated_at).where(
        question.c.match_id == match_id
    )
    return [Kept(Kind(row.kind), row.outcome, row.updated_at) for row in await conn.execute(found)]


def _held(row: Any) -> Held:
    return Held(
        row["id"],
        row["lease_epoch"],
        row["match_id"],
        Kind(row["kind"]),
        row["fingerprint"],
        row["push_id"],
        row["attempt_no"],
        row["created_at"],
    )
