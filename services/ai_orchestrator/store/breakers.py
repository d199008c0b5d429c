"""How the account, the key and each application stand, as rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.slowing import Slowdown
from services.ai_orchestrator.store.gate_tables import breaker
from shared.breaker import Breaker
from shared.db.breakers import BreakerRows, breaker_of
from shared.values import value_class


@value_class
class Row:
    """One breaker as stored."""

    key: str
    breaker: Breaker
    recent: str
    """How the last ten calls ended; see ``domain.breaking``."""
    slowdown: Slowdown
    updated_by: str


def _row(row: Any) -> Row:
    slowdown = Slowdown(row.strikes, row.struck_at, row.rests_until)
    return Row(row.key, breaker_of(row), row.recent, slowdown, row.updated_by)


_rows: Final = BreakerRows(breaker, _row, {"recent": "", "strikes": 0})
everything = _rows.everything
locked = _rows.locked
seize = _rows.seize
_SOME: Final = sa.select(breaker).where(breaker.c.key.in_(sa.bindparam("keys", expanding=True)))


async def of(conn: AsyncConnection, keys: Collection[str]) -> Mapping[str, Row]:
    """Those of *keys* that ever failed or were slowed."""
    found = await conn.execute(_SOME, {"keys": sorted(keys)})
    return {row.key: _row(row) for row in found}


async def write(conn: AsyncConnection, row: Row, now: datetime) -> None:
    """Store how one stands, under its lock."""
    await _rows.write(
        conn,
        row.key,
        row.breaker,
        now,
        recent=row.recent,
        strikes=row.slowdown.strikes,
        struck_at=row.slowdown.struck_at,
        rests_until=row.slowdown.until,
        updated_by=row.updated_by,
    )
