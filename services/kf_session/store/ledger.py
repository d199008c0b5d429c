"""The allowance: at most five messages in the 48 hours after each message of the customer (I16).

A credit is a row whose key is (session, window, slot) and whose slot is one of five, so that no race can make a
sixth. It is reserved before a request leaves. A call that certainly did not happen gives it back; one that may have
happened keeps it for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.window import CREDITS
from services.kf_session.store.tables import credit, session
from shared.db.types import Instant
from shared.values import value_class

_TOLD: Final = timedelta(seconds=1)
"""The platform tells its own time in whole seconds."""

_LANDED: Final = timedelta(minutes=1)
"""Within which a call of unknown outcome has been taken, if it was."""


@value_class
class SessionKey:
    """One customer at one account."""

    open_kfid: str
    external_userid: str


@value_class
class Standing:
    """What a session's row says, read under its lock."""

    key: SessionKey
    store_id: str
    state: int
    servicer_userid: str
    customer_at: datetime | None
    window_no: int
    blocked_at: datetime | None
    used: int
    """Credits of the present window that are reserved or spent."""

    @property
    def left(self) -> int:
        """Credits of the present window that are free."""
        return CREDITS - self.used


@value_class
class Taken:
    """A credit that a push holds."""

    platform_at: datetime | None
    """When the platform took the push, by its clock; None where nobody knows."""


async def lock(conn: AsyncConnection, key: SessionKey) -> Standing | None:
    """The session, which nobody else changes until the transaction ends; None where the customer is unknown.

    Several are locked in the order of their keys, by all.
    """
    found = (await conn.execute(sa.select(session).where(*_is(session, key)).with_for_update())).first()
    if found is None:
        return None
    used = await conn.scalar(
        sa.select(sa.func.count())
        .select_from(credit)
        .where(*_is(credit, key), credit.c.window_no == found.window_no)
    )
    return Standing(
        key,
        found.store_id,
        found.state,
        found.servicer_userid,
        found.customer_at,
        found.window_no,
        found.blocked_at,
        int(used or 0),
    )


async def lock_all(conn: AsyncConnection, store_id: str, external_userid: str) -> list[SessionKey]:
    """Lock every session of a customer in a store, in the order of their keys, until the transaction ends."""
    t = session.c
    mine = sa.select(t.open_kfid).where(t.store_id == store_id, t.external_userid == external_userid)
    keys = [SessionKey(one, external_userid) for one in sorted(await conn.scalars(mine))]
    for key in keys:
        await lock(conn, key)
    return keys


async def open_window(
    conn: AsyncConnection, standing: Standing, msgid: str, wrote_at: datetime, now: datetime
) -> bool:
    """A customer wrote at *wrote_at*, by the platform's clock: five credits again, less what may have reached the
    platform after that message, which counts it in the new window.

    A message older than the last one that is known opens nothing. Whether it opened a window.
    """
    if standing.customer_at is not None and wrote_at < standing.customer_at:
        return False
    key, window_no = standing.key, standing.window_no + 1
    t = credit.c
    # Both instants are the platform's: our clock may be wrong, or may have jumped. What has none may have been taken
    # at any time since, and is taken along; once, and then for as long as a lost request may still arrive.
    nobody_knows = t.platform_at.is_(None) & sa.or_(t.carried_at.is_(None), t.carried_at > now - _LANDED)
    after_it = sa.or_(t.settled_at.is_(None), t.platform_at >= wrote_at - _TOLD, nobody_knows)
    await conn.execute(
        sa.update(credit)
        .where(*_is(credit, key), t.window_no == standing.window_no, after_it)
        .values(window_no=window_no, carried_at=sa.func.coalesce(t.carried_at, sa.literal(now, Instant())))
    )
    await conn.execute(sa.delete(credit).where(*_is(credit, key), credit.c.window_no < window_no))
    await conn.execute(
        sa.update(session)
        .where(*_is(session, key))
        .values(customer_at=wrote_at, customer_msgid=msgid, window_no=window_no, blocked_at=None)
    )
    return True


async def reserve(conn: AsyncConnection, standing: Standing, push_id: str, now: datetime) -> int | None:
    """The slot that *push_id* has from now on, the one it had if it has one; None when all five are taken."""
    taken: dict[int, str] = dict(
        (
            await conn.execute(
                sa.select(credit.c.slot, credit.c.push_id).where(
                    *_is(credit, standing.key), credit.c.window_no == standing.window_no
                )
            )
        )
        .tuples()
        .all()
    )
    for slot, holder in taken.items():
        if holder == push_id:
            return slot
    free = next((slot for slot in range(1, CREDITS + 1) if slot not in taken), None)
    if free is None:
        return None
    # A credit it kept of an earlier window (an attempt whose outcome nobody knows) is this one's now.
    await conn.execute(sa.delete(credit).where(credit.c.push_id == push_id))
    await conn.execute(
        sa.insert(credit).values(
            open_kfid=standing.key.open_kfid,
            external_userid=standing.key.external_userid,
            window_no=standing.window_no,
            slot=free,
            push_id=push_id,
            reserved_at=now,
        )
    )
    return free


async def spend(conn: AsyncConnection, taken: Mapping[str, datetime | None], now: datetime) -> None:
    """The calls of these pushes happened, or will never be known not to have: *taken* is when the platform took each,
    by its own clock, or None where nobody knows."""
    for push_id, platform_at in sorted(taken.items()):
        values = {"settled_at": now, "platform_at": platform_at}
        await conn.execute(sa.update(credit).where(credit.c.push_id == push_id).values(values))


async def taken_at(conn: AsyncConnection, push_id: str) -> Taken | None:
    """When the platform took a push; None where it holds no credit (any more)."""
    found = (await conn.execute(sa.select(credit.c.platform_at).where(credit.c.push_id == push_id))).first()
    return None if found is None else Taken(found.platform_at)


async def give_back(conn: AsyncConnection, push_ids: Sequence[str]) -> None:
    """The calls certainly did not happen."""
    await conn.execute(sa.delete(credit).where(credit.c.push_id.in_(push_ids)))


def _is(table: sa.Table, key: SessionKey) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.open_kfid == key.open_kfid, table.c.external_userid == key.external_userid
