"""What the gates need from time to time: holds of dead calls are charged, what waits for a breaker that closed is let go,
and figures are shown."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.budget import EVERY_STORE, windows_of
from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.pipeline.gates import SqlGates
from services.ai_orchestrator.pipeline.ports import Waiting
from services.ai_orchestrator.store import breakers, budgets
from services.ai_orchestrator.store.budgets import Spent
from shared.clock import Clock
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

EVERY: Final = 5.0
BATCH: Final = 100
HOLDS_KEPT: Final = timedelta(days=30)
BUDGETS_KEPT: Final = timedelta(days=400)
"""A year to compare with."""

_SERVICE: Final = "ai_orchestrator"
_log = structlog.get_logger("reach.ai_orchestrator.gates")


class Gatekeeping:
    """Every replica does it; rows are locked, so a hold is charged once."""

    def __init__(
        self,
        database: Database,
        gates: SqlGates,
        waiting: Waiting,
        clock: Clock,
        numbers: Metrics,
        zone: ZoneInfo,
    ) -> None:
        self._database = database
        self._gates = gates
        self._waiting = waiting
        self._clock = clock
        self._numbers = numbers
        self._zone = zone
        self._open: frozenset[str] | None = None
        """Breakers that were open in the round before; None before the first."""

    async def run(self, turn: Turn) -> None:
        """Look after the gates until cancelled."""
        while True:
            while await self.expire() == BATCH:
                turn()
            await self.look()
            turn()
            await asyncio.sleep(EVERY)

    async def expire(self) -> int:
        """Charge a batch of holds that nobody settled in time; how many there were."""
        now = self._clock.now()
        return await self._database.transact(partial(self._gates.expire, now=now, limit=BATCH))

    async def look(self) -> None:
        """Let go what waited for breakers that need no waiting any more, and tell instruments how things stand.

        Those that may be probed need none either: a probe that died, or that said nothing, leaves its place.
        """
        now = self._clock.now()
        day, _ = windows_of(now, self._zone)
        key = (EVERY_STORE, day.name)
        async with self._database.read() as conn:
            rows = await breakers.everything(conn)
            spent = (await budgets.spent(conn, [key])).get(key, Spent())
        shut = frozenset(row.key for row in rows if row.breaker.holds and not row.breaker.may_probe(now))
        # In the first round nobody knows what was open before this process.
        if self._open is None or self._open - shut:
            await self._database.transact(
                partial(self._waiting.release, refusal=Refusal.CIRCUIT_OPEN, now=now)
            )
        for row in rows:
            self._numbers.set(metrics.BREAKER_OPEN, int(row.breaker.holds), service=_SERVICE, breaker=row.key)
            if row.key in shut - (self._open or frozenset()):
                _log.error("breaker open", breaker=row.key, reason=row.breaker.reason)
        for kind, tokens in (("used", spent.used), ("reserved", spent.held)):
            self._numbers.set(metrics.BUDGET_TOKENS, tokens, service=_SERVICE, kind=kind)
        self._open = shut

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Delete old holds and windows; how many there were."""
        return await budgets.purge(conn, now - HOLDS_KEPT, now - BUDGETS_KEPT, limit)
