"""Effects: kept once of each kind for a push, and counted from the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import TICK, Group, Kind
from services.kf_session.domain.push import Purpose
from services.kf_session.store.learning_tables import effect
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import push, push_item
from shared.db.rows import insert_into
from shared.db.types import DialectName, Id
from shared.values import value_class

COUNTED = tuple(one.value for one in (Purpose.MATCH, Purpose.SUMMARY, Purpose.MESSAGE))
"""Pushes that want an effect; an answer or a greeting does not."""

_MENUS_LOOKED_AT = 20

match = sa.table("match", sa.column("id", Id), sa.column("intent_id", Id))
"""Whose intent an item is about."""


@value_class
class Sent:
    """A push that the platform accepted."""

    id: str
    store_id: str
    open_kfid: str
    external_userid: str
    accepted_at: datetime


@value_class
class Counts:
    """How many pushes there were, and what came of those that count as sent."""

    pushes: int = 0
    sent: int = 0
    failed: int = 0
    late_failed: int = 0
    """Of the failed ones, those that the platform had accepted first."""
    replied: int = 0
    clicked: int = 0
    engaged: int = 0
    """Replied, clicked, or both."""
    unsubscribed: int = 0


@value_class
class Selection:
    """Which pushes are counted; None and empty do not narrow it."""

    stores: Collection[str] | None
    start_at: datetime
    end_at: datetime
    groups: Sequence[Group] = ()
    template_ids: Sequence[str] = ()
    variants: Sequence[str] = ()
    intent_ids: Sequence[str] = ()
    purposes: Sequence[str] = ()


_SENT = sa.select(push.c.id, push.c.store_id, push.c.open_kfid, push.c.external_userid, push.c.accepted_at)
_WENT = sa.and_(push.c.accepted_at.is_not(None), push.c.fail_type.is_(None), push.c.status != "failed")


def _to(key: SessionKey, at: datetime, window: timedelta) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        push.c.open_kfid == key.open_kfid,
        push.c.external_userid == key.external_userid,
        push.c.accepted_at > at - window,
        push.c.accepted_at <= at + TICK,
        _WENT,
    )


async def last_before(conn: AsyncConnection, key: SessionKey, at: datetime, window: timedelta) -> Sent | None:
    """The last push before *at* that what the customer did then may be an effect of."""
    query = _SENT.where(*_to(key, at, window), push.c.purpose.in_(COUNTED))
    return _one(
        (await conn.execute(query.order_by(push.c.accepted_at.desc(), push.c.id.desc()).limit(1))).first()
    )


async def with_menu(
    conn: AsyncConnection, key: SessionKey, menu_id: str, at: datetime, window: timedelta
) -> Sent | None:
    """The last push whose menu has the item that the customer tapped."""
    query = _SENT.add_columns(push.c.content).where(*_to(key, at, window))
    recent = query.order_by(push.c.accepted_at.desc(), push.c.id.desc()).limit(_MENUS_LOOKED_AT)
    for row in (await conn.execute(recent)).all():
        if menu_id in _menu_ids(row.content):
            return _one(row)
    return None


async def with_item(
    conn: AsyncConnection, key: SessionKey, item_id: str, at: datetime, window: timedelta
) -> Sent | None:
    """The last push that lists a match."""
    query = _SENT.join(push_item, push_item.c.push_id == push.c.id).where(
        *_to(key, at, window), push_item.c.item_id == item_id
    )
    return _one(
        (await conn.execute(query.order_by(push.c.accepted_at.desc(), push.c.id.desc()).limit(1))).first()
    )


async def of_id(conn: AsyncConnection, push_id: str) -> Sent | None:
    """A push that counts as sent."""
    return _one((await conn.execute(_SENT.where(push.c.id == push_id, _WENT))).first())


async def add(
    conn: AsyncConnection, dialect: DialectName, push_id: str, kind: Kind, at: datetime, now: datetime
) -> bool:
    """Keep the first of a kind; whether it was."""
    new = insert_into(dialect, effect).values(push_id=push_id, kind=kind.value, at=at, recorded_at=now)
    kept = await conn.scalar(new.on_conflict_do_nothing().returning(effect.c.push_id))
    return kept is not None


async def count(
    conn: AsyncConnection, wanted: Selection, most: int
) -> list[tuple[Mapping[Group, Any], Counts]]:
    """The figures of each group, in the order of what tells them apart; at most *most* of them."""
    had = {kind: sa.func.max(sa.case((effect.c.kind == kind.value, 1), else_=0)) for kind in Kind}
    seen = sa.select(effect.c.push_id, *(had[kind].label(kind.value) for kind in Kind))
    effects = seen.group_by(effect.c.push_id).subquery("effects")
    columns, source = _grouped(wanted, push.outerjoin(effects, effects.c.push_id == push.c.id))

    def happened(*kinds: Kind) -> sa.ColumnElement[Any]:
        marks = [sa.func.coalesce(effects.c[kind.value], 0) == 1 for kind in kinds]
        return _how_many(sa.and_(_WENT, sa.or_(*marks)))

    clicks = (Kind.MENU_CLICK, Kind.LINK_CLICK, Kind.MINIPROGRAM_ENTER)
    failed = sa.or_(push.c.fail_type.is_not(None), push.c.status == "failed")
    figures = (
        sa.func.count(),
        _how_many(_WENT),
        _how_many(failed),
        _how_many(sa.and_(push.c.accepted_at.is_not(None), failed)),
        happened(Kind.REPLY),
        happened(*clicks),
        happened(Kind.REPLY, *clicks),
        happened(Kind.UNSUBSCRIBED),
    )
    query = sa.select(*columns, *figures).select_from(source).where(*_narrowed(wanted))
    if columns:
        query = query.group_by(*columns).order_by(*columns)
    found = (await conn.execute(query.limit(most))).all()
    split = len(columns)
    return [
        (
            dict(zip(wanted.groups, row[:split], strict=True)),
            Counts(*(int(value or 0) for value in row[split:])),
        )
        for row in found
    ]


def _how_many(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _grouped(wanted: Selection, source: sa.FromClause) -> tuple[list[sa.ColumnElement[Any]], sa.FromClause]:
    if Group.INTENT not in wanted.groups and not wanted.intent_ids:
        return [push.c[group.value] for group in wanted.groups], source
    # A push about several intents is counted in the row of each, once.
    about = (
        sa.select(push_item.c.push_id, match.c.intent_id)
        .join(match, match.c.id == push_item.c.item_id)
        .distinct()
    )
    if wanted.intent_ids:
        about = about.where(match.c.intent_id.in_(wanted.intent_ids))
    intents = about.subquery("intents")
    told: dict[Group, sa.ColumnElement[Any]] = {
        group: push.c[group.value] for group in wanted.groups if group is not Group.INTENT
    }
    told[Group.INTENT] = sa.func.coalesce(intents.c.intent_id, "")
    joined = source.join(intents, intents.c.push_id == push.c.id, isouter=not wanted.intent_ids)
    return [told[group].label(group.value) for group in wanted.groups], joined


def _narrowed(wanted: Selection) -> list[sa.ColumnElement[bool]]:
    found = [push.c.created_at >= wanted.start_at, push.c.created_at < wanted.end_at]
    if wanted.stores is not None:
        found.append(push.c.store_id.in_(wanted.stores))
    found.append(push.c.purpose.in_(wanted.purposes or COUNTED))
    for column, values in ((push.c.template_id, wanted.template_ids), (push.c.variant, wanted.variants)):
        if values:
            found.append(column.in_(values))
    return found


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget effects recorded before *before*; how many there were."""
    keys = (effect.c.push_id, effect.c.kind)
    old = sa.select(*keys).where(effect.c.recorded_at < before).limit(limit)
    return (await conn.execute(sa.delete(effect).where(sa.tuple_(*keys).in_(old)))).rowcount


def _one(row: sa.Row[Any] | None) -> Sent | None:
    if row is None:
        return None
    return Sent(row.id, row.store_id, row.open_kfid, row.external_userid, row.accepted_at)


def _menu_ids(content: Mapping[str, Any]) -> set[str]:
    menu = content.get("msgmenu") or {}
    return {
        str(one["click"].get("id", "")) for one in menu.get("list", ()) if isinstance(one.get("click"), dict)
    }
