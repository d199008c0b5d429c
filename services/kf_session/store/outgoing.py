"""The rows of what is to go out: pushes, their attempts, items and notes, and what their customers prefer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.eligibility import Verdict, Word
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.push import Item, Purpose
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import (
    SENDING,
    credit,
    event_code,
    preference,
    push,
    push_attempt,
    push_item,
    push_note,
)
from shared.db.queue import DueQueue
from shared.db.types import DialectName
from shared.values import value_class

SETTLED: Final = ("retries", "refreshes", "reason", "merged_into", "accepted_at", "updated_at")
"""Columns of its own that a settled push brings."""

STARTED: Final = "started"
"""The state of an attempt whose answer is still out."""


def queue(dialect: DialectName) -> DueQueue:
    """The pushes as a queue."""
    return DueQueue(dialect, push, running=SENDING, settle_columns=SETTLED)


@value_class
class Claimed:
    """A push in hand."""

    id: str
    epoch: int
    lease_until: datetime
    key: SessionKey
    store_id: str
    purpose: Purpose
    msgid: str
    content: Mapping[str, object] = field(repr=False)
    score: float | None
    code_id: str | None
    expires_at: datetime
    attempts: int
    """Those that were made before."""
    retries: int
    refreshes: int
    created_at: datetime
    traceparent: str | None


def claimed(row: Any) -> Claimed:
    """A claimed row in words."""
    return Claimed(
        row["id"],
        row["lease_epoch"],
        row["lease_until"],
        SessionKey(row["open_kfid"], row["external_userid"]),
        row["store_id"],
        Purpose(row["purpose"]),
        row["msgid"],
        row["content"],
        row["score"],
        row["code_id"],
        row["expires_at"],
        row["attempt_no"],
        row["retries"],
        row["refreshes"],
        row["created_at"],
        row["traceparent"],
    )


@value_class
class Code:
    """A one-shot code."""

    code: str = field(repr=False)
    expires_at: datetime


@value_class
class Wishes:
    """What a customer and their store said; the store first."""

    said: tuple[Mapping[str, object], ...] = ()
    unsubscribed_at: datetime | None = None


@value_class
class Past:
    """What was noted and tried before of pushes in hand."""

    unclear: frozenset[str]
    """Pushes of which a try's outcome is unknown."""
    last: Mapping[str, tuple[int, str, str]]
    """By push: the last note's number, gate and reason."""
    holds: frozenset[tuple[str, str]]
    """(push, reason) that were ever noted."""


async def still_held(conn: AsyncConnection, pushes: Sequence[Claimed]) -> list[Claimed]:
    """Those that are still the caller's, with the words that they have now; nobody else changes their rows until the
    transaction ends."""
    ids = sorted(one.id for one in pushes)
    query = (
        sa.select(push.c.id, push.c.lease_epoch, push.c.content)
        .where(push.c.id.in_(ids), push.c.status == SENDING)
        .order_by(push.c.id)
        .with_for_update()
    )
    held = {(row.id, row.lease_epoch): row.content for row in await conn.execute(query)}
    return [replace(one, content=held[one.id, one.epoch]) for one in pushes if (one.id, one.epoch) in held]


async def past(conn: AsyncConnection, ids: Collection[str]) -> Past:
    """What the gates must know of earlier turns."""
    unclear = await conn.scalars(
        sa.select(push_attempt.c.push_id).where(
            push_attempt.c.push_id.in_(ids), push_attempt.c.state == PushStatus.UNKNOWN.value
        )
    )
    notes = await conn.execute(
        sa.select(push_note.c.push_id, push_note.c.seq, push_note.c.gate, push_note.c.reason)
        .where(push_note.c.push_id.in_(ids))
        .order_by(push_note.c.push_id, push_note.c.seq)
    )
    last: dict[str, tuple[int, str, str]] = {}
    holds: set[tuple[str, str]] = set()
    for row in notes:
        last[row.push_id] = (row.seq, row.gate, row.reason)
        holds.add((row.push_id, row.reason))
    return Past(frozenset(unclear), last, frozenset(holds))


async def codes(conn: AsyncConnection, ids: Collection[str]) -> dict[str, Code]:
    """One-shot codes by their ids."""
    if not ids:
        return {}
    found = await conn.execute(sa.select(event_code).where(event_code.c.id.in_(ids)))
    return {row.id: Code(row.code, row.expires_at) for row in found}


async def wishes(conn: AsyncConnection, store_id: str, external_userid: str) -> Wishes:
    """What the store and the customer said."""
    found = await conn.execute(
        sa.select(preference)
        .where(preference.c.store_id == store_id, preference.c.external_userid.in_(("", external_userid)))
        .order_by(preference.c.external_userid)
    )
    rows = found.all()
    own = next((row.unsubscribed_at for row in rows if row.external_userid), None)
    return Wishes(tuple(row.spec for row in rows), own)


async def credited(conn: AsyncConnection, key: SessionKey, window_no: int) -> frozenset[str]:
    """The pushes that hold a credit of the window."""
    t = credit.c
    same = (t.open_kfid == key.open_kfid, t.external_userid == key.external_userid, t.window_no == window_no)
    return frozenset(await conn.scalars(sa.select(t.push_id).where(*same)))


async def today(conn: AsyncConnection, key: SessionKey, since: datetime) -> int:
    """How many pushes that nobody asked for have gone to the customer, or may have, since *since*."""
    t = push.c
    unasked = [one.value for one in Purpose if not one.asked_for]
    tried = sa.exists().where(
        push_attempt.c.push_id == t.id,
        push_attempt.c.started_at >= since,
        push_attempt.c.state.in_((STARTED, PushStatus.UNKNOWN.value)),
    )
    query = (
        sa.select(sa.func.count())
        .select_from(push)
        .where(
            t.open_kfid == key.open_kfid,
            t.external_userid == key.external_userid,
            t.purpose.in_(unasked),
            t.updated_at >= since,
            sa.or_(t.accepted_at >= since, tried),
        )
    )
    return int(await conn.scalar(query) or 0)


async def note(
    conn: AsyncConnection, push_id: str, verdict: Verdict, known: Past | None, now: datetime
) -> None:
    """Write down what a gate said, unless it was the last thing said."""
    last = known.last.get(push_id) if known is not None else None
    if last is not None and last[1:] == (verdict.gate.value, verdict.reason):
        return
    await write_note(
        conn,
        push_id,
        now,
        gate=verdict.gate.value,
        verdict=verdict.word.value,
        reason=verdict.reason,
        facts=verdict.facts,
        until=verdict.until if verdict.word is Word.HOLD else None,
    )


async def write_note(
    conn: AsyncConnection,
    push_id: str,
    now: datetime,
    *,
    gate: str,
    verdict: str,
    reason: str,
    facts: Mapping[str, object],
    until: datetime | None = None,
) -> None:
    """Add a note; the caller holds the push."""
    most = sa.select(sa.func.coalesce(sa.func.max(push_note.c.seq), 0)).where(push_note.c.push_id == push_id)
    await conn.execute(
        sa.insert(push_note).values(
            push_id=push_id,
            seq=int(await conn.scalar(most) or 0) + 1,
            at=now,
            gate=gate,
            verdict=verdict,
            reason=reason,
            facts=dict(facts),
            until=until,
        )
    )


async def start_attempt(conn: AsyncConnection, one: Claimed, owner: str, now: datetime) -> None:
    """Write the attempt before its request leaves."""
    await conn.execute(
        sa.insert(push_attempt).values(
            push_id=one.id,
            attempt_no=one.attempts + 1,
            epoch=one.epoch,
            state=STARTED,
            http_status=0,
            detail="",
            owner=owner,
            started_at=now,
        )
    )


async def finish_attempt(
    conn: AsyncConnection,
    one: Claimed,
    *,
    state: str,
    http_status: int,
    errcode: int | None,
    detail: str,
    now: datetime,
) -> None:
    """Write how the attempt ended; one that was called unknown meanwhile stays so."""
    await conn.execute(
        sa.update(push_attempt)
        .where(
            push_attempt.c.push_id == one.id,
            push_attempt.c.attempt_no == one.attempts + 1,
            push_attempt.c.state == STARTED,
        )
        .values(state=state, http_status=http_status, errcode=errcode, detail=detail, finished_at=now)
    )


async def under_way(conn: AsyncConnection, ids: Collection[str]) -> frozenset[str]:
    """The pushes of *ids* with an attempt whose answer is still out."""
    query = sa.select(push_attempt.c.push_id).where(
        push_attempt.c.push_id.in_(ids), push_attempt.c.state == STARTED
    )
    return frozenset(await conn.scalars(query))


async def items(conn: AsyncConnection, push_id: str) -> list[Item]:
    """What a push lists, in the order in which the customer sees it."""
    found = await conn.execute(
        sa.select(push_item).where(push_item.c.push_id == push_id).order_by(push_item.c.position)
    )
    return [Item(row.item_id, row.line, row.details, row.score) for row in found]


async def replace_items(
    conn: AsyncConnection, push_id: str, ids: Sequence[str], listed: Sequence[Item]
) -> None:
    """Have *push_id* list *listed*, and none of *ids* anything else."""
    await conn.execute(sa.delete(push_item).where(push_item.c.push_id.in_(ids)))
    for position, item in enumerate(listed, 1):
        await conn.execute(
            sa.insert(push_item).values(
                push_id=push_id,
                position=position,
                item_id=item.item_id,
                line=item.line,
                details=item.details,
                score=item.score,
            )
        )


async def look_again(conn: AsyncConnection, store_id: str, external_userid: str, now: datetime) -> None:
    """Have what the gates hold back from a customer come before them at once; the caller has locked the sessions.

    What waits to be tried again, or for a rate (``retry:…``, ``rate:…``), does not come earlier for that.
    """
    t = push.c
    await conn.execute(
        sa.update(push)
        .where(
            t.store_id == store_id,
            t.external_userid == external_userid,
            t.status == PushStatus.DEFERRED.value,
            ~t.hold_reason.contains(":"),
        )
        .values(status=PushStatus.PENDING.value, hold_reason=None, due_at=now, updated_at=now)
    )


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* ended pushes admitted before *before*, with all that is told of them; how many there were."""
    open_ones = [one.value for one in PushStatus if one.open]
    old = (
        sa.select(push.c.id)
        .where(push.c.created_at < before, push.c.status.not_in(open_ones))
        .order_by(push.c.created_at)
        .limit(limit)
    )
    ids = list(await conn.scalars(old))
    for table in (push_attempt, push_item, push_note):
        await conn.execute(sa.delete(table).where(table.c.push_id.in_(ids)))
    await conn.execute(sa.delete(push).where(push.c.id.in_(ids)))
    return len(ids)
