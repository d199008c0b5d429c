"""Take an event by hand, and show what one would cause."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from services.notifier.domain.content import Fitted, app_payload, fit, payload_bytes, robot_payload
from services.notifier.domain.decision import Decision, Verdict
from services.notifier.domain.gates import Gate, GateNote, Way
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.policy import Counted, Excess, Policies
from services.notifier.domain.routing import Channel
from services.notifier.pipeline.admission import Arrival, Standing, by_rules
from services.notifier.pipeline.books import Books
from services.notifier.pipeline.gathering import Gathering
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.waiting import Settling
from services.notifier.store.reading import DeliveryView
from shared.clock import Clock
from shared.db import inbox
from shared.db.engine import Database
from shared.db.limits import peek_many
from shared.errors import Conflict, Invalid
from shared.events.envelope import make_event
from shared.ids import new_id
from shared.limits import Granted, Wait
from shared.telemetry.traces import current_traceparent, traceparent_or_new
from shared.values import value_class


@value_class
class Taken:
    """What became of an event or message that somebody brought."""

    event_id: str
    store_id: str
    duplicate: bool
    verdict: Verdict
    deliveries: Sequence[DeliveryView]


@value_class
class Rehearsed:
    """One call as it would be made."""

    call: PlannedCall
    fitted: Fitted
    payload: str
    earliest_at: datetime | None
    """When it would go; None is at once, or never where it is dropped."""
    held_by: str
    gates: tuple[GateNote, ...]
    """What each gate says of it, in the order in which they are asked."""


@value_class
class Preview:
    """What an event would cause now."""

    decision: Decision
    calls: Sequence[Rehearsed]


class Pushes:
    """Events brought by callers."""

    def __init__(
        self,
        database: Database,
        gathering: Gathering,
        settling: Settling,
        books: Books,
        rates: Rates,
        clock: Clock,
        examples: Mapping[str, Mapping[str, object]],
    ) -> None:
        self._database = database
        self._gathering = gathering
        self._settling = settling
        self._books = books
        self._rates = rates
        self._clock = clock
        self._examples = examples

    async def trigger(
        self,
        event_type: str,
        data: Mapping[str, object],
        *,
        store_id: str,
        event_id: str,
        occurred_at: datetime | None,
        key: str,
        wait: timedelta,
    ) -> Taken:
        """Record an event and wait up to *wait* for its deliveries.

        Raises Invalid for a payload that does not fit its type, Conflict (EVENT_ID_CONFLICT, or
        IDEMPOTENCY_KEY_REUSED where the key made the id) for an id that is known with other content.
        """
        event = make_event(
            event_type,
            data,
            id=event_id or keyed_id("event", key) or new_id(),
            store_id=store_id,
            now=self._clock.now(),
            source="grpc",
            occurred_at=occurred_at,
            traceparent=traceparent_or_new(current_traceparent()),
            door="grpc",
        )
        return await self.take(by_rules(event), wait, keyed=not event_id and bool(key))

    async def take(self, arrival: Arrival, wait: timedelta, *, keyed: bool) -> Taken:
        """Have *arrival* recorded and see how it stands. *keyed*: its id was made from an idempotency key."""
        admitted = await self._gathering.admit(arrival)
        if admitted.standing is Standing.CONFLICT:
            raise _conflict(admitted.event_id, keyed)
        async with self._database.read() as conn:
            row = await inbox.get(conn, admitted.store_id, admitted.event_id)
        assert row is not None, "what was admitted is there"
        views = await self._settling.views(admitted.event_id, admitted.store_id, wait)
        return Taken(
            admitted.event_id,
            admitted.store_id,
            admitted.standing is Standing.DUPLICATE,
            Verdict(row["decision"]["verdict"]),
            views,
        )

    async def preview(self, event_type: str, data: Mapping[str, object], *, store_id: str) -> Preview:
        """What the event would cause now; without data, the example of the type's preset rule."""
        if not data:
            example = self._examples.get(event_type)
            if example is None:
                raise Invalid.field(
                    "event_data", f"there is no example of {event_type} to fall back on; give the payload"
                )
            data = example
        now = self._clock.now()
        event = make_event(
            event_type, data, id=f"preview-{new_id()}", store_id=store_id, now=now, source="grpc", door="grpc"
        )
        decision = (await self._books.fresh()).decide(event, now)
        return Preview(decision, await self.rehearse(store_id, decision.calls, decision.notes))

    async def rehearse(
        self, store_id: str, calls: Sequence[PlannedCall], notes: Sequence[GateNote] = ()
    ) -> list[Rehearsed]:
        """*calls* as they would be made now, one after the other, and what each gate says of them.

        *notes* are what the gates that need no count found when they were planned.
        """
        now = self._clock.now()
        counts = await self._counted(store_id, calls, (await self._books.fresh()).policies, now)
        return [_rehearse(call, notes, found) for call, found in zip(calls, counts, strict=True)]

    async def _counted(
        self, store_id: str, calls: Sequence[PlannedCall], policies: Policies, now: datetime
    ) -> list[list[GateNote]]:
        """What budgets and rates say of each call, the recipient that waits longest speaking for all."""
        tolls = [
            [
                (
                    one,
                    self._rates.toll(
                        call.address, one.target, policies, store_id, one.role, call.priority, now
                    ),
                )
                for one in call.recipients
            ]
            for call in calls
        ]
        asked = [
            window
            for group in tolls
            for _, toll in group
            for window in [
                *((one.key, one.limits) for one in toll.budgets),
                *([toll.rate] if toll.rate else []),
            ]
        ]
        async with self._database.read() as conn:
            verdicts = iter(await peek_many(conn, asked, now))
        found: list[list[GateNote]] = []
        for call, group in zip(calls, tolls, strict=True):
            notes: list[GateNote] = []
            for one, toll in group:
                notes += [_budget(counted, next(verdicts), call, one, now) for counted in toll.budgets]
                if toll.rate is not None:
                    notes.append(_rate(self._rates.hold_reason(toll.rate[0]), next(verdicts), call, one))
            found.append(_longest(notes))
        return found


def _budget(
    counted: Counted, verdict: Granted | Wait, call: PlannedCall, one: Recipient, now: datetime
) -> GateNote:
    policy, budget = counted.policy, counted.budget
    note = GateNote(
        Gate.BUDGET,
        Way.GO,
        call.rule_id,
        (str(one.target),),
        f"{policy.words} {budget.name}",
        policy.words_zh,
    )
    if not isinstance(verdict, Wait):
        return note
    dropped = budget.excess is Excess.DROP
    more = f"{budget.most + 1}"
    return replace(
        note,
        way=Way.DROP if dropped else Way.HOLD,
        until=None if dropped else budget.free_at(verdict.until, now, counted.zone),
        change_zh=f"把优先级设为 urgent，或把{policy.words_zh}的频率上限从 {budget.most} 提到 {more}",
        change_en=f"make it urgent, or raise the budget of {policy.words} from {budget.most} to {more}",
    )


def _rate(limit: str, verdict: Granted | Wait, call: PlannedCall, one: Recipient) -> GateNote:
    note = GateNote(Gate.RATE, Way.GO, call.rule_id, (str(one.target),), limit)
    if not isinstance(verdict, Wait):
        return note
    return replace(
        note,
        way=Way.HOLD,
        policy=f"{limit}:{verdict.limit_name}",
        until=verdict.until,
        change_zh="等待；平台的频率上限不能提高，可以合并消息或换一个接收对象",
        change_en="wait: the platform's limit cannot be raised; merge the messages or tell somebody else",
    )


def _longest(notes: Sequence[GateNote]) -> list[GateNote]:
    """One note a gate and policy: the one that holds longest, for all its targets."""
    found: dict[tuple[Gate, str], GateNote] = {}
    for note in notes:
        key = (note.gate, note.policy)
        before = found.get(key)
        if before is None or _stay(note) > _stay(before):
            found[key] = note
    passed = {note.gate for note in found.values() if note.way is not Way.GO}
    return [note for note in found.values() if note.way is not Way.GO or note.gate not in passed]


def _stay(note: GateNote) -> tuple[int, float]:
    """How long it keeps a message, to be compared: not at all, for a while, for good."""
    way = {Way.GO: 0, Way.DROP: 2}.get(note.way, 1)
    return way, 0.0 if note.until is None else note.until.timestamp()


def keyed_id(kind: str, key: str) -> str:
    """The id of what an idempotency key stands for; empty without a key."""
    if not key:
        return ""
    return f"{kind}-" + hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()[:40]


def _conflict(event_id: str, keyed: bool) -> Conflict:
    if keyed:
        return Conflict(
            "IDEMPOTENCY_KEY_REUSED", "this idempotency key was used for another request; take a fresh one"
        )
    return Conflict(
        "EVENT_ID_CONFLICT",
        f"event {event_id} is known with other content; the first stands. Give a new event an id of its own",
        event_id=event_id,
    )


def _rehearse(call: PlannedCall, notes: Sequence[GateNote], counted: Sequence[GateNote]) -> Rehearsed:
    sample = "preview"
    fitted = fit(call.content, call.channel, sample)
    if call.channel is Channel.ROBOT:
        payload = robot_payload(call.content)
    else:
        payload = app_payload(call.content, call.targets, agent_id=0, delivery_id=sample)
    mine = {str(target) for target in call.targets}
    rules = {one.rule_id for one in call.recipients}
    gates = [note for note in notes if note.rule_id in rules and mine.intersection(note.targets)]
    gates += counted
    first = next((note for note in gates if note.way is not Way.GO), None)
    dropped = any(note.way is Way.DROP for note in gates)
    earliest = max((note.until for note in gates if note.until is not None), default=None)
    return Rehearsed(
        call,
        fitted,
        payload_bytes(payload).decode(),
        None if dropped else earliest,
        "" if first is None else _held_by(first),
        tuple(gates),
    )


def _held_by(note: GateNote) -> str:
    return note.policy.rpartition(":")[2] if note.gate is Gate.RATE else note.gate.value
