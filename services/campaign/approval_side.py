"""Where the parts that approve and run meet: what the service, the loops and the room that sends take of them."""

from __future__ import annotations

from collections.abc import Mapping

from services.campaign.audit_service import Chain
from services.campaign.pipeline.audiences import Audiences
from services.campaign.pipeline.beginning import Beginning
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.permitting import Approvers, Issued, Permitting
from services.campaign.pipeline.ports import Caps, Follow, Groups, Lint, Start
from services.campaign.pipeline.scheduling import Scheduling
from services.campaign.usecases.approving import Approving, Terms
from services.campaign.usecases.history import History
from services.campaign.usecases.previewing import Previewing
from services.campaign.usecases.running import Running
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Customer
from shared.supervise import Loop
from shared.values import value_class


def permitting(lint: Lint, tokens: Issued, clock: Clock, customer: Customer) -> Permitting:
    """The one check; the room that sends asks it in every claim."""
    return Permitting(lint, Approvers(tokens, clock), live=not customer.dry_run)


@value_class
class ApprovalSide:
    """The parts that others hold on to; ``ApprovalMethods`` and ``AuditMethods`` need all but the scheduling."""

    approving: Approving
    running: Running
    previewing: Previewing
    history: History
    chain: Chain
    scheduling: Scheduling

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"schedules": self.scheduling.run}


def approval_side(
    name: str,
    database: Database,
    moving: Moving,
    permit: Permitting,
    groups: Groups,
    caps: Caps,
    start: Start,
    follow: Follow,
    audit: AuditLog,
    clock: Clock,
    customer: Customer,
) -> ApprovalSide:
    """Wire it; *name* is the service's."""
    audiences, beginning = Audiences(groups), Beginning(moving, start)
    terms = Terms(customer.login_max_age, customer.approval_valid)
    return ApprovalSide(
        Approving(database, moving, permit, groups, audit, clock, terms),
        Running(
            database,
            moving,
            permit,
            beginning,
            audiences,
            start,
            follow,
            audit,
            clock,
            live=not customer.dry_run,
            grace=customer.schedule_grace,
        ),
        Previewing(database, permit, audiences, caps, clock, qps=customer.send_qps),
        History(database),
        Chain(name, database, audit),
        Scheduling(database, moving, permit, beginning, clock, customer.schedule_grace),
    )
