"""What goes out when, of events that come one after the other: deciding, bins, quiet hours and budgets in memory.

It asks the same questions in the same order as the service (``pipeline/planning``, ``pipeline/dispatch``) and keeps
the answers in dictionaries instead of rows. Senders are never busy, nothing is refused, and the platform's own rates
are not counted. What is due at the very instant of an event goes before it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.notifier.domain.content import Content
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision
from services.notifier.domain.digest import LINES_KEPT, Gathered, Heading, digest
from services.notifier.domain.gates import Gate, Gathering, Way
from services.notifier.domain.merging import BinState, Fate, arrive
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.policy import Excess, Policies
from services.notifier.domain.routing import Bindings, Target
from services.notifier.domain.rules import Priority, RuleBook
from shared.events.kinds import Event
from shared.limits import State, Wait, reserve
from shared.values import value_class


@value_class
class Sent:
    """One call that was made."""

    at: datetime
    call: PlannedCall
    """With the words and the recipients it was made with."""
    events: tuple[str, ...]
    """Ids of the events it tells of."""


@value_class
class Kept:
    """What was not sent at once, and why."""

    at: datetime
    event_id: str
    way: Way
    targets: tuple[Target, ...]
    reason: str
    """``quiet_hours``, ``merging``, or the budget."""
    until: datetime | None
    """Until when; None where it never goes."""


@value_class
class Course:
    """How it all went."""

    decisions: tuple[Decision, ...]
    """Of each event, in the order in which they came."""
    sent: tuple[Sent, ...]
    kept: tuple[Kept, ...]


@dataclass(slots=True)
class _Waiting:
    """A delivery that does not go yet."""

    event: Event
    call: PlannedCall
    heading: Heading | None = None
    bin_key: str = ""
    cools: timedelta = timedelta(0)
    items: list[tuple[datetime, str, str]] = field(default_factory=list)
    """When each happened, its event's id and its line."""

    @property
    def events(self) -> tuple[str, ...]:
        """Those it tells of."""
        return tuple(event_id for _, event_id, _ in self.items) or (self.event.id,)


@value_class
class _Held:
    until: datetime
    reason: str
    drop: bool = False


class _Course:
    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.sent: list[Sent] = []
        self.kept: list[Kept] = []
        self._due: list[tuple[datetime, Priority, int, _Waiting]] = []
        self._made = 0
        self._bins: dict[str, BinState] = {}
        self._open: dict[str, _Waiting] = {}
        self._windows: dict[str, State] = {}

    def take(self, event: Event, calls: Iterable[PlannedCall], now: datetime) -> None:
        """What ``Planner.plan`` does with one event."""
        for call in calls:
            passage = call.passage
            if passage.way is Way.GATHER and passage.gathering is not None:
                self._gather(event, call, passage.gathering, now)
            elif passage.way is Way.GO:
                self._go(_Waiting(event, call), now)
            else:
                reason = str(passage.gate)
                self._note(event.id, passage.way, call.recipients, reason, passage.until, now)
                if passage.until is not None:
                    self._wait(_Waiting(event, call), passage.until)

    def run(self, until: datetime | None) -> None:
        """Let everything go that is due by *until*; None is to the end."""
        while self._due and (until is None or self._due[0][0] <= until):
            at, *_, waiting = heapq.heappop(self._due)
            self._claim(waiting, at)

    def _wait(self, waiting: _Waiting, until: datetime) -> None:
        self._made += 1
        heapq.heappush(self._due, (until, waiting.call.priority, self._made, waiting))

    def _gather(self, event: Event, call: PlannedCall, found: Gathering, now: datetime) -> None:
        key = found.bin.key
        fate, until = arrive(found.bin, self._bins.get(key, BinState()), now)
        if fate is Fate.GO:
            self._bins[key] = BinState(None, until)
            self._go(_Waiting(event, call), now)
            return
        if fate is Fate.OPEN:
            cools = found.bin.length if found.bin.cools else timedelta(0)
            self._open[key] = _Waiting(event, call, found.heading, key, cools)
            self._bins[key] = BinState(key, None)
            self._wait(self._open[key], until)
        self._open[key].items.append((event.occurred_at or event.received_at, event.id, found.line))
        end = next(due for due, *_, one in self._due if one is self._open[key])
        self._note(event.id, Way.GATHER, call.recipients, str(call.passage.gate), end, now)

    def _claim(self, waiting: _Waiting, now: datetime) -> None:
        """What ``Dispatcher`` does with what became due: quiet hours are asked again, before any budget."""
        asked = [
            (one, self._quiet(waiting, one, now) or self._budget(waiting, one, now))
            for one in waiting.call.recipients
        ]
        later = [held for _, held in asked if held is not None and not held.drop]
        if later and all(held is not None for _, held in asked):
            # Nobody goes: they wait together, and what gathers goes on gathering.
            first = min(later, key=lambda held: held.until)
            self._note(waiting.event.id, Way.HOLD, waiting.call.recipients, first.reason, first.until, now)
            self._wait(waiting, first.until)
            return
        self._pass(waiting, asked, now)

    def _go(self, waiting: _Waiting, now: datetime) -> None:
        self._pass(waiting, [(one, self._budget(waiting, one, now)) for one in waiting.call.recipients], now)

    def _pass(
        self, waiting: _Waiting, asked: Sequence[tuple[Recipient, _Held | None]], now: datetime
    ) -> None:
        going = tuple(one for one, held in asked if held is None)
        later = [(one, held) for one, held in asked if held is not None and not held.drop]
        never = [(one, held) for one, held in asked if held is not None and held.drop]
        self._emptied(waiting, now, sent=bool(going))
        call = replace(waiting.call, content=_words(waiting))
        for one, held in never:
            for event_id in waiting.events:
                self._note(event_id, Way.DROP, (one,), held.reason, None, now)
        if later:
            first = min((held for _, held in later), key=lambda held: held.until)
            left = replace(call, recipients=tuple(one for one, _ in later))
            self._note(waiting.event.id, Way.HOLD, left.recipients, first.reason, first.until, now)
            self._wait(_Waiting(waiting.event, left, items=waiting.items), first.until)
        if going:
            self.sent.append(Sent(now, replace(call, recipients=going), waiting.events))

    def _emptied(self, waiting: _Waiting, now: datetime, *, sent: bool) -> None:
        if not waiting.bin_key:
            return
        cools = now + waiting.cools if sent and waiting.cools else None
        self._bins[waiting.bin_key] = BinState(None, cools)
        del self._open[waiting.bin_key]
        waiting.bin_key = ""

    def _quiet(self, waiting: _Waiting, one: Recipient, now: datetime) -> _Held | None:
        if waiting.call.priority is Priority.URGENT:
            return None
        policy = self.policies.said(waiting.event.store_id, one.target, one.role).quiet
        if policy is None or policy.quiet is None:
            return None
        until = policy.quiet.until(now, self.policies.zone_of(policy))
        return None if until is None else _Held(until, Gate.QUIET.value)

    def _budget(self, waiting: _Waiting, one: Recipient, now: datetime) -> _Held | None:
        store, priority = waiting.event.store_id, waiting.call.priority
        counted = self.policies.counted(store, one.target, one.role, priority, now)
        verdicts = [reserve(self._windows.get(each.key, {}), each.limits, now) for each in counted]
        full = [
            _Held(
                each.budget.free_at(verdict.until, now, each.zone),
                each.hold_reason,
                each.budget.excess is Excess.DROP,
            )
            for each, verdict in zip(counted, verdicts, strict=True)
            if isinstance(verdict, Wait)
        ]
        if full:
            return max(full, key=lambda one: (one.drop, one.until))
        self._windows |= {each.key: verdict.state for each, verdict in zip(counted, verdicts, strict=True)}
        return None

    def _note(
        self,
        event_id: str,
        way: Way,
        recipients: Sequence[Recipient],
        reason: str,
        until: datetime | None,
        now: datetime,
    ) -> None:
        targets = tuple(one.target for one in recipients)
        self.kept.append(Kept(now, event_id, way, targets, reason, until))


def _words(waiting: _Waiting) -> Content:
    call = waiting.call
    if waiting.heading is None or len(waiting.items) < 2:
        return call.content
    items = sorted(waiting.items)
    found = Gathered(len(items), items[0][0], items[-1][0], tuple(line for *_, line in items[:LINES_KEPT]))
    return digest(waiting.heading, found, call.channel)


def simulate(
    events: Iterable[Event], book: RuleBook, bindings: Bindings, policies: Policies, *, zone: ZoneInfo
) -> Course:
    """What becomes of *events*, each recorded when it was received, until nothing waits any more.

    An event whose id was there before in its store is a copy and causes nothing.
    """
    course, decisions = _Course(policies), list[Decision]()
    known: set[tuple[str, str]] = set()
    for event in sorted(events, key=lambda event: event.received_at):
        if (event.store_id, event.id) in known:
            continue
        known.add((event.store_id, event.id))
        now = event.received_at
        course.run(now)
        decision = decide(event, book, bindings, zone=zone, now=now, policies=policies)
        decisions.append(decision)
        course.take(event, decision.calls, now)
    course.run(None)
    return Course(tuple(decisions), tuple(course.sent), tuple(course.kept))
