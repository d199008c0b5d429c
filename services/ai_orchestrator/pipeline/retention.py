"""Old rows leave by and by: small batches, once a minute, never more than a moment of the writer's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store import attempts, runs
from shared.clock import Clock
from shared.db import dead, idempotency, inbox, outbox
from shared.db.engine import Database
from shared.settings import Settings
from shared.supervise import Turn

EVERY: Final = 60.0
BATCH: Final = 500
OUTBOX_KEPT: Final = timedelta(days=7)
_PAUSE: Final = 0.2

Purge = Callable[[AsyncConnection, datetime, int], Awaitable[int]]
"""Deletes a batch of what is past its time at an instant; how many rows there were."""


class Retention:
    """Deletes what is past its horizon; *more* are the purges of others."""

    def __init__(
        self, database: Database, clock: Clock, settings: Settings, more: Sequence[Purge] = ()
    ) -> None:
        self._database = database
        self._clock = clock
        self._horizon = settings.limits.dedupe_horizon
        self._words = settings.ai.words_kept
        self._runs = settings.ai.runs_kept
        self._more = tuple(more)

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
            await attempts.forget_words(conn, now - self._words, BATCH),
            await attempts.purge(conn, now - self._runs, BATCH),
            await runs.purge(conn, now - self._runs, BATCH),
            await inbox.purge(conn, before, BATCH),
            await outbox.purge(conn, now - OUTBOX_KEPT, BATCH),
            await dead.purge(conn, before, BATCH),
            await idempotency.purge(conn, now, BATCH),
            *[await purge(conn, now, BATCH) for purge in self._more],
        ]
        return max(gone) >= BATCH
