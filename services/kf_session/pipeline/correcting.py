"""What we know of a session, put right by what the platform said of it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import Came
from services.kf_session.domain.window import CREDITS, WINDOW, SessionState
from services.kf_session.store.ledger import SessionKey, Standing
from services.kf_session.store.sessions import whole
from services.kf_session.store.tables import credit, session
from shared.ids import new_id


async def correct(
    conn: AsyncConnection,
    standing: Standing,
    came: Came,
    state: int | None,
    now: datetime,
    said_at: datetime | None = None,
) -> None:
    """Put right what we know of a session by what the platform said, *said_at* by its clock. The caller holds its lock.

    A state is dated as the platform dates its events, in whole seconds: else an event of the same second, or all of
    two hours where our clock is fast, would be taken for older than it.
    """
    at = whole(said_at or now)
    match came:
        case Came.ACCEPTED if standing.state == SessionState.UNTREATED:
            # A reply of ours makes the session the assistant's.
            await change(conn, standing.key, now, state=int(SessionState.ASSISTANT), state_at=at)
        case Came.FULL:
            await _fill(conn, standing, now)
        case Came.CLOSED:
            await _close(conn, standing, now)
        case Came.STATE if state is not None and SessionState(state).ours:
            # The state would allow it, so it is the other thing that the code may mean: too old.
            await _close(conn, standing, now)
        case Came.STATE if state is not None:
            await change(conn, standing.key, now, state=state, state_at=at)


async def _close(conn: AsyncConnection, standing: Standing, now: datetime) -> None:
    if standing.customer_at is not None and standing.customer_at > now - WINDOW:
        await change(conn, standing.key, now, customer_at=now - WINDOW)


async def _fill(conn: AsyncConnection, standing: Standing, now: datetime) -> None:
    """Five are gone by the platform's count: nothing more is free until the customer writes."""
    key, t = standing.key, credit.c
    same = (t.open_kfid == key.open_kfid, t.external_userid == key.external_userid)
    taken = set(await conn.scalars(sa.select(t.slot).where(*same, t.window_no == standing.window_no)))
    long_ago = (standing.customer_at or now) - WINDOW
    for slot in set(range(1, CREDITS + 1)) - taken:
        await conn.execute(
            sa.insert(credit).values(
                open_kfid=key.open_kfid,
                external_userid=key.external_userid,
                window_no=standing.window_no,
                slot=slot,
                push_id=f"platform-{new_id()}",
                reserved_at=now,
                settled_at=now,
                platform_at=long_ago,  # not to be carried into the next window
            )
        )


async def change(conn: AsyncConnection, key: SessionKey, now: datetime, **values: object) -> None:
    """Write *values* into the session's row."""
    t = session.c
    await conn.execute(
        sa.update(session)
        .where(t.open_kfid == key.open_kfid, t.external_userid == key.external_userid)
        .values(**values, updated_at=now)
    )
