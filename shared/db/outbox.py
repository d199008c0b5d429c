"""What must be announced: events written in the transaction that made them true, published by the relay.

Selected by state, never by "greater than the last id": ids commit out of order. A claimed row is due
again when its claim runs out, so a relay that dies needs nobody to tidy up after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    Update,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from shared.db.frozen import frozen
from shared.db.payload import decode_body, encode_body
from shared.db.rows import insert_rows, pack, rows
from shared.db.tables import outbox
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class

WAKEUP = "outbox"
"""Name of the wake-up to give in the transaction that adds events."""

CLAIM_LIMIT = 100
_PENDING: ColumnElement[str] = literal_column("'pending'")
_PUBLISHED: ColumnElement[str] = literal_column("'published'")
_NEW = ("id", "type", "store_id", "headers", "body", "body_encoding", "content_type", "next_at", "created_at")
_ERROR_LENGTH = 500


@value_class
class NewEvent:
    """An event to announce."""

    id: str
    type: str
    store_id: str
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    created_at: datetime


@value_class
class Claimed:
    """An event to publish now, under a claim."""

    id: str
    epoch: int
    type: str
    store_id: str
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    attempts: int
    """How often publishing has failed before."""
    created_at: datetime


@value_class
class Failure:
    """A publish that was refused or never confirmed."""

    id: str
    epoch: int
    error: str
    next_at: datetime
    """When to try again."""


@value_class
class Backlog:
    """What waits to be published."""

    pending: int
    oldest_created_at: datetime | None


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = outbox
        insert = insert_rows(dialect, t, "events", _NEW).on_conflict_do_nothing()
        self.add = frozen(dialect, insert.returning(t.c.id))
        self.claim = frozen(dialect, self._claim(dialect))
        self.published = frozen(dialect, self._published(dialect))
        self.failed = frozen(dialect, self._failed(dialect))

    @staticmethod
    def _published(dialect: DialectName) -> Update:
        t = outbox
        done = rows(dialect, "done", id=Id)
        return (
            update(t)
            .where(t.c.id == done.c.id, t.c.state == _PENDING)
            .values(
                state=_PUBLISHED,
                published_at=bindparam("now", type_=Instant()),
                last_error=None,
                claim_owner=None,
            )
        )

    @staticmethod
    def _failed(dialect: DialectName) -> Update:
        t = outbox
        failed = rows(dialect, "failed", id=Id, epoch=BigInteger(), error=Text(), next_at=Instant())
        return (
            update(t)
            .where(t.c.id == failed.c.id, t.c.claim_epoch == failed.c.epoch, t.c.state == _PENDING)
            .values(
                attempts=t.c.attempts + 1,
                last_error=failed.c.error,
                next_at=failed.c.next_at,
                claim_owner=None,
            )
        )

    @staticmethod
    def _claim(dialect: DialectName) -> Any:
        t = outbox
        due = (
            select(t.c.id)
            .where(t.c.state == _PENDING, t.c.next_at <= bindparam("now", type_=Instant()))
            .order_by(t.c.next_at, t.c.id)
            .limit(bindparam("size", type_=Integer()))
        )
        if dialect == "sqlite":
            chosen = update(t).where(t.c.id.in_(due))
        else:
            picked = due.with_for_update(skip_locked=True).cte("picked").prefix_with("MATERIALIZED")
            chosen = update(t).where(t.c.id == picked.c.id)
        return chosen.values(
            claim_owner=bindparam("owner", type_=String()),
            claim_epoch=t.c.claim_epoch + 1,
            next_at=bindparam("until", type_=Instant()),
        ).returning(*t.c)


_statements = cache(_Statements)
_OLD = (
    select(outbox.c.id)
    .where(outbox.c.state == _PUBLISHED, outbox.c.published_at < bindparam("before", type_=Instant()))
    .order_by(outbox.c.published_at)
    .limit(bindparam("size", type_=Integer()))
)
_PURGE = delete(outbox).where(outbox.c.id.in_(_OLD))
_BACKLOG = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.state == _PENDING)
_NEXT = select(func.min(outbox.c.next_at)).where(outbox.c.state == _PENDING)


def _sql(connection: AsyncConnection) -> _Statements:
    return _statements(connection.dialect.name)


async def add(connection: AsyncConnection, events: Sequence[NewEvent]) -> set[str]:
    """Write the events in the caller's transaction; the ids that were new (an id counts once).

    The caller wakes the relay: ``database.wakeups.notify(connection, outbox.WAKEUP)``.
    """
    if not events:
        return set()
    document = pack([_columns(event) for event in sorted(events, key=lambda event: event.id)])
    return set((await connection.execute(_sql(connection).add, {"events": document})).scalars())


def _columns(event: NewEvent) -> dict[str, object]:
    body, encoding = encode_body(event.body)
    return {
        "id": event.id,
        "type": event.type,
        "store_id": event.store_id,
        "headers": dict(event.headers),
        "body": body,
        "body_encoding": encoding,
        "content_type": event.content_type,
        "next_at": event.created_at,
        "created_at": event.created_at,
    }


async def claim(
    connection: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int = CLAIM_LIMIT
) -> list[Claimed]:
    """Take up to *limit* due events, the longest due first; they are due again after *lease*."""
    parameters = {"owner": owner, "now": now, "until": now + lease, "size": limit}
    taken = await connection.execute(_sql(connection).claim, parameters)
    return sorted((_claimed(row) for row in taken), key=lambda event: (event.created_at, event.id))


def _claimed(row: Any) -> Claimed:
    return Claimed(
        id=row.id,
        epoch=row.claim_epoch,
        type=row.type,
        store_id=row.store_id,
        body=decode_body(row.body, row.body_encoding),
        content_type=row.content_type,
        headers=row.headers,
        attempts=row.attempts,
        created_at=row.created_at,
    )


async def release(connection: AsyncConnection, now: datetime) -> int:
    """Make every claimed event due at once; how many there were. Only where no relay can be alive that claimed one."""
    orphans = update(outbox).where(outbox.c.state == _PENDING, outbox.c.claim_owner.is_not(None))
    return (await connection.execute(orphans.values(claim_owner=None, next_at=now))).rowcount


async def mark_published(connection: AsyncConnection, ids: Sequence[str], now: datetime) -> int:
    """Record confirmed publishes, whoever holds the claim by now: confirmed is confirmed. How many were new."""
    if not ids:
        return 0
    document = pack([{"id": key} for key in sorted(ids)])
    return (await connection.execute(_sql(connection).published, {"done": document, "now": now})).rowcount


async def mark_failed(connection: AsyncConnection, failures: Sequence[Failure]) -> int:
    """Record failed publishes under claims that are still the caller's; how many were."""
    if not failures:
        return 0
    document = pack(
        [
            {"id": item.id, "epoch": item.epoch, "error": _short(item.error), "next_at": item.next_at}
            for item in sorted(failures, key=lambda item: item.id)
        ]
    )
    return (await connection.execute(_sql(connection).failed, {"failed": document})).rowcount


def _short(error: str) -> str:
    return error.replace("\0", "")[:_ERROR_LENGTH]


async def backlog(connection: AsyncConnection) -> Backlog:
    """How many events wait, and since when the oldest does."""
    count, oldest = (await connection.execute(_BACKLOG)).one()
    return Backlog(count, oldest)


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the next event is due (claims count until they run out), or None."""
    found: datetime | None = (await connection.execute(_NEXT)).scalar()
    return found


async def purge(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete up to *limit* events published before *before*, the oldest first; how many there were."""
    return (await connection.execute(_PURGE, {"before": before, "size": limit})).rowcount
