"""Old rows leave by and by: small batches, once a minute, never more than a moment of the writer's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import LONGEST_PERIOD
from services.kf_session.store import accounts, aging, sessions
from shared.clock import Clock
from shared.db import callbacks, dead, idempotency, inbox, outbox
from shared.db.engine import Database
from shared.settings import Limits
from shared.supervise import Turn

EVERY: Final = 60.0
BATCH: Final = 500
OUTBOX_KEPT: Final = timedelta(days=7)
BELLS_KEPT: Final = timedelta(days=3)
"""The platform keeps no message longer."""
CODES_KEPT: Final = timedelta(days=7)
"""After they ran out, for who asks why nothing went by them."""
MESSAGES_KEPT: Final = timedelta(days=30)
HISTORY_KEPT: Final = LONGEST_PERIOD + timedelta(days=7)
"""Sessions, matches, intents and experiments that are over: figures may be asked for so long."""
_PAUSE = 0.2

Purge = Callable[[AsyncConnection, datetime, int], Awaitable[int]]
"""Deletes a batch of what is past its time at an instant; how many rows there were."""


class Retention:
    """Deletes what is past its horizon; *more* are the purges of others."""

    def __init__(self, database: Database, clock: Clock, figures: Limits, more: Sequence[Purge] = ()) -> None:
        self._database = database
        self._clock = clock
        self._horizon = figures.dedupe_horizon
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
        before, over = now - self._horizon, now - max(HISTORY_KEPT, self._horizon)
        gone = [
            # Sessions before what belongs to them, as by all.
            await aging.purge_sessions(conn, over, BATCH),
            await aging.empty_intents(conn, over, BATCH),
            await aging.purge_matches(conn, over, BATCH),
            await aging.purge_experiments(conn, over, BATCH),
            await callbacks.purge(conn, now - callbacks.KEPT, BATCH),
            await accounts.purge_bells(conn, now - BELLS_KEPT, BATCH),
            await sessions.purge_messages(conn, now - max(MESSAGES_KEPT, self._horizon), BATCH),
            await sessions.purge_codes(conn, now - CODES_KEPT, BATCH),
            await inbox.purge(conn, before, BATCH),
            await outbox.purge(conn, now - OUTBOX_KEPT, BATCH),
            await dead.purge(conn, before, BATCH),
            await idempotency.purge(conn, now, BATCH),
            *[await purge(conn, now, BATCH) for purge in self._more],
        ]
        return max(gone) >= BATCH
