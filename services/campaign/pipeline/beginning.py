"""How an approved campaign begins: by hand, or by itself at its time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.permitting import recalculated
from services.campaign.pipeline.ports import Start
from services.campaign.store import approvals
from services.campaign.store.campaigns import Kept


class Beginning:
    """Begins campaigns in the caller's transaction, in which the campaign is held and was found permitted."""

    def __init__(self, moving: Moving, start: Start) -> None:
        self._moving = moving
        self._start = start

    async def begin(self, conn: AsyncConnection, campaign: Kept, now: datetime, *, by: str) -> str:
        """Write the live run of its version and let it run; the run's id. A version has one such run, ever."""
        frozen = await approvals.frozen(conn, campaign.id, campaign.version)
        running = await self._moving.move(conn, campaign, Status.RUNNING, now, by=by)
        return await self._start.plan(
            conn,
            running,
            dry=False,
            groups=frozen.included,
            content_hash=await recalculated(conn, campaign),
            by=by,
            now=now,
        )
