"""The port ``Follow``: tasks that exist are followed, and a run is over when every group of it has its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import DELAYS
from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Made
from services.campaign.store import campaigns, follows, tasks
from services.campaign.store.campaigns import Kept
from shared.db.engine import Database
from shared.db.queue import NORMAL, DueQueue

WAKEUP: Final = "campaign_follows"
"""Given when tasks are to be looked at at once."""

_log = structlog.get_logger("reach.campaign.following")


class Reconciler:
    """See ``ports.Follow``. Every method takes part in the caller's transaction and locks the campaign first."""

    def __init__(self, database: Database, queue: DueQueue, moving: Moving) -> None:
        self._database = database
        self._queue = queue
        self._moving = moving

    async def made(self, conn: AsyncConnection, made: Sequence[Made], now: datetime) -> None:
        """See ``ports.Follow``. A task that was made while its campaign was being cancelled is stopped at once."""
        found: list[dict[str, object]] = []
        for one in made:
            held = await campaigns.get(conn, one.campaign_id)
            stopping = held is not None and held.status is Status.CANCELLED
            wait = timedelta(0) if stopping else DELAYS[0]
            found.append({**_row(one, now), "stopping": stopping, **self._due(one, now, wait)})
        await follows.add(conn, found)
        self._database.wakeups.notify(conn, WAKEUP)

    def _due(self, one: Made, now: datetime, wait: timedelta) -> dict[str, object]:
        due = min(now + wait, max(now, one.confirm_by))
        return {**self._queue.deferred(NORMAL, now, due, "look"), "rank": due}

    async def run_changed(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """See ``ports.Follow``."""
        held = await campaigns.hold(conn, campaign_id)
        if held is None:
            return
        if held.status is Status.CANCELLED:
            await follows.stop(conn, campaign_id, now)
            self._database.wakeups.notify(conn, WAKEUP)
        await self.end_runs(conn, held, now)

    async def end_runs(self, conn: AsyncConnection, held: Kept, now: datetime) -> None:
        """End the runs of *held*, which is locked, of which nothing is open; it is finished with the last."""
        for run in await follows.unfinished_runs(conn, held.id):
            if run.version == held.version and not await tasks.unfinished(conn, run.id):
                held = await self._all_made(conn, held, now)
            if await follows.moving(conn, run.id):
                continue
            await tasks.end_run(conn, run.id, now)
            if held.status is Status.RECONCILING and run.version == held.version:
                held = await self._moving.move(conn, held, Status.FINISHED, now, by="")
            told = {"campaign_id": held.id, "run_id": run.id, "status": held.status.value}
            _log.info("run over", **told)

    async def _all_made(self, conn: AsyncConnection, held: Kept, now: datetime) -> Kept:
        if held.status not in (Status.RUNNING, Status.PAUSED):
            return held
        return await self._moving.move(conn, held, Status.RECONCILING, now, by="")


def _row(one: Made, now: datetime) -> dict[str, object]:
    return {
        "id": one.task_id,
        "run_id": one.run_id,
        "campaign_id": one.campaign_id,
        "store_id": one.store_id,
        "owner": one.owner,
        "msgid": one.msgid,
        "made_at": one.made_at,
        "confirm_by": one.confirm_by,
        "looks": 0,
        "failures": 0,
        "error": "",
        "updated_at": now,
    }
