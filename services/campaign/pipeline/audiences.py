"""The groups of a campaign: those that were frozen, or those that its audience chooses now."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.ports import Groups, Selection
from services.campaign.store import approvals
from services.campaign.store.campaigns import Kept
from shared.values import value_class


@value_class
class Audience:
    """Groups, and whether they are the frozen ones."""

    selection: Selection
    frozen: bool


class Audiences:
    """Finds them."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    async def of(self, conn: AsyncConnection, campaign: Kept, now: datetime) -> Audience:
        """Those of the present version. Raises Invalid where its audience cannot be read."""
        submitted = campaign.status is not Status.DRAFT  # what was rejected is chosen again
        if submitted and await approvals.snapshot(conn, campaign.id, campaign.version) is not None:
            return Audience(await approvals.frozen(conn, campaign.id, campaign.version), frozen=True)
        chosen = await self._groups.select(conn, campaign.store_id, campaign.spec.audience, now)
        return Audience(chosen, frozen=False)
