"""What of the notifier's own is past its time, for ``shared.ops.retention``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.store import bins, escalations, mobiles
from services.notifier.store.tables import attempt, bin_item, card, delivery, recipient

_OPEN: Final = ("pending", "deferred", "sending", "unknown")


class OldRows:
    """Deletes what is past *horizon*. Deliveries that are still open, or unknown, stay however old they are."""

    def __init__(self, horizon: timedelta) -> None:
        self._horizon = horizon
        self._past = ""
        """Id up to which the deliveries have been looked at in this round; what is open stays behind it."""

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """A batch of everything; the most of one kind."""
        # In the order in which others lock: deliveries, their escalations and cards; then bins, and rates behind them.
        before = now - self._horizon
        await mobiles.purge(conn, now)
        return max(
            await self._deliveries(conn, before, limit),
            await escalations.purge(conn, before, limit),
            await bins.purge(conn, before, limit),
        )

    async def _deliveries(self, conn: AsyncConnection, before: datetime, limit: int) -> int:
        # Ids sort by creation, so the oldest are at the front of the primary key.
        oldest = (
            sa.select(delivery.c.id, delivery.c.created_at, delivery.c.status)
            .where(delivery.c.id > self._past)
            .order_by(delivery.c.id)
            .limit(limit)
        )
        found = (await conn.execute(oldest)).all()
        old = [row for row in found if row.created_at < before]
        ids = [row.id for row in old if row.status not in _OPEN]
        if ids:
            await conn.execute(sa.delete(delivery).where(delivery.c.id.in_(ids)))
            await conn.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(ids)))
            await conn.execute(sa.delete(bin_item).where(bin_item.c.delivery_id.in_(ids)))
            await conn.execute(sa.delete(card).where(card.c.id.in_(ids)))
            await conn.execute(sa.delete(recipient).where(recipient.c.delivery_id.in_(ids)))
        self._past = old[-1].id if len(old) == limit else ""
        return len(old)
