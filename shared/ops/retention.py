"""Old rows leave by and by: small batches, once a minute, never more than a moment of the writer's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.db import callbacks, dead, idempotency, inbox, limits, outbox
from shared.db.engine import Database
from shared.supervise import Turn

EVERY: Final = 60.0
BATCH: Final = 500
OUTBOX_KEPT: Final = timedelta(days=7)
WINDOWS_KEPT: Final = timedelta(days=2)
"""Longer than the longest window, which is a day and up to a sixtieth of one."""
_PAUSE: Final = 0.2

Purge = Callable[[AsyncConnection, datetime, int], Awaitable[int]]
"""Deletes a batch of what is past its time at an instant; how many rows there were."""


class Retention:
    """Deletes what is past its time of the shared tables of one service, and by *purges* what is the service's own.

    A service's own rows go first: its transactions lock them before the shared ones.
    """

    def __init__(
        self, database: Database, clock: Clock, horizon: timedelta, purges: Sequence[Purge] = ()
    ) -> None:
        """*horizon*: how long a repeat is recognised."""
        self._database = database
        self._clock = clock
        self._horizon = horizon
        self._purges = tuple(purges)

    async def run(self, turn: Turn) -> None:
        """Tidy up until cancelled."""
        while True:
            while await self._database.transact(self.tidy):
                turn()
                await asyncio.sleep(_PAUSE)
            for _ in range(6):
                turn()
                await asyncio.sleep(EVERY / 6)

    async def tidy(self, conn: AsyncConnection) -> bool:
        """One batch of everything; whether there may be more."""
        now = self._clock.now()
        before = now - self._horizon
        gone = [
            *[await purge(conn, now, BATCH) for purge in self._purges],
            await callbacks.purge(conn, now - callbacks.KEPT, BATCH),
            await inbox.purge(conn, before, BATCH),
            await outbox.purge(conn, now - OUTBOX_KEPT, BATCH),
            await dead.purge(conn, before, BATCH),
            await idempotency.purge(conn, now, BATCH),
            await limits.purge(conn, now - WINDOWS_KEPT, BATCH),
        ]
        return max(gone) >= BATCH
