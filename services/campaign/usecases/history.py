"""All that happened to a campaign, in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.campaign.pipeline.holding import looked_at
from services.campaign.store import approvals, campaigns
from services.campaign.store.approvals import Approval
from services.campaign.store.campaigns import Edit, Move
from shared.db.engine import Database
from shared.values import value_class


@value_class
class Happened:
    """One thing."""

    at: datetime
    version: int
    subject: str
    """'' is the service itself."""
    what: Edit | Approval | Move


class History:
    """See ListCampaignHistory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, campaign_id: str) -> Sequence[Happened]:
        """The first first; what happened at one instant in the order of cause and effect. Raises NotFound."""
        async with self._database.read() as conn:
            campaign = await looked_at(conn, campaign_id)
            wrote = await campaigns.edits(conn, campaign.id)
            decided = await approvals.decisions(conn, campaign.id)
            moved = await campaigns.moves(conn, campaign.id)
        found = [Happened(one.created_at, one.version, one.editor, one) for one in wrote]
        found += [Happened(one.decided_at, one.version, one.approver, one) for one in decided]
        found += [Happened(one.at, one.version, one.by, one) for one in moved]
        # Sorting is stable: what was decided stands before the move that it led to.
        return sorted(found, key=lambda one: one.at)
