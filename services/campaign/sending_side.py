"""Where the parts that have owners asked meet: runs in, tasks at the platform out, and what can be asked of both."""

from __future__ import annotations

from collections.abc import Mapping

from services.campaign.pipeline.deciding import Decider
from services.campaign.pipeline.looking_up import Looker
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.planning import Starter
from services.campaign.pipeline.ports import Follow, Groups, Materials, Permit
from services.campaign.pipeline.sending import Sender
from services.campaign.pipeline.settling import Settler
from services.campaign.store import tasks
from services.campaign.unknowns import TaskDesk
from services.campaign.usecases.targets import Targets
from services.campaign.way import CustomerApp, DryWay, PlatformWay
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Customer
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.mass_send import MassSend


@value_class
class SendingSide:
    """The parts that others hold on to."""

    start: Starter
    """Port ``Start``."""
    sender: Sender
    targets: Targets
    desk: TaskDesk
    """Of the operators' view."""

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"tasks": self.sender.run}


def sending_side(
    database: Database,
    app: CustomerApp,
    wecom: WeComClient,
    audit: AuditLog,
    clock: Clock,
    numbers: Metrics,
    owner: str,
    settings: Customer,
    moving: Moving,
    *,
    groups: Groups,
    permit: Permit,
    follow: Follow,
    materials: Materials,
) -> SendingSide:
    """Wire it; *app* gives the customer-contact credential.

    On a database that no other process uses, call ``sender.take_over_orphans()`` before the loops start; ``drain`` it
    when the process stops.
    """
    queue = tasks.queue(database.dialect)
    pacer = Pacer(database, clock, settings.send_qps)
    way = PlatformWay(app, MassSend(wecom), clock)
    settler = Settler(
        database, queue, moving, permit, follow, pacer, clock, numbers, retry_max=settings.retry_max
    )
    sender = Sender(
        database,
        queue,
        Decider(queue, groups, permit, pacer, clock, owner),
        settler,
        Looker(database, way, pacer, clock),
        way,
        DryWay(),
        materials,
        pacer,
        clock,
        numbers,
        owner,
    )
    return SendingSide(
        Starter(database, queue), sender, Targets(database), TaskDesk(database, audit, clock, moving, follow)
    )
