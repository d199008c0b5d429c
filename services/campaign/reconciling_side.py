"""Where the parts meet that look after tasks which exist: what became of each group, who is reminded, when a run is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Policy
from services.campaign.follow_doctor import FollowDoctor
from services.campaign.pipeline.asking_after import Asker
from services.campaign.pipeline.follow_settling import FollowSettler
from services.campaign.pipeline.following import Follower
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.ports import Groups
from services.campaign.pipeline.reading_pace import ReadingPace
from services.campaign.pipeline.reconciling import Reconciler
from services.campaign.pipeline.reminding import Reminding
from services.campaign.store import follows, receipts, reminders
from services.campaign.usecases.owner_reminders import OwnerReminders
from services.campaign.way import CustomerApp
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.ops.retention import Purge
from shared.settings import Customer
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.mass_send import MassSend

LEDGERS_KEPT: Final = timedelta(days=400)
"""Follow-ups that ended, reminders, and what groups received."""


@value_class
class ReconcilingSide:
    """The parts that others hold on to."""

    follow: Reconciler
    """Port ``Follow``."""
    follower: Follower
    reminders: OwnerReminders
    pace: ReadingPace
    doctor: FollowDoctor

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"follow": self.follower.run}

    @property
    def purges(self) -> Sequence[Purge]:
        """What it forgets by and by."""
        return (_purge,)


def reconciling_side(
    database: Database,
    app: CustomerApp,
    api: MassSend,
    audit: AuditLog,
    clock: Clock,
    numbers: Metrics,
    owner: str,
    settings: Customer,
    moving: Moving,
    *,
    groups: Groups,
) -> ReconcilingSide:
    """Wire it; *app* gives the customer-contact credential.

    On a database that no other process uses, call ``follower.take_over_orphans()`` before the loops start; ``drain`` it
    when the process stops.
    """
    queue = follows.queue(database.dialect)
    policy = Policy(settings.remind_every, settings.remind_most)
    pace = ReadingPace(database, Pacer(database, clock, settings.send_qps), clock)
    asker = Asker(app, api, pace, clock, numbers)
    reconciler = Reconciler(database, queue, moving)
    settler = FollowSettler(database, queue, reconciler, groups, policy, clock, numbers)
    reminding = Reminding(database, asker, pace, policy, clock, numbers)
    follower = Follower(database, queue, asker, settler, reminding, clock, numbers, owner)
    reminding_by_hand = OwnerReminders(database, audit, clock)
    return ReconcilingSide(reconciler, follower, reminding_by_hand, pace, FollowDoctor(database, clock))


async def _purge(conn: AsyncConnection, now: datetime, limit: int) -> int:
    before = now - LEDGERS_KEPT
    gone: Sequence[int] = [
        await follows.purge(conn, before, limit),
        await reminders.purge(conn, before, limit),
        await receipts.purge(conn, before, limit),
    ]
    return max(gone)
