"""What a campaign would do, and what is still in its way; nothing is done and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.campaign.domain import permit
from services.campaign.domain.forecast import Forecast, forecast
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import next_open
from services.campaign.pipeline.audiences import Audience, Audiences
from services.campaign.pipeline.holding import looked_at
from services.campaign.pipeline.permitting import Permitting
from services.campaign.pipeline.ports import Caps, Hit
from services.campaign.store import approvals
from services.campaign.store.approvals import Approval
from services.campaign.store.campaigns import Kept
from shared.clock import Clock
from shared.db.engine import Database
from shared.values import value_class

NOT_RUN: Final = "not_run"


@value_class
class Preview:
    """What it would do."""

    campaign: Kept
    audience: Audience
    content_hash: str
    """What an approval would bind; '' where the groups are not frozen."""
    owners: Mapping[str, int]
    """Groups of each."""
    plan: Forecast
    hits: Sequence[Hit]
    full: Mapping[str, str]
    """Groups without room, and the limit."""
    missing: Sequence[str]
    approval: Approval | None


class Previewing:
    """See PreviewCampaign."""

    def __init__(
        self,
        database: Database,
        permitting: Permitting,
        audiences: Audiences,
        caps: Caps,
        clock: Clock,
        *,
        qps: int,
    ) -> None:
        """*qps* is how many tasks a second may be made."""
        self._database = database
        self._permitting = permitting
        self._audiences = audiences
        self._caps = caps
        self._clock = clock
        self._qps = qps

    async def preview(self, campaign_id: str) -> Preview:
        """Raises NotFound, and Invalid where its audience cannot be read."""
        async with self._database.read() as conn:
            now = self._clock.now()
            campaign = await looked_at(conn, campaign_id)
            audience = await self._audiences.of(conn, campaign, now)
            facts = await self._permitting.facts(conn, campaign)
            hits = await self._permitting.hits(conn, campaign)
            begins = max(now, campaign.spec.schedule_at or now)
            opens = next_open(campaign.spec.window, begins)
            chats = [group.chat_id for group in audience.selection.included]
            full = await self._caps.full(conn, campaign.store_id, chats, opens or begins)
            decided = await approvals.latest(conn, campaign.id, campaign.version)
        owners = Counter(group.owner for group in audience.selection.included)
        return Preview(
            campaign=campaign,
            audience=audience,
            content_hash=facts.content_hash if audience.frozen else "",
            owners=owners,
            plan=forecast(campaign.spec.window, begins, owners, campaign.spec.canary, self._qps),
            hits=hits,
            full=full,
            missing=_missing(campaign, audience, facts, opens, now),
            approval=decided,
        )


def _missing(
    campaign: Kept, audience: Audience, facts: permit.Facts, opens: datetime | None, now: datetime
) -> list[str]:
    """What is in the way of sending, as far as it can be told by now."""
    if campaign.status.over:
        return []
    schedule, begun = campaign.spec.schedule_at, campaign.started_at is not None
    refused = permit.consent_refusal(facts, now)
    found = {
        "nothing_said": campaign.spec.content.empty,
        permit.BLOCK_WORD: not facts.clean,
        "audience_empty": not audience.selection.included,
        "window_over": opens is None,
        "schedule_over": schedule is not None and schedule <= now and not begun,
        refused: bool(refused) and refused != permit.DRY_RUN_ONLY,
        NOT_RUN: not refused and campaign.status is Status.APPROVED,
        permit.DRY_RUN_ONLY: not facts.live,
    }
    return [word for word, missing in found.items() if missing]
