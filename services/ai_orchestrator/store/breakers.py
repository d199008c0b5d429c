"""How the account, the key and each application stand, as rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

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
    updated_by: str


def _row(row: Any) -> Row:
    return Row(row.key, breaker_of(row), row.recent, row.updated_by)


_rows: Final = BreakerRows(breaker, _row, {"recent": ""})
everything = _rows.everything
locked = _rows.locked
seize = _rows.seize


async def of(conn: AsyncConnection, keys: Collection[str]) -> Sequence[Row]:
    """Those of *keys* that ever failed."""
    return list((await _rows.some(conn, breaker.c.key.in_(keys))).values())


async def write(
    conn: AsyncConnection, key: str, value: Breaker, recent: str, now: datetime, *, by: str = ""
) -> None:
    """Store how one stands, under its lock; *by* whose hand."""
    await _rows.write(conn, key, value, now, recent=recent, updated_by=by)
