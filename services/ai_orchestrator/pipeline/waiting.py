"""The steps that a gate has put off, for the gates' desk."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.pipeline.ending import STEPS
from services.ai_orchestrator.store import runs
from shared.db.engine import Database


class WaitingSteps:
    """Counts them, and lets them go when somebody has opened the gate by hand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, conn: AsyncConnection, refusal: Refusal) -> int:
        """How many wait for that gate."""
        return await runs.waiting_for(conn, refusal.value)

    async def release(self, conn: AsyncConnection, refusal: Refusal, now: datetime) -> None:
        """Let those that wait for that gate be due at once."""
        await runs.due_now(conn, refusal.value, now)
        self._database.wakeups.notify(conn, STEPS)
