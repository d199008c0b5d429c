"""The room of those who write, wired: campaigns, materials, tones, and words by an application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from services.campaign import candidate_service, material_service, writing_service
from services.campaign.pipeline.generating import Generating, Writer
from services.campaign.pipeline.linting import Linter
from services.campaign.pipeline.materials import MediaDesk
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Groups
from services.campaign.store.materials import Purge, purge
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.usecases.candidates import Candidates
from services.campaign.usecases.materials import Materials
from services.campaign.usecases.tones import Tones
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Settings
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App

SCOPES: Mapping[str, str] = {
    **writing_service.SCOPES,
    **material_service.SCOPES,
    **candidate_service.SCOPES,
}
"""The scope each of its methods needs."""


@value_class
class WritingSide:
    """The parts that others hold on to."""

    linter: Linter
    """The port ``Lint``."""
    media: MediaDesk
    """What the platform calls materials; for whoever makes tasks."""
    campaigns: Campaigns
    materials: Materials
    tones: Tones
    candidates: Candidates
    generating: Generating
    zone: str
    """Of windows that name none."""

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"generating": self.generating.run}

    @property
    def purges(self) -> Sequence[Purge]:
        """What it forgets by and by."""
        return (purge,)


def writing_side(
    database: Database,
    groups: Groups,
    moving: Moving,
    audit: AuditLog,
    clock: Clock,
    numbers: Metrics,
    settings: Settings,
    owner: str,
    *,
    app: Callable[[], Awaitable[App | None]],
    wecom: WeComClient,
    writer: Writer,
) -> WritingSide:
    """Wire it; *app* is customer contact's, *writer* whoever writes words."""
    customer = settings.wecom.customer
    linter = Linter(customer.block_words, customer.link_hosts)
    campaigns = Campaigns(database, linter, groups, moving, audit, clock)
    return WritingSide(
        linter,
        MediaDesk(database, app, wecom, clock, numbers),
        campaigns,
        Materials(database, audit, clock),
        Tones(database, audit, clock),
        Candidates(database, campaigns, customer.block_words, audit, clock),
        Generating(database, writer, linter, clock, numbers, owner),
        settings.default_zone.key,
    )
