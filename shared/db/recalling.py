"""What a clock that has gone back since would keep waiting: brought back to what the clock of today allows.

Every instant in a queue's row was the clock's own, plus a wait. One that lies further ahead than any wait could reach
was written by a clock that was wrong, and until the clock is there again nobody would look.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.queue import DEFERRED, PENDING

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By so much at most the clocks of replicas do; by more, one was wrong."""


async def recall(
    conn: AsyncConnection, table: sa.Table, running: str, now: datetime, lease: timedelta, **values: Any
) -> int:
    """Make due in *table*, a queue with ``updated_at``, what was put to rest later than now; how many there were.

    Leases that end later than one given now are cut to that: whoever holds one has as long as ever, and whoever is
    gone is followed. *values* are written into what is due.
    """
    t = table.c
    wrong = now + CLOCKS_DIFFER
    late = sa.update(table).where(t.status == running, t.lease_until > wrong + lease)
    await conn.execute(late.values(lease_until=now + lease))
    resting = sa.update(table).where(t.status == DEFERRED, t.due_at > now, t.updated_at > wrong)
    due = {"status": PENDING, "due_at": now, "hold_reason": None, "updated_at": now, **values}
    return (await conn.execute(resting.values(**due))).rowcount
