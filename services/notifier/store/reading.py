"""What was sent, for those who ask: deliveries with recipients and attempts. Every query names its stores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.routing import Target, TargetKind
from services.notifier.store.tables import attempt, delivery, recipient
from shared.db.frozen import frozen
from shared.db.inbox import Key
from shared.db.rows import pack, rows
from shared.db.types import DialectName, Id
from shared.values import value_class


@value_class
class RecipientView:
    """One recipient as stored; ``status`` is None where it follows the delivery's."""

    target: Target
    role: str
    status: str | None
    reason: str


@value_class
class AttemptView:
    """One attempt as stored."""

    attempt_no: int
    state: str
    http_status: int
    errcode: int | None
    detail: str
    vendor_msgid: str
    owner: str
    started_at: datetime
    finished_at: datetime | None


@value_class
class DeliveryView:
    """One delivery as stored, with what was asked for beside it."""

    id: str
    store_id: str
    event_id: str
    event_type: str
    rule_id: str
    rule_version: int
    channel: str
    part: int
    priority: int
    status: str
    reason: str
    hold_reason: str
    due_at: datetime
    attempt_no: int
    resend_mark: bool
    content: dict[str, Any]
    traceparent: str | None
    created_at: datetime
    updated_at: datetime
    recipients: tuple[RecipientView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


@value_class
class Filter:
    """Which deliveries to list; None and empty mean no restriction."""

    stores: Collection[str] | None = None
    event_id: str = ""
    event_types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    start_at: datetime | None = None
    end_at: datetime | None = None


_COLUMNS = (
    delivery.c.id,
    delivery.c.store_id,
    delivery.c.event_id,
    delivery.c.event_type,
    delivery.c.rule_id,
    delivery.c.rule_version,
    delivery.c.channel,
    delivery.c.part,
    delivery.c.priority,
    delivery.c.status,
    delivery.c.reason,
    delivery.c.hold_reason,
    delivery.c.due_at,
    delivery.c.attempt_no,
    delivery.c.resend_mark,
    delivery.c.content,
    delivery.c.traceparent,
    delivery.c.created_at,
    delivery.c.updated_at,
)


class _Statements:
    """What is asked about many at once: fed by one document, so that there may be any number of them."""

    def __init__(self, dialect: DialectName) -> None:
        events = rows(dialect, "events", store_id=Id, event_id=Id)
        planned = (delivery.c.store_id == events.c.store_id) & (delivery.c.event_id == events.c.event_id)
        self.deliveries = frozen(
            dialect,
            sa.select(*_COLUMNS).select_from(events.join(delivery, planned)).order_by(delivery.c.id),
        )
        ids = rows(dialect, "ids", id=Id)
        self.recipients = frozen(
            dialect,
            sa.select(recipient)
            .select_from(ids.join(recipient, recipient.c.delivery_id == ids.c.id))
            .order_by(recipient.c.delivery_id, recipient.c.kind, recipient.c.target),
        )
        self.attempts = frozen(
            dialect,
            sa.select(attempt)
            .select_from(ids.join(attempt, attempt.c.delivery_id == ids.c.id))
            .order_by(attempt.c.delivery_id, attempt.c.attempt_no),
        )


_statements = cache(_Statements)


def _sql(conn: AsyncConnection) -> _Statements:
    return _statements(conn.dialect.name)


async def list_deliveries(
    conn: AsyncConnection, wanted: Filter, *, before: tuple[datetime, str] | None = None, limit: int
) -> list[DeliveryView]:
    """Deliveries by (created at, id), newest first, those before *before*; with recipients, without attempts."""
    # By the time first, for the index on it to bound the period and to give the order: by id, a planner reads from
    # the newest and throws away all there is before the period comes.
    query = sa.select(*_COLUMNS).order_by(delivery.c.created_at.desc(), delivery.c.id.desc()).limit(limit)
    for condition in _conditions(wanted, conn.dialect.name):
        query = query.where(condition)
    if before is not None:
        at, last = before
        query = query.where(
            delivery.c.created_at <= at, sa.or_(delivery.c.created_at < at, delivery.c.id < last)
        )
    return await _views(conn, (await conn.execute(query)).all(), attempts=False)


def _conditions(wanted: Filter, dialect: str) -> Iterable[sa.ColumnElement[bool]]:
    if wanted.stores is not None:
        store: sa.ColumnElement[str] = delivery.c.store_id
        if dialect == "sqlite" and len(wanted.stores) > 1:
            # The index by store gives several stores in no order; SQLite would take it and sort all they ever had.
            store = store.concat("")
        yield store.in_(sorted(wanted.stores))
    if wanted.event_id:
        yield delivery.c.event_id == wanted.event_id
    if wanted.event_types:
        yield delivery.c.event_type.in_(wanted.event_types)
    if wanted.statuses:
        yield delivery.c.status.in_(wanted.statuses)
    if wanted.start_at is not None:
        yield delivery.c.created_at >= wanted.start_at
    if wanted.end_at is not None:
        yield delivery.c.created_at < wanted.end_at


async def get_deliveries(
    conn: AsyncConnection, ids: Sequence[str], stores: Collection[str] | None
) -> list[DeliveryView]:
    """The deliveries of *ids* that lie in *stores*, with recipients and attempts, by id."""
    query = sa.select(*_COLUMNS).where(delivery.c.id.in_(ids)).order_by(delivery.c.id)
    if stores is not None:
        query = query.where(delivery.c.store_id.in_(sorted(stores)))
    return await _views(conn, (await conn.execute(query)).all(), attempts=True)


async def deliveries_of_event(conn: AsyncConnection, event_id: str, store_id: str) -> list[DeliveryView]:
    """Everything that was planned for one event, in order, with recipients and attempts."""
    return (await deliveries_of_events(conn, [(store_id, event_id)]))[store_id, event_id]


async def deliveries_of_events(
    conn: AsyncConnection, events: Collection[Key]
) -> dict[Key, list[DeliveryView]]:
    """What was planned for each of *events*, as `deliveries_of_event` has it: three queries for all of them."""
    planned: dict[Key, list[DeliveryView]] = {key: [] for key in events}
    if planned:
        document = pack({"store_id": store, "event_id": event} for store, event in planned)
        found = (await conn.execute(_sql(conn).deliveries, {"events": document})).all()
        for view in await _views(conn, found, attempts=True):
            planned[view.store_id, view.event_id].append(view)
    return planned


async def events_of_target(
    conn: AsyncConnection,
    target: Target,
    start_at: datetime,
    end_at: datetime,
    stores: Collection[str] | None,
    limit: int,
) -> list[Key]:
    """The events of what one address was sent in a period, newest first."""
    query = (
        sa.select(delivery.c.event_id, delivery.c.store_id, sa.func.max(delivery.c.id).label("newest"))
        .join_from(recipient, delivery, delivery.c.id == recipient.c.delivery_id)
        .where(
            recipient.c.kind == target.kind.value,
            recipient.c.target == target.id,
            delivery.c.created_at >= start_at,
            delivery.c.created_at < end_at,
        )
        .group_by(delivery.c.event_id, delivery.c.store_id)
        .order_by(sa.desc("newest"))
        .limit(limit)
    )
    if stores is not None:
        query = query.where(delivery.c.store_id.in_(sorted(stores)))
    return [(row.store_id, row.event_id) for row in await conn.execute(query)]


Changed = tuple[datetime, str, str, int]
"""When it changed, and its id, status and number of attempts."""


async def changed_since(
    conn: AsyncConnection, wanted: Filter, after: tuple[datetime, str], limit: int
) -> list[Changed]:
    """Deliveries that changed after (instant, id), oldest change first."""
    at, last = after
    changed = (delivery.c.updated_at, delivery.c.id, delivery.c.status, delivery.c.attempt_no)
    query = (
        sa.select(*changed)
        .where(delivery.c.updated_at >= at, sa.or_(delivery.c.updated_at > at, delivery.c.id > last))
        .order_by(delivery.c.updated_at, delivery.c.id)
        .limit(limit)
    )
    for condition in _conditions(wanted, conn.dialect.name):
        query = query.where(condition)
    return [row._tuple() for row in await conn.execute(query)]


async def with_recipients(conn: AsyncConnection, ids: Sequence[str]) -> list[DeliveryView]:
    """The deliveries of *ids*, by change, with recipients."""
    query = sa.select(*_COLUMNS).where(delivery.c.id.in_(ids))
    found = await conn.execute(query.order_by(delivery.c.updated_at, delivery.c.id))
    return await _views(conn, found.all(), attempts=False)


async def list_unknown(
    conn: AsyncConnection, stores: Collection[str] | None, after_id: str, limit: int
) -> list[DeliveryView]:
    """Deliveries whose outcome nobody can tell, oldest first, with attempts."""
    query = (
        sa.select(*_COLUMNS)
        .where(delivery.c.status == "unknown", delivery.c.id > after_id)
        .order_by(delivery.c.id)
        .limit(limit)
    )
    if stores is not None:
        query = query.where(delivery.c.store_id.in_(sorted(stores)))
    return await _views(conn, (await conn.execute(query)).all(), attempts=True)


async def _views(conn: AsyncConnection, found: Sequence[Any], *, attempts: bool) -> list[DeliveryView]:
    ids = [row.id for row in found]
    recipients = await _recipients(conn, ids) if ids else {}
    tries = await _attempts(conn, ids) if ids and attempts else {}
    return [
        DeliveryView(
            **row._mapping,
            recipients=tuple(recipients.get(row.id, ())),
            attempts=tuple(tries.get(row.id, ())),
        )
        for row in found
    ]


async def _recipients(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, list[RecipientView]]:
    found: dict[str, list[RecipientView]] = defaultdict(list)
    for row in await conn.execute(_sql(conn).recipients, {"ids": pack({"id": one} for one in ids)}):
        _, _, account = row.channel.partition(":")
        target = Target(TargetKind(row.kind), row.target, "" if row.kind == "robot" else account)
        found[row.delivery_id].append(RecipientView(target, row.role, row.status, row.reason or ""))
    return found


async def _attempts(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, list[AttemptView]]:
    found: dict[str, list[AttemptView]] = defaultdict(list)
    for row in await conn.execute(_sql(conn).attempts, {"ids": pack({"id": one} for one in ids)}):
        found[row.delivery_id].append(
            AttemptView(
                row.attempt_no,
                row.state,
                row.http_status,
                row.errcode,
                row.detail,
                row.vendor_msgid,
                row.owner,
                row.started_at,
                row.finished_at,
            )
        )
    return found
