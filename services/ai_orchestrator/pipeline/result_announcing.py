"""What is announced of runs, results and alerts; no prompt, no reply."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from google.protobuf.message import Message
from reach.events.v1 import ai_events_pb2

from services.ai_orchestrator.domain.clues import Change
from services.ai_orchestrator.domain.insights import Insight
from services.ai_orchestrator.store.alerts import KeptAlert
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id
from shared.telemetry.traces import current_traceparent

SOURCE: Final = "reach/ai_orchestrator"


class EndedRun(Protocol):
    """What is told of a run that reached its end."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def store_id(self) -> str:
        """Its store."""

    @property
    def chain(self) -> str:
        """The chain that ran."""

    @property
    def event_type(self) -> str:
        """The type of the event that started it; empty where none did."""

    @property
    def member_id(self) -> str:
        """Whom it is about; may be empty."""

    @property
    def assistant_id(self) -> str:
        """Likewise."""

    @property
    def status(self) -> str:
        """completed, partial, failed or cancelled."""

    @property
    def reason(self) -> str:
        """Why it is not completed, as a stable word; may be empty."""


def run_ended(ended: EndedRun, now: datetime) -> NewEvent:
    """The event ``ai.run.<status>``."""
    status = str(ended.status)
    told = ai_events_pb2.AiRunOutcome(
        run_id=ended.run_id,
        chain=ended.chain,
        status=status,
        trigger_event_type=ended.event_type or None,
        member_id=ended.member_id or None,
        assistant_id=ended.assistant_id or None,
        reason=ended.reason or None,
    )
    return new_event(f"ai.run.{status}", told, ended.store_id, now)


def insight_updated(made: Insight, title: str, changed: Change, now: datetime) -> NewEvent:
    """The event ``ai.insight.updated``."""
    told = ai_events_pb2.AiInsightUpdated(
        cache_type=made.cache_type,
        target=made.target,
        app_type=made.app_type,
        app_title=title,
        member_id=made.member_id or None,
        assistant_id=made.assistant_id or None,
        made_time=made.made_at.isoformat(),
        triggered_by=made.triggered_by or None,
        run_id=made.run_id or None,
        score=made.score,
        clues_added=len(changed.added),
        clues_removed=len(changed.removed),
    )
    return new_event("ai.insight.updated", told, made.store_id, now)


def alert_created(new: KeptAlert, now: datetime) -> NewEvent:
    """The event ``ai.alert.created``."""
    told = ai_events_pb2.AiAlertCreated(
        alert_id=new.id,
        alert_kind=new.kind,
        app_type=new.app_type,
        message=new.message,
        created_time=new.created_at.isoformat(),
        run_id=new.run_id or None,
        step=new.step or None,
    )
    return new_event("ai.alert.created", told, new.store_id, now)


def new_event(event_type: str, data: Message, store_id: str, now: datetime) -> NewEvent:
    """An event for the outbox, under an id of its own."""
    event_id = new_id()
    headers = binary_headers(event_type, event_id, store_id, SOURCE, now, traceparent=current_traceparent())
    return NewEvent(event_id, event_type, store_id, data.SerializeToString(), PROTOBUF, headers, now)
