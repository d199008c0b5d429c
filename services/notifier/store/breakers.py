"""How credentials stand, as rows: only those that failed since they last worked are looked at in passing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.breaker import HELD
from services.notifier.store.tables import breaker, delivery
from shared.breaker import Breaker
from shared.db.breakers import BreakerRows, breaker_of
from shared.db.queue import DEFERRED, PENDING
from shared.values import value_class

ALERT_DUE, ALERT_SENT, ALERT_UNDELIVERABLE = "due", "sent", "undeliverable"
"""What became of telling somebody about an opening."""
ALERT_OVER = "over"
"""It works again, and those who were told are to hear that as well."""

# As the partial indexes of the queue spell them: a bound value would not find those.
_PENDING: sa.ColumnElement[str] = sa.literal_column(f"'{PENDING}'")
_DEFERRED: sa.ColumnElement[str] = sa.literal_column(f"'{DEFERRED}'")
_DUE = breaker.c.alert.in_([ALERT_DUE, ALERT_OVER])


@value_class
class Row:
    """One credential's breaker as stored."""

    key: str
    breaker: Breaker
    alert: str = ""
    alerted_at: datetime | None = None
    updated_at: datetime | None = None
    updated_by: str = ""


def _row(row: Any) -> Row:
    return Row(row.key, breaker_of(row), row.alert, row.alerted_at, row.updated_at, row.updated_by)


_rows: Final = BreakerRows(breaker, _row, {"alert": ""})
everything = _rows.everything
locked = _rows.locked
write = _rows.write
seize = _rows.seize


async def unclean(conn: AsyncConnection) -> dict[str, Row]:
    """Those that failed since they last worked, or of which somebody is still to be told."""
    return await _rows.some(conn, sa.or_(_rows.unclean, _DUE))


async def release_waiting(conn: AsyncConnection, channels: Collection[str], now: datetime) -> int:
    """Let what waits for a breaker of *channels* be due at once; how many that were."""
    released = await conn.execute(
        sa.update(delivery)
        .where(
            delivery.c.status == _DEFERRED,
            delivery.c.hold_reason == HELD,
            delivery.c.channel.in_(sorted(channels)),
            delivery.c.due_at > now,
        )
        .values(due_at=now)
    )
    return released.rowcount


async def waiting(conn: AsyncConnection, channels: Collection[str]) -> int:
    """How many deliveries of *channels* wait, for whatever reason."""
    theirs = delivery.c.channel.in_(sorted(channels))
    counts = [
        sa.select(sa.func.count()).where(delivery.c.status == status, theirs).scalar_subquery()
        for status in (_PENDING, _DEFERRED)
    ]
    return sum((await conn.execute(sa.select(*counts))).one())


async def alerts_due(conn: AsyncConnection) -> Sequence[Row]:
    """Those of whose opening, or end, somebody is still to be told."""
    return list((await _rows.some(conn, _DUE)).values())


async def note_alert(conn: AsyncConnection, row: Row, became: str, now: datetime) -> bool:
    """Record what became of the alert of that opening; false where it was recorded already."""
    noted = await conn.execute(
        sa.update(breaker)
        .where(
            breaker.c.key == row.key,
            breaker.c.opening == row.breaker.opening,
            breaker.c.alert == row.alert,
        )
        .values(alert=became, alerted_at=now)
    )
    return noted.rowcount == 1
