"""Take an event by hand, and show what one would cause."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from services.notifier.domain.content import Fitted, app_payload, fit, payload_bytes, robot_payload
from services.notifier.domain.decision import Decision, Verdict
from services.notifier.domain.planning import PlannedCall
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
from shared.limits import Wait
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
    held_by: str


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
        return Preview(decision, await self.rehearse(decision.calls))

    async def rehearse(self, calls: Sequence[PlannedCall]) -> list[Rehearsed]:
        """*calls* as they would be made now, one after the other, and what would hold each."""
        held = await self._held(calls, self._clock.now())
        return [_rehearse(call, wait) for call, wait in zip(calls, held, strict=True)]

    async def _held(self, calls: Sequence[PlannedCall], now: datetime) -> list[Wait | None]:
        """For each call, the limit that would hold its last recipient, if any."""
        keys = [
            [key for target in call.targets if (key := self._rates.key(call.address, target)) is not None]
            for call in calls
        ]
        asked = [(key, self._rates.limits_of(key)) for group in keys for key in group]
        async with self._database.read() as conn:
            verdicts = iter(await peek_many(conn, asked, now))
        longest: list[Wait | None] = []
        for group in keys:
            waits = [verdict for _ in group if isinstance(verdict := next(verdicts), Wait)]
            longest.append(max(waits, key=lambda one: one.until, default=None))
        return longest


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


def _rehearse(call: PlannedCall, wait: Wait | None) -> Rehearsed:
    sample = "preview"
    fitted = fit(call.content, call.channel, sample)
    if call.channel is Channel.ROBOT:
        payload = robot_payload(call.content)
    else:
        payload = app_payload(call.content, call.targets, agent_id=0, delivery_id=sample)
    return Rehearsed(
        call,
        fitted,
        payload_bytes(payload).decode(),
        wait.until if wait is not None else None,
        wait.limit_name if wait is not None else "",
    )
