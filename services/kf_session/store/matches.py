"""Matches: one row for each pair of an intent and a profile, and whether its customer was told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.push import Purpose
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import push, push_item, session
from shared.db.queue import DEFERRED, PENDING
from shared.db.rows import dialect_of, insert_into
from shared.ids import new_id
from shared.values import value_class

OWN: Final = "own"
EVENT: Final = "event"

Pair = tuple[str, str]
"""(intent_id, profile_id)."""


@value_class
class Match:
    """One match as it is stored."""

    id: str
    store_id: str
    intent_id: str
    profile_id: str
    source: str
    external_id: str | None
    intent_name: str
    profile_name: str
    score: float
    ai_score: float | None
    conditions: tuple[str, ...]
    explanation: str
    profile_fingerprint: str
    intent_version: int
    open_kfid: str
    external_userid: str
    expires_at: datetime | None
    pushed_fingerprint: str | None = None
    push_id: str | None = None
    unpushed_reason: str | None = None
    withdrawn_at: datetime | None = None
    created_at: datetime | None = None
    """None of one that is not stored yet."""
    ai_reason: str = ""
    """What `ai_score` is based on."""

    @property
    def told(self) -> bool:
        """Whether the customer was told of the profile as it is."""
        return self.pushed_fingerprint == self.profile_fingerprint


async def known(
    conn: AsyncConnection, store_id: str, pairs: Sequence[Pair], *, hold: bool = True
) -> dict[Pair, Match]:
    """The rows of *pairs* that are there; held until the transaction ends, unless it only reads."""
    if not pairs:
        return {}
    intents, profiles = ({one[0] for one in pairs}, {one[1] for one in pairs})
    found = (
        sa.select(match)
        .where(
            match.c.store_id == store_id,
            match.c.intent_id.in_(sorted(intents)),
            match.c.profile_id.in_(sorted(profiles)),
        )
        .order_by(match.c.id)
    )
    if hold:
        found = found.with_for_update()
    rows = [_match(row) for row in await conn.execute(found)]
    wanted = set(pairs)
    return {(one.intent_id, one.profile_id): one for one in rows if (one.intent_id, one.profile_id) in wanted}


async def save(conn: AsyncConnection, given: Match, now: datetime) -> Match:
    """Insert it, or write it over the pair's row, whose id and history it then has."""
    values = _values(given)
    insert = insert_into(dialect_of(conn), match).values(
        id=given.id or new_id(),
        store_id=given.store_id,
        intent_id=given.intent_id,
        profile_id=given.profile_id,
        created_at=now,
        updated_at=now,
        **values,
    )
    # What one customer was told is news to another, whose intent it is from now on.
    same = match.c.external_userid == given.external_userid
    told = {
        "pushed_fingerprint": sa.case((same, match.c.pushed_fingerprint), else_=None),
        "push_id": sa.case((same, match.c.push_id), else_=None),
    }
    statement = insert.on_conflict_do_update(
        index_elements=["store_id", "intent_id", "profile_id"],
        set_={**values, **told, "withdrawn_at": None, "updated_at": now},
    ).returning(match)
    return _match((await conn.execute(statement)).one())


def _values(given: Match) -> dict[str, Any]:
    return {
        "source": given.source,
        "external_id": given.external_id,
        "intent_name": given.intent_name,
        "profile_name": given.profile_name,
        "score": given.score,
        "conditions": list(given.conditions),
        "explanation": given.explanation,
        "profile_fingerprint": given.profile_fingerprint,
        "intent_version": given.intent_version,
        "open_kfid": given.open_kfid,
        "external_userid": given.external_userid,
        "expires_at": given.expires_at,
    }


async def withdraw(conn: AsyncConnection, ids: Sequence[str], now: datetime) -> None:
    """They are none any more; the rows stay, and with them what was told."""
    await conn.execute(sa.update(match).where(match.c.id.in_(ids)).values(withdrawn_at=now, updated_at=now))


async def end(
    conn: AsyncConnection, store_id: str, now: datetime, *, intent_id: str = "", profile_id: str = ""
) -> bool:
    """What matched an intent, or a profile, is none any more. Pushes that wait to tell of it are due at once, so that
    the gates end them; whether there were any.

    Pushes before matches, as by all who change both.
    """
    of = match.c.intent_id == intent_id if intent_id else match.c.profile_id == profile_id
    live = (match.c.store_id == store_id, of, match.c.withdrawn_at.is_(None))
    listed = sa.select(push_item.c.push_id).join(match, match.c.id == push_item.c.item_id).where(*live)
    woken = await conn.execute(
        sa.update(push)
        .where(push.c.id.in_(listed), push.c.purpose == Purpose.MATCH.value, push.c.status == DEFERRED)
        .values(status=PENDING, due_at=now, hold_reason=None, updated_at=now)
    )
    await conn.execute(sa.update(match).where(*live).values(withdrawn_at=now, updated_at=now))
    return bool(woken.rowcount)


async def pushed(conn: AsyncConnection, one: Match, push_id: str, now: datetime) -> None:
    """Its customer is told of the profile as it is."""
    values = {
        "pushed_fingerprint": one.profile_fingerprint,
        "push_id": push_id,
        "unpushed_reason": None,
        "updated_at": now,
    }
    await conn.execute(sa.update(match).where(match.c.id == one.id).values(**values))


async def judged(conn: AsyncConnection, match_id: str, score: float | None, reason: str) -> None:
    """A model's opinion stands beside the score, or (None) none does any more."""
    values = {"ai_score": score, "ai_reason": reason}
    await conn.execute(sa.update(match).where(match.c.id == match_id).values(values))


async def hold(conn: AsyncConnection, match_id: str) -> Match | None:
    """One match, which nobody else changes until the transaction ends."""
    row = (await conn.execute(sa.select(match).where(match.c.id == match_id).with_for_update())).first()
    return None if row is None else _match(row)


async def not_pushed(conn: AsyncConnection, one: Match, reason: str, now: datetime) -> None:
    """Nobody is told, and why."""
    values = {"unpushed_reason": reason, "updated_at": now}
    await conn.execute(sa.update(match).where(match.c.id == one.id).values(**values))


async def of_intent(conn: AsyncConnection, store_id: str, intent_id: str, limit: int) -> list[Match]:
    """The matches of an intent that stand, the best first."""
    return await _best(conn, limit, match.c.store_id == store_id, match.c.intent_id == intent_id)


async def untold(
    conn: AsyncConnection,
    store_id: str,
    limit: int,
    now: datetime,
    *,
    intent_id: str = "",
    customer: str = "",
    unsent_at: str = "",
) -> list[Match]:
    """The best that stand and that their customer was not told of as they are; of an intent, or of a customer.

    With *unsent_at* only those that were to be pushed and could not be, and that this account may tell of.
    """
    where = [
        match.c.store_id == store_id,
        match.c.pushed_fingerprint.is_distinct_from(match.c.profile_fingerprint),
        sa.or_(match.c.expires_at.is_(None), match.c.expires_at > now),
    ]
    if intent_id:
        where.append(match.c.intent_id == intent_id)
    if customer:
        where.append(match.c.external_userid == customer)
    if unsent_at:
        where += [match.c.unpushed_reason.is_not(None), match.c.open_kfid.in_(("", unsent_at))]
    return await _best(conn, limit, *where)


async def _best(conn: AsyncConnection, limit: int, *where: sa.ColumnElement[bool]) -> list[Match]:
    found = (
        sa.select(match)
        .where(*where, match.c.withdrawn_at.is_(None))
        .order_by(match.c.score.desc(), match.c.id)
        .limit(limit)
    )
    return [_match(row) for row in await conn.execute(found)]


async def get(conn: AsyncConnection, ids: Sequence[str]) -> list[Match]:
    """Those matches, whatever became of them, in the order of *ids*."""
    found = {row.id: _match(row) for row in await conn.execute(sa.select(match).where(match.c.id.in_(ids)))}
    return [found[one] for one in ids if one in found]


async def void(conn: AsyncConnection, push_ids: Collection[str]) -> frozenset[str]:
    """Those of the pushes that list nothing but matches which are none any more, or another customer's by now."""
    gone = sa.or_(match.c.withdrawn_at.is_not(None), match.c.external_userid != push.c.external_userid)
    found = (
        sa.select(push.c.id)
        .join(push_item, push_item.c.push_id == push.c.id)
        .join(match, match.c.id == push_item.c.item_id)
        .where(push.c.id.in_(push_ids))
        .group_by(push.c.id)
        .having(sa.func.sum(sa.case((gone, 0), else_=1)) == 0)
    )
    return frozenset(await conn.scalars(found))


async def by_external_id(conn: AsyncConnection, store_id: str, external_id: str) -> Match | None:
    """The match that an event told of under that id."""
    found = sa.select(match).where(match.c.store_id == store_id, match.c.external_id == external_id)
    row = (await conn.execute(found)).first()
    return None if row is None else _match(row)


async def session_of(
    conn: AsyncConnection, store_id: str, open_kfid: str, external_userid: str
) -> SessionKey | None:
    """Where a customer can be told: at that account, or (empty) where they wrote last; None: nowhere."""
    found = (
        sa.select(session.c.open_kfid)
        .where(session.c.store_id == store_id, session.c.external_userid == external_userid)
        .order_by(session.c.customer_at.desc().nulls_last(), session.c.open_kfid)
        .limit(1)
    )
    if open_kfid:
        found = found.where(session.c.open_kfid == open_kfid)
    account = await conn.scalar(found)
    return None if account is None else SessionKey(account, external_userid)


def _match(row: Any) -> Match:
    names: Mapping[str, Any] = row._mapping
    values = {key: names[key] for key in Match.__dataclass_fields__}
    return Match(**(values | {"conditions": tuple(values["conditions"])}))
