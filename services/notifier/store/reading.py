"""What was sent, for those who ask: deliveries with recipients and attempts. Every query names its stores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.routing import Target, TargetKind
from services.notifier.store.tables import NOT_WELL, OPEN, attempt, bin_item, delivery, recipient
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
    member: str = ""


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
    fallback_of: str | None = None
    clicked_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
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
    delivery.c.fallback_of,
    delivery.c.clicked_at,
    delivery.c.acknowledged_at,
    delivery.c.acknowledged_by,
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
        merged = (bin_item.c.store_id == events.c.store_id) & (bin_item.c.event_id == events.c.event_id)
        # The first of a digest is the event it was planned for, which the statement above finds.
        others = (delivery.c.id == bin_item.c.delivery_id) & (delivery.c.event_id != events.c.event_id)
        self.digests = frozen(
            dialect,
            sa.select(events.c.store_id.label("of_store"), events.c.event_id.label("of_event"), delivery.c.id)
            .select_from(events.join(bin_item, merged).join(delivery, others))
            .order_by(delivery.c.id),
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
    planned: sa.ColumnElement[Any] = delivery.c.created_at
    if conn.dialect.name == "sqlite" and len(wanted.statuses) == 1 and wanted.statuses[0] in OPEN:
        # Those that are not over are few, and in an index of their own: sooner sorted than found among all there were.
        planned = sa.type_coerce(planned, sa.Text()).concat("")

    def newest(asked: Filter, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        query = sa.select(*columns).order_by(planned.desc(), delivery.c.id.desc()).limit(limit)
        for condition in _conditions(asked, conn.dialect.name):
            query = query.where(condition)
        if before is not None:
            at, last = before
            query = query.where(
                delivery.c.created_at <= at, sa.or_(delivery.c.created_at < at, delivery.c.id < last)
            )
        return query

    if len(wanted.statuses) > 1 and NOT_WELL.issuperset(wanted.statuses):
        # The index has the newest of each; of several at once it has them in no order, and all would be read.
        each = (newest(replace(wanted, statuses=(one,)), delivery.c.id) for one in wanted.statuses)
        found = sa.union_all(*(sa.select(one.subquery().c.id) for one in each))
        query = sa.select(*_COLUMNS).where(delivery.c.id.in_(found))
        query = query.order_by(planned.desc(), delivery.c.id.desc()).limit(limit)
    else:
        query = newest(wanted, *_COLUMNS)
    return await _views(conn, (await conn.execute(query)).all(), attempts=False)


def _conditions(wanted: Filter, dialect: str) -> Iterable[sa.ColumnElement[bool]]:
    few = _few(wanted.statuses)
    if few is not None:
        yield few
    if wanted.stores is not None:
        store: sa.ColumnElement[str] = delivery.c.store_id
        if dialect == "sqlite" and (len(wanted.stores) > 1 or wanted.event_id or few is not None):
            # The index by store gives several stores in no order; SQLite would take it and sort all they ever had.
            # And for an event, or a status that few have, it would read all that one store ever had, for its order.
            store = store.concat("")
        yield store.in_(sorted(wanted.stores))
    if wanted.event_id:
        # Both by an index of their own; an OR of the two would have the planner read all there is, for its order.
        other = delivery.alias("planned_for")
        own = sa.select(other.c.id).where(other.c.event_id == wanted.event_id)
        merged = sa.select(bin_item.c.delivery_id).where(bin_item.c.event_id == wanted.event_id)
        yield delivery.c.id.in_(own.union_all(merged))
    if wanted.event_types:
        yield delivery.c.event_type.in_(wanted.event_types)
    if wanted.statuses:
        yield delivery.c.status.in_(wanted.statuses)
    if wanted.start_at is not None:
        yield delivery.c.created_at >= wanted.start_at
    if wanted.end_at is not None:
        yield delivery.c.created_at < wanted.end_at


def _few(statuses: Sequence[str]) -> sa.ColumnElement[bool] | None:
    """What lets a planner take the partial index that *statuses* lie in: its very words, as a bound value is no proof."""
    if statuses and NOT_WELL.issuperset(statuses):
        return delivery.c.status.in_([sa.literal_column(f"'{one}'") for one in sorted(NOT_WELL)])
    if len(statuses) == 1 and statuses[0] in OPEN:  # of several, SQLite would read the whole table
        return delivery.c.status == sa.literal_column(f"'{statuses[0]}'")
    return None


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
    """What was planned for each of *events*, as `deliveries_of_event` has it, with the digests they are part of.

    Four queries for all of them, and three for digests where there are any.
    """
    planned: dict[Key, list[DeliveryView]] = {key: [] for key in events}
    if planned:
        document = pack({"store_id": store, "event_id": event} for store, event in planned)
        found = (await conn.execute(_sql(conn).deliveries, {"events": document})).all()
        for view in await _views(conn, found, attempts=True):
            planned[view.store_id, view.event_id].append(view)
        merged = (await conn.execute(_sql(conn).digests, {"events": document})).mappings().all()
        if merged:
            wanted = sorted({row["id"] for row in merged})
            views = {view.id: view for view in await get_deliveries(conn, wanted, None)}
            for row in merged:
                planned[row["of_store"], row["of_event"]].append(views[row["id"]])
    return planned


async def events_of_target(
    conn: AsyncConnection,
    target: Target,
    start_at: datetime,
    end_at: datetime,
    stores: Collection[str] | None,
    limit: int,
) -> list[Key]:
    """The events of what one address was sent in a period, by itself or in a digest, newest first."""
    sent = [
        recipient.c.kind == target.kind.value,
        recipient.c.target == target.id,
        delivery.c.created_at >= start_at,
        delivery.c.created_at < end_at,
    ]
    if stores is not None:
        sent.append(delivery.c.store_id.in_(sorted(stores)))
    own = sa.select(delivery.c.event_id, delivery.c.store_id, delivery.c.id)
    own = own.join_from(recipient, delivery, delivery.c.id == recipient.c.delivery_id).where(*sent)
    merged = sa.select(bin_item.c.event_id, bin_item.c.store_id, delivery.c.id)
    merged = (
        merged.join_from(recipient, delivery, delivery.c.id == recipient.c.delivery_id)
        .join(bin_item, bin_item.c.delivery_id == delivery.c.id)
        .where(*sent)
    )
    told = sa.union_all(own, merged).subquery("told")
    query = (
        sa.select(told.c.event_id, told.c.store_id, sa.func.max(told.c.id).label("newest"))
        .group_by(told.c.event_id, told.c.store_id)
        .order_by(sa.desc("newest"), told.c.event_id)
        .limit(limit)
    )
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
                row.member or "",
            )
        )
    return found
