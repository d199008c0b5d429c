"""The lists a customer was shown, and whether they want any more."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.message import Origin
from services.kf_session.domain.push import Purpose
from services.kf_session.store import outgoing
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.outgoing import STARTED
from services.kf_session.store.tables import message, preference, push, push_attempt, push_item
from shared.db.rows import dialect_of, insert_into
from shared.db.types import Instant
from shared.values import value_class


@value_class
class Shown:
    """A list that reached a customer, or may have."""

    push_id: str
    shown_at: datetime
    """When the platform took it; where nobody knows whether it did, the last time it may have."""
    certain: bool
    """Whether it did."""

    details: tuple[tuple[int, str], ...]
    """What 查看 answers with, by number."""

    def at(self, position: int) -> str | None:
        """The details of a line; None where it has no such line."""
        return dict(self.details).get(position)


async def last_shown(conn: AsyncConnection, key: SessionKey) -> list[Shown]:
    """The list that was shown last, whatever has matched since; before it the newest of those that may have been shown
    later still."""
    listed = sa.select(push_item.c.push_id).where(push_item.c.push_id == push.c.id).exists()
    newest = await _newest(conn, key, listed)
    if newest is None or newest.certain:
        return [] if newest is None else [newest]
    sure = await _newest(conn, key, listed & push.c.accepted_at.is_not(None))
    return [newest] if sure is None else [newest, sure]


async def shown_as(conn: AsyncConnection, key: SessionKey, push_id: str) -> Shown | None:
    """That very list, if it was shown to this customer."""
    return await _newest(conn, key, push.c.id == push_id)


async def details_of(conn: AsyncConnection, key: SessionKey, item_id: str) -> str | None:
    """What the newest list that was shown with the item says of it."""
    found = (
        sa.select(push_item.c.details)
        .join(push, push.c.id == push_item.c.push_id)
        .where(*_reached(key), push_item.c.item_id == item_id)
        .order_by(_SHOWN_AT.desc(), push.c.id.desc())
        .limit(1)
    )
    said: str | None = await conn.scalar(found)
    return said


async def is_last_word(conn: AsyncConnection, key: SessionKey, shown: Shown) -> bool:
    """Whether nothing but our answers has been said to the customer since the list."""
    later = sa.select(push.c.id).where(
        *_reached(key), shown.shown_at < _SHOWN_AT, push.c.purpose != Purpose.REPLY.value
    )
    by_hand = sa.select(message.c.msgid).where(
        message.c.open_kfid == key.open_kfid,
        message.c.external_userid == key.external_userid,
        message.c.origin == Origin.SERVICER.value,
        message.c.sent_at > shown.shown_at,
    )
    for one in (later, by_hand):
        if (await conn.execute(one.limit(1))).first() is not None:
            return False
    return True


async def _newest(conn: AsyncConnection, key: SessionKey, which: sa.ColumnElement[bool]) -> Shown | None:
    chosen = (
        sa.select(push.c.id, push.c.accepted_at, _SHOWN_AT.label("shown_at"))
        .where(*_reached(key), which)
        .order_by(_SHOWN_AT.desc(), push.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(chosen)).first()
    if row is None:
        return None
    items = (
        sa.select(push_item.c.position, push_item.c.details)
        .where(push_item.c.push_id == row.id)
        .order_by(push_item.c.position)
    )
    lines = tuple((await conn.execute(items)).tuples())
    return Shown(row.id, row.shown_at, row.accepted_at is not None, lines)


_UNCLEAR = (push_attempt.c.push_id == push.c.id) & push_attempt.c.state.in_(
    (STARTED, PushStatus.UNKNOWN.value)
)
"""A try of the push that may have arrived."""

_SHOWN_AT = sa.func.coalesce(
    push.c.accepted_at,
    sa.select(sa.func.max(push_attempt.c.started_at)).where(_UNCLEAR).scalar_subquery(),
    push.c.updated_at,
    type_=Instant(),
)


def _reached(key: SessionKey) -> tuple[sa.ColumnElement[bool], ...]:
    """Pushes that the customer has seen, or may have: the platform took them, or nobody knows that it did not."""
    waits = push.c.status.in_([one.value for one in PushStatus if one.open])
    in_doubt = sa.or_(push.c.status == PushStatus.UNKNOWN.value, waits & sa.exists().where(_UNCLEAR))
    return (
        push.c.open_kfid == key.open_kfid,
        push.c.external_userid == key.external_userid,
        sa.or_(push.c.accepted_at.is_not(None), in_doubt),
        push.c.fail_type.is_(None),
        push.c.merged_into.is_(None),
    )


async def unsubscribe(conn: AsyncConnection, store_id: str, external_userid: str, now: datetime) -> None:
    """Nothing that they did not ask for goes to this customer from now on; what is held comes before the gates at once.

    It is not ended here: one may hold a credit, or have arrived, and the gates know what becomes of that. None passes
    any more, since they ask for the wish under the lock of the session, which this transaction holds.
    """
    await _prefer(conn, store_id, external_userid, now, now)
    await outgoing.look_again(conn, store_id, external_userid, now)


async def subscribe(conn: AsyncConnection, store_id: str, external_userid: str, now: datetime) -> None:
    """Offers again."""
    await _prefer(conn, store_id, external_userid, None, now)


async def _prefer(
    conn: AsyncConnection, store_id: str, external_userid: str, off_at: datetime | None, now: datetime
) -> None:
    values = {"unsubscribed_at": off_at, "updated_at": now, "updated_by": "customer"}
    insert = insert_into(dialect_of(conn), preference).values(
        store_id=store_id, external_userid=external_userid, spec={}, **values
    )
    await conn.execute(
        insert.on_conflict_do_update(index_elements=["store_id", "external_userid"], set_=values)
    )
