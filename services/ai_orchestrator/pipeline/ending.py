"""What the end of a step, of time or of patience does to a run; always under the run's lock."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.lifecycle import (
    CANCELLED,
    DEADLINE,
    RunStatus,
    StepStatus,
    releasable,
    run_status,
)
from services.ai_orchestrator.pipeline.ports import Announce, RunEnded
from services.ai_orchestrator.store import runs
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database

STEPS: Final = "ai_steps"
"""Wakes who claims steps."""
STOPPED: Final = "ai_stopped"
"""Wakes who may be asking for a step whose run was ended."""
ENDED: Final = "ai_ended"
"""Wakes who waits for the end of a run."""


class Ending:
    """Lets steps go whose turn it is, and ends runs."""

    def __init__(self, database: Database, clock: Clock, announce: Announce) -> None:
        self._database = database
        self._clock = clock
        self._announce = announce

    async def advance(self, conn: AsyncConnection, run: Run) -> None:
        """Let steps go that await nothing any more, and wake who takes them; end the run where nothing is left."""
        if await self.release(conn, run):
            self._database.wakeups.notify(conn, STEPS)

    async def release(self, conn: AsyncConnection, run: Run, answered: Collection[str] = ()) -> list[str]:
        """The same for a caller who takes steps himself; the ids of those let go.

        *answered*: steps whose answers are there, and only to be settled.
        """
        parts = await runs.open_parts(conn, run.id)
        if not parts:
            await self._end(conn, run, run_status(await runs.ends(conn, run.id)), "")
            return []
        ready = [part.id for part in releasable(parts, run.width, answered)]
        if ready:
            await runs.release(conn, run, ready, self._clock.now())
        return ready

    async def cancel(self, conn: AsyncConnection, run: Run) -> None:
        """End an open run because somebody said so."""
        await self._stop(conn, run, StepStatus.CANCELLED, CANCELLED)
        await self._end(conn, run, RunStatus.CANCELLED, CANCELLED)

    async def expire(self, conn: AsyncConnection, run: Run) -> None:
        """End an open run because its time is over."""
        await self._stop(conn, run, StepStatus.FAILED, DEADLINE)
        await self._end(conn, run, run_status(await runs.ends(conn, run.id)), DEADLINE)

    async def _stop(self, conn: AsyncConnection, run: Run, status: StepStatus, reason: str) -> None:
        await runs.end_open_steps(conn, run.id, status, reason, self._clock.now())
        self._database.wakeups.notify(conn, STOPPED)

    async def _end(self, conn: AsyncConnection, run: Run, status: RunStatus, reason: str) -> None:
        now = self._clock.now()
        error = "" if status is RunStatus.COMPLETED else await runs.first_error(conn, run.id)
        await runs.finish(conn, run.id, status, reason, error, now)
        ended = RunEnded(
            run.id,
            run.store_id,
            run.chain,
            run.event_type,
            run.member_id,
            run.assistant_id,
            status,
            reason,
            error[: runs.ERROR_MOST],
        )
        await self._announce(conn, ended, now)
        self._database.wakeups.notify(conn, ENDED)
