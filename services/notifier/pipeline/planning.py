"""Planned calls become rows: deliveries, recipients, and for those that may go at once, a started attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.digest import Heading
from services.notifier.domain.gates import Gathering, Way
from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.domain.merging import BinState, Fate, arrive
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.policy import Policies
from services.notifier.domain.routing import Channel
from services.notifier.pipeline.breakers import Breakers
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.limits import Held, Rates, Toll
from services.notifier.pipeline.rests import Rests
from services.notifier.store import bins
from services.notifier.store.work import GATHERING, NewWork, Work, started_attempt
from shared.db.limits import Release, Request, reserve_many
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
    held: list[tuple[Recipient, Held]] = field(default_factory=list)
    counted: list[Release] = field(default_factory=list)


class Planner:
    """Makes rows of planned calls."""

    def __init__(
        self,
        work: Work,
        rates: Rates,
        rests: Rests,
        breakers: Breakers,
        numbers: Metrics,
        owner: str,
        lease: timedelta,
    ) -> None:
        self._work = work
        self._rates = rates
        self._rests = rests
        self._breakers = breakers
        self._numbers = numbers
        self._owner = owner
        self._lease = lease

    async def plan(
        self,
        conn: AsyncConnection,
        planned: Sequence[tuple[Event, Sequence[PlannedPart]]],
        policies: Policies,
        now: datetime,
        new: NewWork,
        room: int,
    ) -> None:
        """Add the rows of *planned* to *new*. About *room* deliveries may be claimed for our own senders."""
        going: list[tuple[Event, PlannedPart]] = []
        gathering: list[tuple[Event, PlannedPart]] = []
        for event, parts in planned:
            for part in parts:
                way = part.call.passage.way
                if way is Way.GO:
                    going.append((event, part))
                elif way is Way.GATHER:
                    gathering.append((event, part))
                else:
                    self._hold_back(event, part, now, new)
        if gathering:
            going += await self._gather(conn, gathering, now, new)
        drafts: list[_Draft] = []
        for event, part in going:
            call = part.call
            in_line = part.lane is not None or call.channel is Channel.ROBOT
            in_line = in_line or self._breakers.holds(call.address)
            if in_line or len(drafts) >= room or self._rests.until(call.address, now):
                self.wait_in_line(event, part, now, new)
            else:
                drafts.append(_Draft(event, part))
        await self._reserve(conn, drafts, policies, now)
        for draft in drafts:
            self._send_now(draft, now, new)

    def wait_in_line(self, event: Event, part: PlannedPart, now: datetime, new: NewWork) -> None:
        """Add the rows of a call that the dispatcher is to claim."""
        call = part.call
        lane = part.lane or (call.address if call.channel is Channel.ROBOT else None)
        due = self._work.queue.ready(call.priority, now, lane=lane)
        self._add(event, part, call.recipients, due, now, new)
        new.waiting = True

    def _hold_back(self, event: Event, part: PlannedPart, now: datetime, new: NewWork) -> None:
        """What the quiet hours keep, for a while or for good."""
        call = part.call
        assert call.passage.gate is not None  # something keeps it
        reason = call.passage.gate.value
        if call.passage.until is None:
            self._suppress(event, part, call.recipients, reason, now, new)
            return
        # Not in the robot's lane, where it would keep back all that come behind it; a report's pages keep to each other.
        paged = call.channel is Channel.ROBOT and part.part > 0
        lane = f"{call.address}#{event.id}" if paged else part.lane
        due = self._work.queue.deferred(call.priority, now, call.passage.until, reason, lane=lane)
        self._add(event, part, call.recipients, due, now, new)
        new.waiting = True

    def _suppress(
        self,
        event: Event,
        part: PlannedPart,
        recipients: Sequence[Recipient],
        reason: str,
        now: datetime,
        new: NewWork,
    ) -> None:
        due = self._work.queue.ended(DeliveryStatus.SUPPRESSED.value, part.call.priority, now)
        self._add(event, part, recipients, due, now, new, reason=reason)

    async def _gather(
        self,
        conn: AsyncConnection,
        gathering: Sequence[tuple[Event, PlannedPart]],
        now: datetime,
        new: NewWork,
    ) -> list[tuple[Event, PlannedPart]]:
        """Add each to the bin it belongs to; those that go at once are the answer."""
        wanted = [(event, part, _gathering(part)) for event, part in gathering]
        states = await bins.hold(conn, {found.bin.key for _, _, found in wanted}, now)
        changed: dict[str, bins.Changed] = {}
        going: list[tuple[Event, PlannedPart]] = []
        for event, part, found in wanted:
            key, state = found.bin.key, states[found.bin.key]
            fate, until = arrive(found.bin, state, now)
            if fate is Fate.GO:
                going.append((event, part))
                state = BinState(None, until)
            else:
                digest = state.digest or self._open(event, part, found, until, now, new)
                at = event.occurred_at or event.received_at
                new.items.append(bins.NewItem(digest, event.store_id, event.id, at, found.line))
                state = BinState(digest, state.free_at)
            states[key] = state
            changed[key] = bins.Changed(state, found.bin.length if found.bin.cools else timedelta(0))
        await bins.write(conn, changed, now)
        return going

    def _open(
        self, event: Event, part: PlannedPart, found: Gathering, until: datetime, now: datetime, new: NewWork
    ) -> str:
        """A delivery in which others will gather."""
        call = part.call
        assert call.passage.gate is not None  # something made it gather
        # In no lane: while it gathers it would keep back what comes behind it.
        due = self._work.queue.deferred(call.priority, now, until, call.passage.gate.value)
        new.waiting = True
        return self._add(event, part, call.recipients, due, now, new, heading=found.heading)

    async def _reserve(
        self, conn: AsyncConnection, drafts: Sequence[_Draft], policies: Policies, now: datetime
    ) -> None:
        asked: list[tuple[_Draft, Recipient, Toll, Request]] = []
        for draft in drafts:
            call = draft.part.call
            if policies.empty:  # nearly always: then only the platform counts
                for one in call.recipients:
                    key = self._rates.key(call.address, one.target)
                    if key is None:
                        draft.go.append(one)
                    else:
                        rate = (key, self._rates.limits_of(key))
                        asked.append((draft, one, Toll(rate), Request(*rate)))
                continue
            for one in call.recipients:
                toll = self._rates.toll(
                    call.address, one.target, policies, draft.event.store_id, one.role, call.priority, now
                )
                request = toll.request
                if request is None:
                    draft.go.append(one)
                else:
                    asked.append((draft, one, toll, request))
        verdicts = await reserve_many(conn, [request for *_, request in asked], now)
        for (draft, one, toll, _), verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Wait):
                held = toll.held(verdict, now, self._rates)
                draft.held.append((one, held))
                self._numbers.add(metrics.RATE_WAITS, service="notifier", limit=held.limit)
            else:
                draft.go.append(one)
                if toll.budgets:
                    draft.counted += toll.releases(now)

    def _send_now(self, draft: _Draft, now: datetime, new: NewWork) -> None:
        call, queue = draft.part.call, self._work.queue
        for reason in dict.fromkeys(held.reason for _, held in draft.held if held.drop):
            dropped = [one for one, held in draft.held if held.drop and held.reason == reason]
            self._suppress(draft.event, draft.part, dropped, reason, now, new)
        waiting = [(one, held) for one, held in draft.held if not held.drop]
        if waiting:
            _, first = min(waiting, key=lambda one: one[1].until)
            due = queue.deferred(call.priority, now, first.until, first.reason)
            go_at = first.until if first.on_purpose else now
            self._add(draft.event, draft.part, [one for one, _ in waiting], due, now, new, go_at=go_at)
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
            roles={one.target: one.role for one in draft.go if one.role is not None},
            counted=tuple(draft.counted),
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
        *,
        reason: str = "",
        heading: Heading | None = None,
        go_at: datetime | None = None,
    ) -> str:
        call, delivery_id = part.call, new_id()
        content = call.content.to_json()
        if heading is not None:
            content[GATHERING] = heading.to_json()
        passage = call.passage
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
                "content": content,
                **due,
                "retries": 0,
                "refreshes": 0,
                "resend_mark": False,
                "reason": reason,
                "traceparent": event.traceparent,
                "created_at": now,
                "updated_at": now,
                # A wait for the quiet to end or for others to come is meant, or for a budget; one for a rate is not.
                "go_at": due["due_at"] if passage.gate is not None else go_at or now,
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


def _gathering(part: PlannedPart) -> Gathering:
    found = part.call.passage.gathering
    assert found is not None  # that is what it was sorted by
    return found
