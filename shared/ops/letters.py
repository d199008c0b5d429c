"""Messages that cannot be handled become dead letters, and dead letters messages again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus import Incoming
from shared.clock import Clock
from shared.db import dead
from shared.db.dead import DeadLetter
from shared.db.engine import Database
from shared.db.tables import dead_letter
from shared.events.canonical import Unreadable
from shared.events.envelope import read_event
from shared.events.kinds import Event
from shared.ids import new_id
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

_log = structlog.get_logger("reach.dead")


def letter(
    incoming: Incoming,
    reason: str,
    detail: str,
    now: datetime,
    *,
    event_id: str | None = None,
    event_type: str | None = None,
    store_id: str | None = None,
) -> DeadLetter:
    """*incoming* as a dead letter."""
    return DeadLetter(
        id=new_id(),
        reason=reason,
        detail=detail[:2000],
        body=incoming.body,
        content_type=incoming.content_type,
        headers=_with_properties(incoming),
        door=incoming.door,
        routing_key=incoming.routing_key,
        received_at=now,
        parked_at=now,
        event_id=event_id or incoming.message_id,
        event_type=event_type or incoming.routing_key or None,
        store_id=store_id,
    )


def unreadable(incoming: Incoming, error: Unreadable, now: datetime) -> DeadLetter:
    """A message that could not be read."""
    return letter(
        incoming,
        error.dead_reason,
        error.message,
        now,
        event_id=error.event_id,
        event_type=error.event_type,
        store_id=error.store_id,
    )


def conflicting(incoming: Incoming, event: Event, now: datetime) -> DeadLetter:
    """An event whose id is known with other content; the first one stands."""
    return letter(
        incoming,
        "conflict",
        f"event {event.id} of store {event.store_id} is known with other content; the first one stands",
        now,
        event_id=event.id,
        event_type=event.type,
        store_id=event.store_id,
    )


async def park(
    database: Database,
    service: str,
    clock: Clock,
    numbers: Metrics,
    incoming: Incoming,
    reason: str,
    detail: str,
) -> None:
    """Keep *incoming*; returns when that is committed."""
    now = clock.now()
    event_id, event_type, store_id = _identity(incoming, now)
    kept = letter(incoming, reason, detail, now, event_id=event_id, event_type=event_type, store_id=store_id)
    async with database.write() as conn:
        await dead.park(conn, [kept])
    note_parked(kept, service, numbers)


def _identity(incoming: Incoming, now: datetime) -> tuple[str | None, str | None, str | None]:
    """Id, type and store as far as they can be read: by these the letter is found, and shown to its store."""
    try:
        event = read_event(incoming, default_store=None, now=now)
    except Unreadable as error:
        return error.event_id, error.event_type, error.store_id
    except Exception:  # a fault in reading may be why it is parked, and parking must not fail
        _log.exception("dead letter without identity", body_bytes=len(incoming.body))
        return None, None, None
    return event.id, event.type, event.store_id


def note_parked(kept: DeadLetter, service: str, numbers: Metrics) -> None:
    """Count a dead letter and say so once; the reason and the ids, not the content."""
    numbers.add(metrics.EVENTS_PARKED, service=service, reason=kept.reason)
    _log.warning(
        "parked",
        dead_letter_id=kept.id,
        reason=kept.reason,
        detail=kept.detail,
        event_type=kept.event_type,
        store_id=kept.store_id,
        body_bytes=len(kept.body),
        door=kept.door,
    )


async def of_event(conn: AsyncConnection, event_id: str, stores: Collection[str] | None) -> list[DeadLetter]:
    """The dead letters that name *event_id*, oldest first, at most 20."""
    query = (
        sa.select(dead_letter.c.id)
        .where(sa.or_(dead_letter.c.event_id == event_id, dead_letter.c.id == event_id))
        .order_by(dead_letter.c.id)
        .limit(20)
    )
    if stores is not None:
        query = query.where(dead_letter.c.store_id.in_(sorted(stores)))
    found = [await dead.get(conn, key) for key in (await conn.execute(query)).scalars()]
    return [one for one in found if one is not None]


def as_message(kept: DeadLetter) -> Incoming:
    """The message a dead letter was made from, as it came.

    One without a time stamp gets the minute it came in: if it has no id either, one is derived from that, and however
    often the letter is replayed, or a copy of it, it is the same event.
    """
    headers = dict(kept.headers)
    message_id = headers.pop(_MESSAGE_ID, None)
    timestamp = headers.pop(_TIMESTAMP, None)
    came_at = kept.received_at.replace(second=0, microsecond=0)
    return Incoming(
        body=kept.body,
        content_type=kept.content_type,
        routing_key=kept.routing_key,
        message_id=str(message_id) if message_id is not None else None,
        timestamp=datetime.fromisoformat(str(timestamp)) if timestamp is not None else came_at,
        headers=headers,
        door=kept.door,
    )


_MESSAGE_ID, _TIMESTAMP = "reach:message_id", "reach:timestamp"


def _with_properties(incoming: Incoming) -> dict[str, object]:
    """Headers plus the two properties that decide on an event's identity, so that a replay has the same."""
    headers = {key: value for key, value in incoming.headers.items() if not key.startswith("x-")}
    if incoming.message_id is not None:
        headers[_MESSAGE_ID] = incoming.message_id
    if incoming.timestamp is not None:
        headers[_TIMESTAMP] = incoming.timestamp.isoformat()
    return headers
