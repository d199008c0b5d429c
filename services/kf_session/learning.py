"""Templates, experiments, effects, hours and the daily summary, wired: what the assembly takes over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.daily import Wish
from services.kf_session.domain.effects import LONGEST_PERIOD
from services.kf_session.domain.preference import merged
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.effects import Effects
from services.kf_session.pipeline.experimenting import Experimenting
from services.kf_session.pipeline.hours import Hours
from services.kf_session.pipeline.summaries import Summaries, Wishes
from services.kf_session.pipeline.taking import Listener
from services.kf_session.pipeline.templating import Templating
from services.kf_session.pipeline.untold import Untold
from services.kf_session.store import effects, outgoing, summaries
from services.kf_session.usecases.effects import EffectStats
from services.kf_session.usecases.templates import Templates
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.secrets import SecretKey
from shared.settings import Limits
from shared.supervise import Loop

EFFECTS_KEPT: Final = LONGEST_PERIOD + timedelta(days=7)
"""And the pushes that they are of: nothing asks for figures of an earlier time."""
SUMMARIES_KEPT: Final = timedelta(days=30)


def wishes_of(zone: ZoneInfo) -> Wishes:
    """What customers want of the daily summary, as their preferences say; *zone* is the deployment's."""

    async def wish(conn: AsyncConnection, store_id: str, customer: str) -> Wish:
        kept = await outgoing.wishes(conn, store_id, customer)
        said = merged(zone, *kept.said)
        return Wish(said.zone, said.summary_at, said.enabled and kept.unsubscribed_at is None)

    return wish


class Learning:
    """`templating.render` is the Renderer of matches; `effects.entered` is a listener of entered sessions."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        key: SecretKey,
        audit: AuditLog,
        limits: Limits,
        *,
        wishes: Wishes,
        admit: Admit,
    ) -> None:
        self.templating = Templating(key.derive("kf experiments"))
        self.effects = Effects(database.dialect, clock, limits.kf_attribution)
        self.hours = Hours(database.dialect, clock, wishes)
        self.experimenting = Experimenting(database, clock)
        self.summaries = Summaries(
            database,
            clock,
            wishes=wishes,
            words=self.templating.words,
            admit=admit,
            unsent=Untold(),
        )
        self.templates = Templates(database, audit, clock)
        self.effect_stats = EffectStats(database, self.effects, clock)

    @property
    def listeners(self) -> list[Listener]:
        """Of what customers write, behind the router of replies."""
        return [self.effects.listen, self.hours.listen, self.summaries.listen]

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Forget a batch of what nobody asks about any more."""
        return max(
            await effects.purge(conn, now - EFFECTS_KEPT, limit),
            await summaries.purge(conn, now - SUMMARIES_KEPT, limit),
            await outgoing.purge(conn, now - EFFECTS_KEPT, limit),
        )

    @property
    def loops(self) -> dict[str, Loop]:
        """To be kept running."""
        return {"experiments": self.experimenting.run, "summaries": self.summaries.run}
