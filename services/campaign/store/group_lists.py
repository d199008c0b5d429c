"""Groups as they are asked for: one, a list, or one after the other for a filter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.audience import Facts
from services.campaign.domain.eligibility import Standing
from services.campaign.domain.groups import GroupStatus
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.group_tables import (
    customer_group,
    group_change,
    group_day,
    group_join,
    group_label,
)
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class

_CHUNK: Final = 500


@value_class
class GroupView:
    """A group as it is stored."""

    store_id: str
    facts: Facts
    standing: Standing
    customers: int
    errcode: int | None
    """Of the last reading that came to nothing."""
    read_due_at: datetime | None
    first_seen_at: datetime
    updated_at: datetime


@value_class
class GroupFilter:
    """Which groups a list shows; what is empty does not narrow it."""

    stores: Collection[str] | None = None
    """None is every store, and groups of none."""
    owner: str = ""
    name_contains: str = ""
    labels: tuple[str, ...] = ()
    """All of these."""
    statuses: tuple[GroupStatus, ...] = ()
    gone: bool = False
    """Those that are gone as well."""


@value_class
class PastChange:
    """One entry of a group's history."""

    kind: str
    before: str
    after: str
    at: datetime


@value_class
class Day:
    """What came and went on one day."""

    day: date
    joined: int
    left: int


@value_class
class Wish:
    """What a filter asks that is not in the group's own row."""

    labels: bool = True
    states: bool = False
    sent: bool = False


LABELS: Final = Wish()
"""Labels alone: what says whether something may be sent."""


async def page(
    conn: AsyncConnection, wanted: GroupFilter, *, after: str, limit: int, wish: Wish = LABELS
) -> list[GroupView]:
    """Groups by chat id, those behind *after*."""
    t = customer_group
    query = sa.select(t).where(t.c.chat_id > after).order_by(t.c.chat_id).limit(limit)
    if wanted.stores is not None:
        query = query.where(t.c.store_id.in_(sorted(wanted.stores)))
    if wanted.owner:
        query = query.where(t.c.owner == wanted.owner)
    if wanted.name_contains:
        query = query.where(t.c.name.icontains(wanted.name_contains, autoescape=True))
    if wanted.statuses:
        query = query.where(t.c.status.in_([one.value for one in wanted.statuses]))
    if not wanted.gone:
        query = query.where(t.c.gone_reason == "")
    for label in wanted.labels:
        bears = sa.select(group_label.c.chat_id).where(
            group_label.c.chat_id == t.c.chat_id, group_label.c.label == label
        )
        query = query.where(bears.exists())
    return await _views(conn, query, wish)


async def of_store(
    conn: AsyncConnection,
    store_id: str,
    *,
    after: str,
    limit: int,
    owners: Sequence[str] = (),
    wish: Wish,
) -> list[GroupView]:
    """Groups of a store by chat id, those behind *after*, gone or not."""
    t = customer_group
    query = sa.select(t).where(t.c.store_id == store_id, t.c.chat_id > after)
    if owners:
        query = query.where(t.c.owner.in_(list(owners)))
    return await _views(conn, query.order_by(t.c.chat_id).limit(limit), wish)


async def some(
    conn: AsyncConnection, chat_ids: Iterable[str], *, store_id: str | None = None, wish: Wish = LABELS
) -> dict[str, GroupView]:
    """Those of *chat_ids* that there are, in *store_id* where one is named."""
    t, found = customer_group, dict[str, GroupView]()
    ordered = sorted(set(chat_ids))
    for at in range(0, len(ordered), _CHUNK):
        query = sa.select(t).where(t.c.chat_id.in_(ordered[at : at + _CHUNK])).order_by(t.c.chat_id)
        if store_id is not None:
            query = query.where(t.c.store_id == store_id)
        found.update({one.facts.chat_id: one for one in await _views(conn, query, wish)})
    return found


async def history(conn: AsyncConnection, chat_id: str, limit: int) -> list[PastChange]:
    """What became different about a group, the newest first."""
    t = group_change
    query = (
        sa.select(t.c.kind, t.c.before, t.c.after, t.c.at)
        .where(t.c.chat_id == chat_id)
        .order_by(t.c.at.desc(), t.c.id.desc())
        .limit(limit)
    )
    return [PastChange(*row) for row in await conn.execute(query)]


async def days(conn: AsyncConnection, chat_id: str, since: date) -> list[Day]:
    """Joins and departures of a group by day, the first first; days without any are left out."""
    t = group_day
    query = sa.select(t.c.day, t.c.joined, t.c.left).where(
        t.c.chat_id == chat_id, t.c.day >= since.isoformat()
    )
    found = await conn.execute(query.order_by(t.c.day))
    return [Day(date.fromisoformat(row.day), row.joined, row.left) for row in found]


async def lock(
    conn: AsyncConnection, chat_ids: Iterable[str], stores: Collection[str] | None
) -> dict[str, str]:
    """Those of *chat_ids* that there are, locked until the end of the transaction, with the store of each."""
    t = customer_group
    query = sa.select(t.c.chat_id, t.c.store_id).where(t.c.chat_id.in_(sorted(set(chat_ids))))
    if stores is not None:
        query = query.where(t.c.store_id.in_(sorted(stores)))
    found = await conn.execute(query.order_by(t.c.chat_id).with_for_update())
    return {row.chat_id: row.store_id for row in found}


async def label(
    conn: AsyncConnection,
    chat_ids: Sequence[str],
    add: Sequence[str],
    remove: Sequence[str],
    *,
    by: str,
    now: datetime,
) -> None:
    """Put labels on groups that the caller has locked, and take others off."""
    t = group_label
    rows = [
        {"chat_id": chat_id, "label": one, "by": by, "at": now} for chat_id in sorted(chat_ids) for one in add
    ]
    for at in range(0, len(rows), _CHUNK):
        insert = insert_into(dialect_of(conn), t).values(rows[at : at + _CHUNK])
        await conn.execute(insert.on_conflict_do_nothing())
    if remove:
        gone = t.c.chat_id.in_(list(chat_ids)) & t.c.label.in_(list(remove))
        await conn.execute(sa.delete(t).where(gone))


async def most_labels(conn: AsyncConnection, chat_ids: Sequence[str]) -> int:
    """How many labels the one of *chat_ids* bears that bears the most."""
    t = group_label
    counted = sa.select(sa.func.count().label("n")).where(t.c.chat_id.in_(list(chat_ids)))
    found = await conn.scalar(sa.select(sa.func.max(counted.group_by(t.c.chat_id).subquery().c.n)))
    return int(found or 0)


async def _views(conn: AsyncConnection, query: Any, wish: Wish) -> list[GroupView]:
    rows = list((await conn.execute(query)).mappings())
    chats = [row["chat_id"] for row in rows]
    labels = await _words(conn, group_label.c.chat_id, group_label.c.label, chats) if wish.labels else {}
    here = group_join.c.left_at.is_(None)
    states = await _words(conn, group_join.c.chat_id, group_join.c.state, chats, here) if wish.states else {}
    sent = await _sent(conn, chats) if wish.sent else {}
    return [_view(row, labels, states, sent) for row in rows]


async def _words(
    conn: AsyncConnection, key: Any, value: Any, chats: Sequence[str], only: Any = None
) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for at in range(0, len(chats), _CHUNK):
        query = sa.select(key, value).where(key.in_(chats[at : at + _CHUNK])).distinct()
        if only is not None:
            query = query.where(only)
        for chat_id, word in await conn.execute(query):
            found[chat_id].add(word)
    return {chat_id: frozenset(words) for chat_id, words in found.items()}


async def _sent(conn: AsyncConnection, chats: Sequence[str]) -> dict[str, datetime]:
    t, found = campaign_target, dict[str, datetime]()
    for at in range(0, len(chats), _CHUNK):
        query = sa.select(t.c.chat_id, sa.func.max(t.c.sent_at)).where(
            t.c.chat_id.in_(chats[at : at + _CHUNK]), t.c.sent_at.is_not(None)
        )
        found.update((await conn.execute(query.group_by(t.c.chat_id))).tuples().all())
    return found


def _view(
    row: Any,
    labels: dict[str, frozenset[str]],
    states: dict[str, frozenset[str]],
    sent: dict[str, datetime],
) -> GroupView:
    chat_id = row["chat_id"]
    facts = Facts(
        chat_id,
        row["owner"],
        row["name"],
        row["member_count"],
        row["created_at"],
        row["last_joined_at"],
        row["last_changed_at"],
        labels.get(chat_id, frozenset()),
        states.get(chat_id, frozenset()),
        sent.get(chat_id),
    )
    standing = Standing(
        GroupStatus(row["status"]), row["gone_reason"], row["gone_at"], row["read_at"], row["read_error"]
    )
    return GroupView(
        row["store_id"],
        facts,
        standing,
        row["customer_count"],
        row["read_errcode"],
        row["read_due_at"],
        row["first_seen_at"],
        row["updated_at"],
    )
