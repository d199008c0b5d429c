"""What the notifier announces when a delivery is over, or an escalation goes on."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message
from reach.events.v1 import notifier_events_pb2

from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.pipeline.settling import Settled
from services.notifier.store.escalations import Escalated
from services.notifier.store.reading import DeliveryView
from shared.breaker import Breaker
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id


def announcement(settled: Settled, now: datetime) -> NewEvent:
    """The event ``notifier.delivery.<status>`` of a delivery that ended; no text, nobody's name."""
    job, status = settled.job, settled.next.status.value
    failed = len(settled.marks) if status == "accepted" else len(job.targets)
    outcome = notifier_events_pb2.DeliveryOutcome(
        delivery_id=job.delivery_id,
        event_id=job.event_id,
        event_type=job.event_type,
        rule_id=job.rule_id,
        channel=job.channel,
        status=status,
        reason=settled.next.reason or None,
        errcode=settled.errcode,
        attempts=job.attempt_no,
        recipients=len(job.targets),
        recipients_accepted=len(job.targets) - failed if status == "accepted" else 0,
        recipients_failed=failed if status != "unknown" else 0,
    )
    return _event(outcome, job.store_id, job.traceparent, now)


def cancelled(view: DeliveryView, now: datetime) -> NewEvent:
    """The event ``notifier.delivery.cancelled`` of a delivery that somebody took back."""
    outcome = notifier_events_pb2.DeliveryOutcome(
        delivery_id=view.id,
        event_id=view.event_id,
        event_type=view.event_type,
        rule_id=view.rule_id,
        channel=view.channel,
        status=DeliveryStatus.CANCELLED.value,
        reason=DeliveryStatus.CANCELLED.value,
        attempts=view.attempt_no,
        recipients=len(view.recipients),
    )
    return _event(outcome, view.store_id, view.traceparent, now)


def escalated(one: Escalated, what: str, level: int, now: datetime, action: str = "") -> NewEvent:
    """The event ``notifier.escalation.<what>``; nobody's name."""
    outcome = notifier_events_pb2.EscalationOutcome(
        event_id=one.event_id,
        event_type=one.event_type,
        rule_id=one.rule_id,
        level=level,
        action=action or None,
        seconds=max(0.0, (now - one.opened_at).total_seconds()),
    )
    return _new(f"notifier.escalation.{what}", outcome, one.store_id, one.traceparent, now)


def _event(
    outcome: notifier_events_pb2.DeliveryOutcome, store_id: str, traceparent: str | None, now: datetime
) -> NewEvent:
    return _new(f"notifier.delivery.{outcome.status}", outcome, store_id, traceparent, now)


def breaker_changed(key: str, failed: Breaker, now: datetime, *, opened: bool) -> NewEvent:
    """The event ``notifier.breaker.opened`` or ``.closed``; *failed* is how it stands, or stood before it closed."""
    change = notifier_events_pb2.BreakerChange(
        credential=key,
        status="opened" if opened else "closed",
        opening=failed.opening,
        failures=failed.failures,
        reason=failed.reason or None,
        errcode=failed.errcode,
        failed_probes=failed.failed_probes,
    )
    return _new(f"notifier.breaker.{change.status}", change, failed.store_id, None, now)


def _new(event_type: str, data: Message, store_id: str, traceparent: str | None, now: datetime) -> NewEvent:
    event_id = new_id()
    headers = binary_headers(event_type, event_id, store_id, "reach/notifier", now, traceparent=traceparent)
    return NewEvent(event_id, event_type, store_id, data.SerializeToString(), PROTOBUF, headers, now)
