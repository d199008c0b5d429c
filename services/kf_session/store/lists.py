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
from services.kf_session.store.tables import message, preference, push, push_item
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class


@value_class
class Shown:
    """A list that reached a customer."""

    push_id: str
    shown_at: datetime | None
    """None: the platform's answer was lost."""

    details: tuple[tuple[int, str], ...]
    """What 查看 answers with, by number."""

    def at(self, position: int) -> str | None:
        """The details of a line; None where it has no such line."""
        return dict(self.details).get(position)


async def last_shown(conn: AsyncConnection, key: SessionKey) -> Shown | None:
    """The list that was shown last, whatever has matched since; None where there was none."""
    listed = sa.select(push_item.c.push_id).where(push_item.c.push_id == push.c.id).exists()
    return await _newest(conn, key, listed)


async def shown_as(conn: AsyncConnection, key: SessionKey, push_id: str) -> Shown | None:
    """That very list, if it was shown to this customer."""
    return await _newest(conn, key, push.c.id == push_id, tapped=True)


async def details_of(conn: AsyncConnection, key: SessionKey, item_id: str) -> str | None:
    """What the newest list that was shown with the item says of it."""
    found = (
        sa.select(push_item.c.details)
        .join(push, push.c.id == push_item.c.push_id)
        .where(*_reached(key, tapped=True), push_item.c.item_id == item_id)
        .order_by(push.c.accepted_at.desc(), push.c.id.desc())
        .limit(1)
    )
    said: str | None = await conn.scalar(found)
    return said


async def is_last_word(conn: AsyncConnection, key: SessionKey, shown: Shown) -> bool:
    """Whether nothing but our answers has been said to the customer since the list."""
    later = sa.select(push.c.id).where(
        *_reached(key), push.c.accepted_at > shown.shown_at, push.c.purpose != Purpose.REPLY.value
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


async def _newest(
    conn: AsyncConnection, key: SessionKey, which: sa.ColumnElement[bool], *, tapped: bool = False
) -> Shown | None:
    chosen = (
        sa.select(push.c.id, push.c.accepted_at)
        .where(*_reached(key, tapped=tapped), which)
        .order_by(push.c.accepted_at.desc(), push.c.id.desc())
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
    return Shown(row.id, row.accepted_at, tuple((await conn.execute(items)).tuples()))


def _reached(key: SessionKey, *, tapped: bool = False) -> tuple[sa.ColumnElement[bool], ...]:
    """Pushes that the platform took and did not hand back; who *tapped* one has it, though we never learned of it."""
    taken = push.c.accepted_at.is_not(None)
    return (
        push.c.open_kfid == key.open_kfid,
        push.c.external_userid == key.external_userid,
        sa.or_(taken, push.c.status == PushStatus.UNKNOWN.value) if tapped else taken,
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
