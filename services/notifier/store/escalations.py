"""Escalations as rows: opened, due, climbed, answered. A row moves only under its own lock.

Whoever answers locks the deliveries first and the escalation after them, as the recorder does, so that the two wait
for each other in one order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.climbing import Key, Opening
from services.notifier.domain.escalation import Action, Level, State
from services.notifier.domain.routing import Role, TargetKind
from services.notifier.store.tables import delivery, escalation, escalation_note, recipient
from shared.db.frozen import frozen
from shared.db.rows import dialect_of, insert_into, insert_rows, pack
from shared.db.types import DialectName
from shared.events.kinds import Event
from shared.ids import new_id
from shared.values import value_class


@value_class
class Escalated:
    """One escalation as stored."""

    id: str
    store_id: str
    event_id: str
    rule_id: str
    event_type: str
    opening: Opening
    state: State
    level: Level
    due_at: datetime
    opened_at: datetime
    climbed_at: datetime
    answered_at: datetime | None
    answered_by: str
    answered_via: str
    action: str
    traceparent: str | None


@value_class
class Note:
    """One thing that happened to an escalation."""

    kind: str
    """``climbed``, ``answered`` or ``exhausted``."""
    level: int
    at: datetime
    who: str = ""
    action: str = ""
    via: str = ""
    """``card``: by a press of a button; ``rpc``: by a caller."""
    counted: bool = True
    """Whether an answer had an effect."""
    comment: str = ""
    delivery_id: str = ""
    told: tuple[str, ...] = ()


@value_class
class Asked:
    """A delivery that somebody answers, under lock."""

    delivery_id: str
    store_id: str
    event_id: str
    rule_id: str
    channel: str
    created_at: datetime
    escalated: Escalated | None


@cache
def _insert(dialect: DialectName) -> Any:
    return frozen(dialect, insert_rows(dialect, escalation, "opened"))


def row_of(event: Event, opening: Opening, now: datetime) -> dict[str, object]:
    """The row of an escalation that *event* opens."""
    return {
        "id": new_id(),
        "store_id": event.store_id,
        "event_id": event.id,
        "rule_id": opening.rule_id,
        "rule_version": opening.rule_version,
        "event_type": event.type,
        "title": opening.title,
        "words": opening.words,
        "roles": [role.value for role in opening.roles],
        "after_seconds": int(opening.after.total_seconds()),
        "state": State.OPEN.value,
        "level": Level.ROLES.value,
        "due_at": now + opening.after,
        "opened_at": now,
        "climbed_at": now,
        "traceparent": event.traceparent,
    }


async def open_many(conn: AsyncConnection, opened: Sequence[Mapping[str, object]]) -> None:
    """Insert rows of ``row_of``; there is one for each event and rule."""
    if opened:
        await conn.execute(_insert(conn.dialect.name), {"opened": pack(opened)})


async def next_due(conn: AsyncConnection) -> datetime | None:
    """When the next open one is due."""
    query = sa.select(sa.func.min(escalation.c.due_at)).where(
        escalation.c.state == sa.literal_column("'open'")
    )
    found: datetime | None = (await conn.execute(query)).scalar()
    return found


async def take_due(conn: AsyncConnection, now: datetime, limit: int) -> list[Escalated]:
    """Open ones whose time is over, locked for this transaction; those that others hold are passed over."""
    query = (
        sa.select(escalation)
        .where(escalation.c.state == sa.literal_column("'open'"), escalation.c.due_at <= now)
        .order_by(escalation.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [escalated_of(row) for row in await conn.execute(query)]


async def climbed(conn: AsyncConnection, one: Escalated, level: Level, now: datetime) -> None:
    """It is at *level* now, which has its time from here on."""
    values = {"level": level.value, "climbed_at": now, "due_at": now + one.opening.after}
    await conn.execute(sa.update(escalation).where(escalation.c.id == one.id).values(values))


async def exhausted(conn: AsyncConnection, one: Escalated) -> None:
    """Nobody is left to tell."""
    await conn.execute(
        sa.update(escalation).where(escalation.c.id == one.id).values(state=State.EXHAUSTED.value)
    )


async def hurry(conn: AsyncConnection, one: Escalated, now: datetime) -> None:
    """Let it climb at once."""
    await conn.execute(sa.update(escalation).where(escalation.c.id == one.id).values(due_at=now))


async def answer(
    conn: AsyncConnection, asked: Asked, action: Action, who: str, via: str, now: datetime
) -> bool:
    """Settle it with an answer, unless an earlier one did; whether this one counts. All copies say so."""
    one = asked.escalated
    assert one is not None
    settled = await conn.execute(
        sa.update(escalation)
        .where(escalation.c.id == one.id, escalation.c.state != State.ACKNOWLEDGED.value)
        .values(
            state=State.ACKNOWLEDGED.value,
            answered_at=now,
            answered_by=who,
            answered_via=via,
            action=action.value,
        )
    )
    if not settled.rowcount:
        return False
    await conn.execute(
        sa.update(delivery)
        .where(*_copies(asked.event_id, asked.store_id, asked.rule_id))
        .values(acknowledged_at=now, acknowledged_by=who)
    )
    return True


async def note(conn: AsyncConnection, one: Escalated, happened: Note) -> None:
    """Remember what happened; the same by the same person once a level."""
    values = {
        "escalation_id": one.id,
        "kind": happened.kind,
        "level": happened.level,
        "who": happened.who,
        "action": happened.action,
        "at": happened.at,
        "via": happened.via,
        "counted": happened.counted,
        "comment": happened.comment,
        "delivery_id": happened.delivery_id,
        "told": list(happened.told),
    }
    insert = insert_into(dialect_of(conn), escalation_note)
    await conn.execute(insert.values(values).on_conflict_do_nothing())


async def hold(conn: AsyncConnection, delivery_id: str, stores: Collection[str] | None) -> Asked | None:
    """A delivery with its escalation, both locked against other answers; None where there is none in *stores*."""
    query = sa.select(
        delivery.c.store_id,
        delivery.c.event_id,
        delivery.c.rule_id,
        delivery.c.channel,
        delivery.c.created_at,
    ).where(delivery.c.id == delivery_id)
    if stores is not None:
        query = query.where(delivery.c.store_id.in_(sorted(stores)))
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return None
    copies = sa.select(delivery.c.id).where(*_copies(row.event_id, row.store_id, row.rule_id))
    await conn.execute(copies.order_by(delivery.c.id).with_for_update())
    found = await conn.execute(
        sa.select(escalation)
        .where(
            escalation.c.event_id == row.event_id,
            escalation.c.store_id == row.store_id,
            escalation.c.rule_id == row.rule_id,
        )
        .with_for_update()
    )
    mine = found.one_or_none()
    return Asked(delivery_id, **row._mapping, escalated=escalated_of(mine) if mine is not None else None)


async def pressed(conn: AsyncConnection, delivery_id: str, now: datetime) -> None:
    """Remember when a button of the delivery's card was first pressed."""
    first = (delivery.c.id == delivery_id, delivery.c.clicked_at.is_(None))
    await conn.execute(sa.update(delivery).where(*first).values(clicked_at=now))


async def was_sent_to(conn: AsyncConnection, delivery_id: str, userid: str) -> bool:
    """Whether the delivery is for that member: by name, or for a department, a tag or everybody.

    Nobody outside knows who is in a department; the platform shows a card only to those it was sent to.
    """
    query = sa.select(recipient.c.kind, recipient.c.target).where(recipient.c.delivery_id == delivery_id)
    return any(
        row.kind != TargetKind.USER or row.target.startswith("@") or row.target.lower() == userid.lower()
        for row in await conn.execute(query)
    )


async def told(conn: AsyncConnection, event_id: str, store_id: str) -> set[Key]:
    """Whom something was planned for because of an event, by whichever rule."""
    query = sa.select(recipient.c.channel, recipient.c.kind, recipient.c.target).where(
        recipient.c.event_id == event_id, recipient.c.store_id == store_id
    )
    return {
        (row.channel, row.kind, row.target.lower() if row.kind == TargetKind.USER else row.target)
        for row in await conn.execute(query)
    }


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* that were opened before *before* and are over; how many there were."""
    old = (
        sa.select(escalation.c.id)
        .where(escalation.c.opened_at < before, escalation.c.state != State.OPEN.value)
        .order_by(escalation.c.opened_at)
        .limit(limit)
    )
    ids = list((await conn.execute(old)).scalars())
    if ids:
        await conn.execute(sa.delete(escalation_note).where(escalation_note.c.escalation_id.in_(ids)))
        await conn.execute(sa.delete(escalation).where(escalation.c.id.in_(ids)))
    return len(ids)


def _copies(event_id: str, store_id: str, rule_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        delivery.c.event_id == event_id,
        delivery.c.store_id == store_id,
        delivery.c.rule_id == rule_id,
    )


def escalated_of(row: Any) -> Escalated:
    """The value of a row."""
    opening = Opening(
        row.rule_id,
        row.rule_version,
        row.title,
        row.words,
        tuple(Role(role) for role in row.roles),
        timedelta(seconds=row.after_seconds),
    )
    return Escalated(
        row.id,
        row.store_id,
        row.event_id,
        row.rule_id,
        row.event_type,
        opening,
        State(row.state),
        Level(row.level),
        row.due_at,
        row.opened_at,
        row.climbed_at,
        row.answered_at,
        row.answered_by or "",
        row.answered_via or "",
        row.action or "",
        row.traceparent,
    )
