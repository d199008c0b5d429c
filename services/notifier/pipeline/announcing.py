"""What the notifier announces when a delivery is over."""

from __future__ import annotations

from datetime import datetime

from reach.events.v1 import notifier_events_pb2

from services.notifier.pipeline.settling import Settled
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
    event_type, event_id = f"notifier.delivery.{status}", new_id()
    headers = binary_headers(
        event_type, event_id, job.store_id, "reach/notifier", now, traceparent=job.traceparent
    )
    body = outcome.SerializeToString()
    return NewEvent(event_id, event_type, job.store_id, body, PROTOBUF, headers, now)
