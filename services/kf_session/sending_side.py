"""Where the parts that send meet: admitted pushes in, calls to WeChat KF out, and what can be asked of both."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from services.kf_session.learning import Learning
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.customer_facts import CustomerFacts
from services.kf_session.pipeline.deciding import Decider
from services.kf_session.pipeline.hearing import Hearing
from services.kf_session.pipeline.pushing import Pusher
from services.kf_session.pipeline.settling import ReadState, Settler
from services.kf_session.pipeline.uploading import Uploader
from services.kf_session.store import outgoing
from services.kf_session.store.pictures import Pictures as PictureRows
from services.kf_session.unknowns import PushDesk
from services.kf_session.usecases.pictures import Pictures
from services.kf_session.usecases.preferences import Preferences
from services.kf_session.usecases.pushes import Pushes
from services.kf_session.way import KfWay
from shared.audit import AuditLog
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.kf_sending import KfSending


@value_class
class SendingSide:
    """The parts that others hold on to."""

    pushes: Pushes
    preferences: Preferences
    desk: PushDesk
    hearing: Hearing
    """``wrote`` hears customers' messages, ``failed`` late failures, ``changed`` that a session is in other hands."""
    pusher: Pusher
    uploader: Uploader
    pictures: Pictures

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"pushes": self.pusher.run, "pictures": self.uploader.run}


def sending_side(
    database: Database,
    credentials: Credentials,
    wecom: WeComClient,
    audit: AuditLog,
    clock: Clock,
    numbers: Metrics,
    owner: str,
    zone: ZoneInfo,
    read_state: ReadState,
    admit: Admit,
    learning: Learning,
) -> SendingSide:
    """Wire it; *read_state* asks the platform where a session is.

    On a database that no other process uses, call ``pusher.take_over_orphans()`` before the loops start.
    """
    queue = outgoing.queue(database.dialect)
    facts = CustomerFacts(zone, learning.hours)
    pushes = Pushes(database, admit, audit, clock, numbers, facts)
    settler = Settler(database, queue, clock, numbers, read_state, on_settled=pushes.settled)
    decider = Decider(database, queue, facts, owner, render=learning.templating.render)
    rows = PictureRows(database.dialect)
    way = KfWay(credentials, KfSending(wecom))
    return SendingSide(
        pushes,
        Preferences(database, audit, clock, zone, learning.effects),
        PushDesk(database, audit, clock),
        Hearing(database, clock),
        Pusher(database, queue, decider, settler, way, clock, numbers, owner),
        Uploader(database, rows, credentials, wecom, clock, numbers, owner),
        Pictures(database, rows, audit, clock),
    )
