"""Old rows leave by and by: small batches, once a minute, never more than a moment of the writer's time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.store import bins, escalations, mobiles
from services.notifier.store.tables import attempt, bin_item, card, delivery, recipient
from shared.clock import Clock
from shared.db import callbacks, dead, idempotency, inbox, limits, outbox
from shared.db.engine import Database
from shared.settings import Limits
from shared.supervise import Turn

EVERY = 60.0
BATCH = 500
OUTBOX_KEPT = timedelta(days=7)
WINDOWS_KEPT = timedelta(days=2)
"""Longer than the longest window, which is a day and up to a sixtieth of one."""
_PAUSE = 0.2
_OPEN = ("pending", "deferred", "sending", "unknown")


class Retention:
    """Deletes what is past its horizon. Deliveries that are still open, or unknown, stay however old they are."""

    def __init__(self, database: Database, clock: Clock, figures: Limits) -> None:
        self._database = database
        self._clock = clock
        self._horizon = figures.dedupe_horizon
        self._past = ""
        """Id up to which the deliveries have been looked at in this round; what is open stays behind it."""

    async def run(self, turn: Turn) -> None:
        """Tidy up until cancelled."""
        while True:
            while await self._database.transact(self.tidy):
                turn()
                await asyncio.sleep(_PAUSE)
            turn()
            await self._rest(turn)

    async def _rest(self, turn: Turn) -> None:
        for _ in range(6):
            await asyncio.sleep(EVERY / 6)
            turn()

    async def tidy(self, conn: AsyncConnection) -> bool:
        """One batch of everything; whether there may be more."""
        # In the order in which others lock: deliveries, their escalations and cards; bins, then rates.
        now = self._clock.now()
        before = now - self._horizon
        await mobiles.purge(conn, now)
        gone = [
            await self._deliveries(conn, before),
            await escalations.purge(conn, before, BATCH),
            await callbacks.purge(conn, now - callbacks.KEPT, BATCH),
            await inbox.purge(conn, before, BATCH),
            await outbox.purge(conn, now - OUTBOX_KEPT, BATCH),
            await dead.purge(conn, before, BATCH),
            await idempotency.purge(conn, now, BATCH),
            await bins.purge(conn, before, BATCH),
            await limits.purge(conn, now - WINDOWS_KEPT, BATCH),
        ]
        return max(gone) >= BATCH

    async def _deliveries(self, conn: AsyncConnection, before: datetime) -> int:
        # Ids sort by creation, so the oldest are at the front of the primary key.
        oldest = (
            sa.select(delivery.c.id, delivery.c.created_at, delivery.c.status)
            .where(delivery.c.id > self._past)
            .order_by(delivery.c.id)
            .limit(BATCH)
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
        self._past = old[-1].id if len(old) == BATCH else ""
        return len(old)
