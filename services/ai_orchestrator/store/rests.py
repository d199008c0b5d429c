"""How far DashScope has slowed us, beside the windows of rates, so that every replica rests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.slowing import Slowdown
from shared.db.rows import dialect_of, insert_into
from shared.db.tables import rate_window

_PREFIX: Final = "rest:ai:"
"""Not among the limits that are listed."""


async def slowdowns(conn: AsyncConnection, keys: Sequence[str]) -> list[Slowdown]:
    """How those of *keys* stand that were ever slowed."""
    found = await conn.execute(
        sa.select(rate_window.c.state).where(rate_window.c.key.in_([_PREFIX + key for key in keys]))
    )
    return [_read(state) for state in found.scalars()]


async def locked(conn: AsyncConnection, key: str, now: datetime) -> Slowdown:
    """How one stands; nobody else changes it until the transaction is over."""
    fresh = {"key": _PREFIX + key, "state": {}, "updated_at": now}
    await conn.execute(insert_into(dialect_of(conn), rate_window).values(fresh).on_conflict_do_nothing())
    query = sa.select(rate_window.c.state).where(rate_window.c.key == _PREFIX + key).with_for_update()
    return _read((await conn.execute(query)).scalar_one())


async def write(conn: AsyncConnection, key: str, one: Slowdown, now: datetime) -> None:
    """Store how one stands, under its lock."""
    state = {"strikes": one.strikes, "struck_at": _text(one.struck_at), "until": _text(one.until)}
    # It ages from its end, so that it is not tidied away while it lasts.
    at = max(now, one.until or now)
    await conn.execute(
        sa.update(rate_window).where(rate_window.c.key == _PREFIX + key).values(state=state, updated_at=at)
    )


def _read(state: Any) -> Slowdown:
    return Slowdown(
        int(state.get("strikes", 0)), _instant(state.get("struck_at")), _instant(state.get("until"))
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
