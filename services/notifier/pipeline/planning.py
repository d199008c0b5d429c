"""Planned calls become rows: deliveries, recipients, and for those that may go at once, a started attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.routing import Channel
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.rests import Rests
from services.notifier.store.work import NewWork, Work, started_attempt
from shared.db.limits import Request, reserve_many
from shared.events.kinds import Event
from shared.ids import new_id
from shared.limits import Wait
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class


@value_class
class PlannedPart:
    """A call, and its place among the pages of a report."""

    call: PlannedCall
    part: int = 0
    lane: str | None = None
    """What is sent one at a time, in order; robots have a lane of their own in any case."""


@dataclass(slots=True)
class _Draft:
    """A call on its way to becoming a delivery that goes at once."""

    event: Event
    part: PlannedPart
    go: list[Recipient] = field(default_factory=list)
    held: list[tuple[Recipient, datetime, str]] = field(default_factory=list)


class Planner:
    """Makes rows of planned calls."""

    def __init__(
        self, work: Work, rates: Rates, rests: Rests, numbers: Metrics, owner: str, lease: timedelta
    ) -> None:
        self._work = work
        self._rates = rates
        self._rests = rests
        self._numbers = numbers
        self._owner = owner
        self._lease = lease

    async def plan(
        self,
        conn: AsyncConnection,
        planned: Sequence[tuple[Event, Sequence[PlannedPart]]],
        now: datetime,
        new: NewWork,
        room: int,
    ) -> None:
        """Add the rows of *planned* to *new*. About *room* deliveries may be claimed for our own senders."""
        drafts: list[_Draft] = []
        for event, parts in planned:
            for part in parts:
                call = part.call
                in_line = part.lane is not None or call.channel is Channel.ROBOT
                if in_line or len(drafts) >= room or self._rests.until(call.address, now):
                    self._wait_in_line(event, part, now, new)
                else:
                    drafts.append(_Draft(event, part))
        await self._reserve(conn, drafts, now)
        for draft in drafts:
            self._send_now(draft, now, new)

    def _wait_in_line(self, event: Event, part: PlannedPart, now: datetime, new: NewWork) -> None:
        call = part.call
        lane = part.lane or (call.address if call.channel is Channel.ROBOT else None)
        due = self._work.queue.ready(call.priority, now, lane=lane)
        self._add(event, part, call.recipients, due, now, new)
        new.waiting = True

    async def _reserve(self, conn: AsyncConnection, drafts: Sequence[_Draft], now: datetime) -> None:
        asked: list[tuple[_Draft, Recipient, str]] = []
        for draft in drafts:
            for one in draft.part.call.recipients:
                key = self._rates.key(draft.part.call.address, one.target)
                if key is None:
                    draft.go.append(one)
                else:
                    asked.append((draft, one, key))
        verdicts = await reserve_many(
            conn, [Request(key, self._rates.limits_of(key)) for _, _, key in asked], now
        )
        for (draft, one, key), verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Wait):
                draft.held.append((one, verdict.until, key))
                self._numbers.add(metrics.RATE_WAITS, service="notifier", limit=self._rates.hold_reason(key))
            else:
                draft.go.append(one)

    def _send_now(self, draft: _Draft, now: datetime, new: NewWork) -> None:
        call, queue = draft.part.call, self._work.queue
        if draft.held:
            _, until, key = min(draft.held, key=lambda one: one[1])
            due = queue.deferred(call.priority, now, until, self._rates.hold_reason(key))
            self._add(draft.event, draft.part, [one for one, _, _ in draft.held], due, now, new)
            new.waiting = True
        if not draft.go:
            return
        due = queue.claimed(call.priority, now, owner=self._owner, now=now, lease=self._lease)
        delivery_id = self._add(draft.event, draft.part, draft.go, due, now, new)
        job = Job(
            delivery_id=delivery_id,
            store_id=draft.event.store_id,
            event_id=draft.event.id,
            event_type=draft.event.type,
            rule_id=call.rule_id,
            channel=call.address,
            part=draft.part.part,
            content=call.content,
            targets=tuple(one.target for one in draft.go),
            priority=call.priority,
            attempt_no=1,
            epoch=1,
            claimed_at=now,
            lease_until=now + self._lease,
            retries=0,
            refreshes=0,
            resend_mark=False,
            unclear_since=None,
            traceparent=draft.event.traceparent,
            created_at=now,
        )
        new.jobs.append(job)
        new.attempts.append(started_attempt(job, self._owner, now))

    def _add(
        self,
        event: Event,
        part: PlannedPart,
        recipients: Sequence[Recipient],
        due: dict[str, object],
        now: datetime,
        new: NewWork,
    ) -> str:
        call, delivery_id = part.call, new_id()
        new.deliveries.append(
            {
                "id": delivery_id,
                "store_id": event.store_id,
                "event_id": event.id,
                "event_type": event.type,
                "rule_id": call.rule_id,
                "rule_version": call.rule_version,
                "channel": call.address,
                "part": part.part,
                "content": call.content.to_json(),
                **due,
                "retries": 0,
                "refreshes": 0,
                "resend_mark": False,
                "reason": "",
                "traceparent": event.traceparent,
                "created_at": now,
                "updated_at": now,
            }
        )
        new.recipients.extend(
            {
                "event_id": event.id,
                "store_id": event.store_id,
                "channel": call.address,
                "kind": one.target.kind.value,
                "target": one.target.id,
                "part": part.part,
                "delivery_id": delivery_id,
                "role": one.role.value if one.role else "",
            }
            for one in recipients
        )
        return delivery_id
