"""What the notifier hears: batches from the bus, read, and admitted with what could not be read beside them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from services.notifier.pipeline.admission import Admission, Arrival, by_rules
from services.notifier.pipeline.sending import Senders
from shared.bus import Incoming
from shared.clock import Clock
from shared.db.dead import DeadLetter
from shared.events.canonical import Unreadable
from shared.events.envelope import read_event
from shared.events.kinds import Event
from shared.ops.letters import unreadable
from shared.telemetry import traces

TYPES = (
    "order.created",
    "order.completed",
    "order.cancelled",
    "reservation.confirmed",
    "reservation.cancelled",
    "guest.arrived",
    "member.points_changed",
    "member.upgraded",
    "payment.completed",
    "payment.failed",
    "inventory.low_stock",
    "inventory.out_of_stock",
    "system.error",
    "service.quality_issue",
    "ai.alert.created",
    "ai.insight.updated",
    "campaign.submitted",
    "campaign.paused",
    "campaign.missed",
)
"""The types the preset rules listen to."""

_PATIENCE = 0.25
"""Seconds a batch waits for senders before it is admitted to wait as rows."""


class Intake:
    """Takes messages from the bus."""

    def __init__(
        self,
        admission: Admission,
        senders: Senders,
        clock: Clock,
        *,
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        self._admission = admission
        self._senders = senders
        self._clock = clock
        self._default_store = default_store
        self._max_bytes = max_bytes

    async def take(self, batch: Sequence[Incoming]) -> None:
        """Admit a batch; when it returns, everything in it is committed, as an event or as a dead letter."""
        # Events that find a sender free are admitted already claimed, which saves a transaction. But
        # what waits here cannot overtake: so no longer than a moment.
        await self._senders.room(_PATIENCE, len(batch))
        started = time.time_ns()
        now = self._clock.now()
        arrivals: list[Arrival] = []
        parked: list[DeadLetter] = []
        for incoming in batch:
            try:
                event = self._read(incoming, started)
            except Unreadable as error:
                parked.append(unreadable(incoming, error, now))
            else:
                arrivals.append(by_rules(event, incoming))
        await self._admission.admit(arrivals, parked)

    async def replay(self, incoming: Incoming) -> None:
        """Take one dead letter as if it had just come; raises ``Unreadable`` or ``Conflict`` if it still cannot be."""
        event = self._read(incoming, time.time_ns())
        await self._admission.admit_one(by_rules(event))

    def _read(self, incoming: Incoming, started: int) -> Event:
        def trace(parent: str | None) -> str | None:
            if parent is None:
                return traces.new_traceparent()
            if not traces.should_record(parent):
                return parent
            return traces.record(
                f"{incoming.routing_key} receive",
                parent,
                started,
                time.time_ns(),
                kind=SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "rabbitmq" if incoming.door == "amqp" else incoming.door,
                    "messaging.message.id": incoming.message_id or "",
                },
            )

        return read_event(
            incoming,
            default_store=self._default_store,
            now=self._clock.now(),
            max_bytes=self._max_bytes,
            trace=trace,
        )
