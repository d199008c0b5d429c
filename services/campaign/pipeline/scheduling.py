"""Campaigns that begin by themselves: at their time, once, or never.

Whoever comes first of any number of replicas locks the campaign, and the move to running, the run and its tasks are one
transaction; who comes second finds it running. What nobody has begun within the grace is missed: it is not sent late.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.permit import PASSING
from services.campaign.pipeline.beginning import Beginning
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.permitting import Permitting
from services.campaign.store import approvals, campaigns
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import ReachError
from shared.supervise import Turn

EVERY: Final = 2.0
"""Seconds between looks; a campaign begins so late at most."""
BATCH: Final = 50
WAKEUP: Final = "schedules"
"""Given when a campaign is scheduled."""
MISSED: Final = "schedule_missed"

_log = structlog.get_logger("reach.campaign.schedule")


class Scheduling:
    """Begins what is due; ``run`` is a loop."""

    def __init__(
        self,
        database: Database,
        moving: Moving,
        permitting: Permitting,
        beginning: Beginning,
        clock: Clock,
        grace: timedelta,
    ) -> None:
        self._database = database
        self._moving = moving
        self._permitting = permitting
        self._beginning = beginning
        self._clock = clock
        self._grace = grace

    async def run(self, turn: Turn) -> None:
        """Begin what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self.begin_due()
            turn()
            await signal.wait(EVERY)

    async def begin_due(self) -> int:
        """All that is due now; how many moved.

        One that is not as it must be, and cannot be begun, keeps none of the others from it.
        """
        moved, last = 0, ""
        while True:
            async with self._database.read() as conn:
                due = await approvals.due(conn, self._clock.now(), last, BATCH)
            for campaign_id in due:
                try:
                    moved += await self._database.transact(partial(self._one, campaign_id=campaign_id))
                except ReachError:
                    raise  # the database is away, for all of them
                except Exception:
                    _log.exception("campaign could not be begun", campaign_id=campaign_id)
            if len(due) < BATCH:
                return moved
            last = due[-1]

    async def _one(self, conn: AsyncConnection, campaign_id: str) -> bool:
        campaign = await campaigns.hold(conn, campaign_id)
        now = self._clock.now()
        if campaign is None or campaign.status is not Status.SCHEDULED:
            return False
        due = campaign.spec.schedule_at
        if due is None or due > now:
            # Its row says otherwise than the version that was approved; the version counts.
            _log.error("schedule differs from the approved one", campaign_id=campaign_id)
            return False
        refused = await self._permitting.consent_refusal(conn, campaign, now)
        if now - due > self._grace:
            reason = refused if refused in PASSING else MISSED
            await self._moving.move(conn, campaign, Status.MISSED, now, by="", reason=reason)
            _log.warning("campaign missed its time", campaign_id=campaign_id, reason=reason)
            return True
        if refused in PASSING:
            return False
        if refused:
            await self._moving.move(conn, campaign, Status.FAILED, now, by="", reason=refused)
            _log.warning("campaign may not begin", campaign_id=campaign_id, reason=refused)
            return True
        await self._beginning.begin(conn, campaign, now, by="")
        return True
