"""Figures of a period, counted by the database from the rows themselves.

delivery ──┬─ (recipient) ── told: one row a delivery, or one a delivery and role ──▶ counted by bucket and group
           └─ (attempt)  ── took: the accepted ones with what they took ──▶ ranked within each ──▶ percentiles

The period bounds both by the index on (store, time) or on time; recipients and attempts are then found by delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus, RecipientStatus
from services.notifier.domain.statistics import Bucket, Group, Stretch
from services.notifier.store.tables import attempt, delivery, recipient
from shared.values import value_class

Key = tuple[Any, ...]
"""Of a row: its bucket, then the value of each group in the order in which they were asked for."""

PERCENTS: Final = (50, 90, 95, 99)


@value_class
class Selection:
    """Which deliveries are counted, and what they are told apart by; empty filters mean all."""

    stores: Collection[str] | None
    start_at: datetime
    end_at: datetime
    bucket: Bucket = Bucket.NONE
    parts: tuple[Stretch, ...] = ()
    groups: tuple[Group, ...] = ()
    event_types: tuple[str, ...] = ()
    rule_ids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()


@value_class
class Counts:
    """How many there were."""

    deliveries: int = 0
    accepted: int = 0
    failed: int = 0
    unknown: int = 0
    suppressed: int = 0
    expired: int = 0
    cancelled: int = 0
    waiting: int = 0
    recipients: int = 0
    recipients_accepted: int = 0
    recipients_failed: int = 0
    attempts: int = 0
    retries: int = 0
    clicked: int = 0
    acknowledged: int = 0


@value_class
class Spread:
    """How long something took."""

    count: int
    percentiles: tuple[timedelta, ...]
    """One for each of `PERCENTS`."""
    longest: timedelta


@value_class
class Latencies:
    """How long accepted deliveries took, from when they might go and from when they were planned."""

    since_go: Spread
    since_planned: Spread


_GROUPS: Final[Mapping[Group, sa.Column[Any]]] = {
    Group.EVENT_TYPE: delivery.c.event_type,
    Group.RULE: delivery.c.rule_id,
    Group.ROLE: recipient.c.role,
    Group.PRIORITY: delivery.c.priority,
    Group.CHANNEL: delivery.c.channel,
    Group.STORE: delivery.c.store_id,
}
_ENDS: Final = tuple(status for status in DeliveryStatus if not status.open)
_SEEN: Final = (AttemptState.ACCEPTED.value, AttemptState.ACCEPTED_PARTIAL.value)
_SPANS: Final = ("since_go", "since_planned")


async def count(conn: AsyncConnection, wanted: Selection, limit: int) -> dict[Key, Counts]:
    """The counts by bucket and group, in order, at most *limit* of them."""
    told = _told(wanted, conn.dialect.name).subquery("told")
    keys = [told.c[name] for name in _names(wanted)]
    retries = sa.case((told.c.attempt_no > 1, told.c.attempt_no - 1), else_=0)
    figures = {
        "deliveries": sa.func.count(),
        **{status.value: _how_many(told.c.status == status.value) for status in _ENDS},
        "waiting": _how_many(told.c.status.not_in([status.value for status in _ENDS])),
        "recipients": sa.func.sum(told.c.recipients),
        "recipients_accepted": sa.func.sum(told.c.recipients_accepted),
        "recipients_failed": sa.func.sum(told.c.recipients_failed),
        "attempts": sa.func.sum(told.c.attempt_no),
        "retries": sa.func.sum(retries),
        "clicked": sa.func.count(told.c.clicked_at),
        "acknowledged": sa.func.count(told.c.acknowledged_at),
    }
    query = sa.select(*keys, *(figure.label(f"n_{name}") for name, figure in figures.items()))
    if len(keys) > 1 or wanted.bucket is not Bucket.NONE:
        query = query.group_by(*keys).order_by(*keys).limit(limit)
    else:
        query = query.with_only_columns(sa.literal(0), *query.selected_columns[1:])
    await _plan_for_these_bounds(conn)
    found = await conn.execute(query)
    return {
        tuple(row[: len(keys)]): Counts(
            **{name: int(value or 0) for name, value in zip(figures, row[len(keys) :], strict=True)}
        )
        for row in found
    }


async def latencies(conn: AsyncConnection, wanted: Selection) -> dict[Key, Latencies]:
    """What accepted deliveries took, by bucket and group; only where there are some."""
    took = _took(wanted, conn.dialect.name).subquery("took")
    names = _names(wanted)
    keys = [took.c[name] for name in names]
    ranked = sa.select(
        *keys,
        *(took.c[span] for span in _SPANS),
        *(_rank(took.c[span], keys).label(f"{span}_rank") for span in _SPANS),
        sa.func.count().over(partition_by=keys).label("n"),
    ).subquery("ranked")
    figures = []
    for span in _SPANS:
        for percent in PERCENTS:
            nearest = (ranked.c.n * percent + 99) // 100
            at_rank = sa.case((ranked.c[f"{span}_rank"] == nearest, ranked.c[span]))
            figures.append(sa.func.max(at_rank))
        figures.append(sa.func.max(ranked.c[span]))
    by = [ranked.c[name] for name in names]
    await _plan_for_these_bounds(conn)
    found = await conn.execute(sa.select(*by, ranked.c.n, *figures).group_by(*by, ranked.c.n))
    width = len(PERCENTS) + 1
    read: dict[Key, Latencies] = {}
    for row in found:
        key, number, spans = tuple(row[: len(by)]), row[len(by)], row[len(by) + 1 :]
        read[key] = Latencies(_spread(number, spans[:width]), _spread(number, spans[width:]))
    return read


async def _plan_for_these_bounds(conn: AsyncConnection) -> None:
    """Until the transaction ends, no plan for any period at all: an hour of a long past is not a two-hundredth of it,
    as PostgreSQL would guess for bounds that it has not seen."""
    if conn.dialect.name == "postgresql":
        await conn.execute(sa.text("SET LOCAL plan_cache_mode = force_custom_plan"))


def _spread(number: int, microseconds: Any) -> Spread:
    *percentiles, longest = (timedelta(microseconds=int(one)) for one in microseconds)
    return Spread(int(number), tuple(percentiles), longest)


def _rank(span: sa.ColumnElement[Any], keys: Collection[Any]) -> sa.ColumnElement[int]:
    return sa.func.row_number().over(partition_by=list(keys), order_by=span)


def _how_many(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _names(wanted: Selection) -> list[str]:
    return ["bucket", *(group.value for group in wanted.groups)]


def _keys(wanted: Selection, dialect: str) -> list[sa.ColumnElement[Any]]:
    """The columns of a row's key; the role of a delivery that tells nobody is empty."""
    columns: list[sa.ColumnElement[Any]] = [_bucket(wanted, dialect).label("bucket")]
    for group in wanted.groups:
        column: sa.ColumnElement[Any] = _GROUPS[group]
        columns.append((sa.func.coalesce(column, "") if group is Group.ROLE else column).label(group.value))
    return columns


def _told(wanted: Selection, dialect: str) -> sa.Select[Any]:
    """Every delivery of the selection with what is known of its recipients; once for each role where roles matter."""
    status = _recipient_status()
    one: sa.ColumnElement[str] = delivery.c.id
    if dialect == "sqlite":
        # It would read all deliveries in the order of their ids, to have those of one id side by side.
        one = one.concat("")
    role = (recipient.c.role,) if Group.ROLE in wanted.groups else ()
    return (
        sa.select(
            *_keys(wanted, dialect),
            delivery.c.status,
            delivery.c.attempt_no,
            delivery.c.clicked_at,
            delivery.c.acknowledged_at,
            sa.func.count(recipient.c.delivery_id).label("recipients"),
            _how_many(status == RecipientStatus.ACCEPTED.value).label("recipients_accepted"),
            _how_many(status == RecipientStatus.FAILED.value).label("recipients_failed"),
        )
        .select_from(_with_recipients(delivery, wanted, dialect))
        .where(*_conditions(wanted))
        .group_by(one, *role)
    )


def _took(wanted: Selection, dialect: str) -> sa.Select[Any]:
    """Every accepted delivery of the selection with what it took, in microseconds; once for each role, as above."""
    accepting = (attempt.c.delivery_id == delivery.c.id) & (attempt.c.attempt_no == delivery.c.attempt_no)
    near = _near(attempt.c.delivery_id, wanted, dialect)
    source: sa.FromClause = delivery.join(attempt, sa.and_(accepting, *near))
    by_role = bool(wanted.roles) or Group.ROLE in wanted.groups
    query = sa.select(
        *_keys(wanted, dialect),
        _span(delivery.c.go_at, dialect).label("since_go"),
        _span(delivery.c.created_at, dialect).label("since_planned"),
    ).where(
        delivery.c.status == DeliveryStatus.ACCEPTED.value,
        attempt.c.state.in_(_SEEN),
        *_conditions(wanted),
    )
    if by_role:
        # One whose recipients have the same role is still one.
        query = query.add_columns(delivery.c.id).distinct()
        source = _with_recipients(source, wanted, dialect)
    return query.select_from(source)


def _with_recipients(source: sa.FromClause, wanted: Selection, dialect: str) -> sa.FromClause:
    near = _near(recipient.c.delivery_id, wanted, dialect)
    told = sa.and_(recipient.c.delivery_id == delivery.c.id, *near)
    if wanted.roles:
        return source.join(recipient, told & recipient.c.role.in_(wanted.roles))
    return source.join(recipient, told, isouter=True)


def _near(column: sa.Column[str], wanted: Selection, dialect: str) -> list[sa.ColumnElement[bool]]:
    """That *column* lies between the least and the greatest id of the selection, which goes without saying.

    Ids are made in the order of time, so what belongs to a period lies side by side in the index on them. PostgreSQL
    reads that piece in one go, where it would else look for each alone, or read all there is.
    """
    if dialect == "sqlite":
        return []
    # The offset keeps the planner from seeking the least id from the beginning of all.
    chosen = sa.select(delivery.c.id).where(*_conditions(wanted)).offset(0).subquery("chosen")
    ends = sa.select(sa.func.min(chosen.c.id).label("least"), sa.func.max(chosen.c.id).label("greatest"))
    bounds = ends.cte(f"{column.table.name}_bounds").prefix_with("MATERIALIZED")
    return [
        column >= sa.select(bounds.c.least).scalar_subquery(),
        column <= sa.select(bounds.c.greatest).scalar_subquery(),
    ]


def _recipient_status() -> sa.ColumnElement[str]:
    """A recipient's own outcome, or what follows from its delivery's, as far as it is counted."""
    ends = {DeliveryStatus.ACCEPTED: RecipientStatus.ACCEPTED, DeliveryStatus.FAILED: RecipientStatus.FAILED}
    followed = sa.case(
        *((delivery.c.status == status.value, follows.value) for status, follows in ends.items()), else_=""
    )
    # Without a recipient, as an outer join has it, nothing follows.
    return sa.case(
        (recipient.c.delivery_id.is_(None), ""), else_=sa.func.coalesce(recipient.c.status, followed)
    )


def _conditions(wanted: Selection) -> list[sa.ColumnElement[bool]]:
    conditions = [delivery.c.created_at >= wanted.start_at, delivery.c.created_at < wanted.end_at]
    if wanted.stores is not None:
        conditions.append(delivery.c.store_id.in_(sorted(wanted.stores)))
    chosen: Mapping[sa.Column[Any], tuple[Any, ...]] = {
        delivery.c.event_type: wanted.event_types,
        delivery.c.rule_id: wanted.rule_ids,
        delivery.c.priority: wanted.priorities,
        delivery.c.channel: wanted.channels,
    }
    return conditions + [column.in_(values) for column, values in chosen.items() if values]


def _bucket(wanted: Selection, dialect: str) -> sa.ColumnElement[int]:
    """`key_of` in SQL. SQLite knows no zones, so both databases are told what the clocks were ahead, and since when."""
    if wanted.bucket is Bucket.NONE:
        return sa.literal(0, sa.BigInteger())
    second = _second(delivery.c.created_at, dialect)
    *earlier, last = wanted.parts
    ahead: sa.ColumnElement[int] = sa.literal(last.offset, sa.BigInteger())
    if earlier:
        ahead = sa.case(
            *((second < part.end, sa.literal(part.offset, sa.BigInteger())) for part in earlier), else_=ahead
        )
    if wanted.bucket is Bucket.DAY:
        return (second + ahead) // 86400
    return (second + ahead) // 3600 * 3600 - ahead


def _second(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[int]:
    """The whole seconds of an instant since 1970."""
    if dialect == "sqlite":
        # Without the fraction, which strftime would round, to the next second as well.
        to_the_second = sa.func.substr(sa.type_coerce(column, sa.Text()), 1, 19)
        return sa.cast(sa.func.strftime("%s", to_the_second), sa.BigInteger())
    return sa.cast(sa.func.floor(sa.extract("epoch", column)), sa.BigInteger())


def _span(since: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[int]:
    """Microseconds from *since* to the end of the attempt; 0 where two hosts' clocks disagree about the order."""
    if dialect == "sqlite":
        span = _microsecond(attempt.c.finished_at) - _microsecond(since)
    else:
        between = sa.extract("epoch", attempt.c.finished_at - since)
        span = sa.cast(sa.func.round(between * 1_000_000), sa.BigInteger())
    return sa.case((span < 0, 0), else_=span)


def _microsecond(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    fraction = sa.cast(sa.func.substr(sa.type_coerce(column, sa.Text()), 21, 6), sa.BigInteger())
    return _second(column, "sqlite") * 1_000_000 + fraction
