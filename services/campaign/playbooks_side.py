"""The room of playbooks, wired: what operators start, and the loop that drafts campaigns on their days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign import playbook_files
from services.campaign.approval_side import ApprovalSide
from services.campaign.domain.audience import MOST_CHATS
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.playbook_making import Making
from services.campaign.pipeline.playbook_scheduling import PlaybookScheduling
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.store import playbooks as store
from services.campaign.store.materials import Purge
from services.campaign.usecases.playbooks import Playbooks
from services.campaign.writing_side import WritingSide
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Settings
from shared.supervise import Loop
from shared.values import value_class

KEPT: Final = timedelta(days=400)
"""How long a run is remembered when it is over."""


@value_class
class PlaybooksSide:
    """The parts that others hold on to."""

    playbooks: Playbooks
    scheduling: PlaybookScheduling

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"playbooks": self.scheduling.run}

    @property
    def purges(self) -> Sequence[Purge]:
        """What it forgets by and by."""
        return (_purge,)


def playbooks_side(
    database: Database,
    groups: StoredGroups,
    writing: WritingSide,
    approval: ApprovalSide,
    moving: Moving,
    audit: AuditLog,
    clock: Clock,
    settings: Settings,
    *,
    folder: Path = playbook_files.PRESETS,
    most_groups: int = MOST_CHATS,
) -> PlaybooksSide:
    """Wire it, with the playbooks of *folder*. Raises Invalid naming file and field where one of them is wrong."""
    making = Making(
        writing.campaigns, writing.candidates, approval.approving, groups, moving, most_groups=most_groups
    )
    return PlaybooksSide(
        Playbooks(
            database,
            playbook_files.load(folder),
            writing.campaigns,
            writing.linter,
            groups,
            audit,
            clock,
            settings.default_zone,
        ),
        PlaybookScheduling(database, making, clock, settings.wecom.customer.schedule_grace),
    )


async def _purge(conn: AsyncConnection, now: datetime, limit: int) -> int:
    return await store.purge(conn, now - KEPT, limit)
