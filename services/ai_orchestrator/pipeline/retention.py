"""What of runs is past its time, for ``shared.ops.retention``."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store import attempts, runs
from shared.settings import Ai


class OldRuns:
    """Blanks the words of requests, and deletes requests and runs, as *figures* say."""

    def __init__(self, figures: Ai) -> None:
        self._words = figures.words_kept
        self._runs = figures.runs_kept

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """A batch of everything; the most of one kind."""
        return max(
            await attempts.forget_words(conn, now - self._words, limit),
            await attempts.purge(conn, now - self._runs, limit),
            await runs.purge(conn, now - self._runs, limit),
        )
