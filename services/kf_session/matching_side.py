"""Everything about matching, wired: what the assembly takes from this slice."""

from __future__ import annotations

from services.kf_session.domain.rendering import Renderer
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.asking import Asking, Model
from services.kf_session.pipeline.matching import Matching
from services.kf_session.pipeline.replies import Replies
from services.kf_session.pipeline.telling import Telling, plain
from services.kf_session.subscriptions import Intake
from services.kf_session.usecases.intents import Intents
from services.kf_session.usecases.profiles import Profiles
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.telemetry.metrics import Metrics


class MatchingSide:
    """The parts: two use cases for the servicer, two loops, the bus's handler and a listener of what customers write."""

    def __init__(
        self,
        database: Database,
        admit: Admit,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        *,
        default_store: str | None,
        max_bytes: int,
        model: Model,
        owner: str,
        render: Renderer = plain,
    ) -> None:
        telling = Telling(admit, render)
        self.matching = Matching(database, telling, clock)
        """Its ``run`` is a loop."""
        self.asking = Asking(database, model, clock, numbers, owner)
        """Its ``run`` is a loop."""
        self.profiles = Profiles(database, audit, clock)
        self.intents = Intents(database, self.matching, telling, audit, clock)
        self.replies = Replies(admit, clock)
        """Its ``hear`` is the first of the listeners of messages."""
        self.intake = Intake(
            database, telling, clock, numbers, default_store=default_store, max_bytes=max_bytes
        )
        """Its ``take`` is the handler of ``subscriptions.TYPES``, its ``replay`` takes dead letters."""
