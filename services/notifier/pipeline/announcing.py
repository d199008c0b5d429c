"""What the notifier announces when a delivery is over."""

from __future__ import annotations

from datetime import datetime

from reach.events.v1 import notifier_events_pb2

from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.pipeline.settling import Settled
from services.notifier.store.reading import DeliveryView
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


def _event(
    outcome: notifier_events_pb2.DeliveryOutcome, store_id: str, traceparent: str | None, now: datetime
) -> NewEvent:
    event_type, event_id = f"notifier.delivery.{outcome.status}", new_id()
    headers = binary_headers(event_type, event_id, store_id, "reach/notifier", now, traceparent=traceparent)
    return NewEvent(event_id, event_type, store_id, outcome.SerializeToString(), PROTOBUF, headers, now)
