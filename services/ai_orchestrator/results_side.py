"""Everything about results, wired: what the assembly takes from this slice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.pipeline.alerting import Alerting
from services.ai_orchestrator.pipeline.keeping import Keeping
from services.ai_orchestrator.pipeline.result_announcing import EndedRun, run_ended
from services.ai_orchestrator.store import alerts, conversations
from services.ai_orchestrator.usecases.clues import Clues
from services.ai_orchestrator.usecases.insights import Insights
from services.ai_orchestrator.usecases.watching import Watching
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database

ALERTS_KEPT: Final = timedelta(days=90)


class ResultsSide:
    """The parts that others hold on to."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self.keeping = Keeping(database)
        """Meets ``ports.Results``."""
        self.alerting = Alerting(database)
        """Meets ``ports.Alerts``."""
        self.insights = Insights(database)
        self.clues = Clues(database, audit, clock)
        self.watching = Watching(database)

    async def announce_run(self, conn: AsyncConnection, ended: EndedRun, now: datetime) -> None:
        """Announce that a run reached its end, in the caller's transaction."""
        await outbox.add(conn, [run_ended(ended, now)])
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Forget a batch of what nobody asks about any more; insights and clues stay until something replaces them."""
        return max(
            await alerts.purge(conn, now - ALERTS_KEPT, limit),
            await conversations.purge(conn, now - conversations.LIFE, limit),
        )
