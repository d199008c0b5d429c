"""Events in: one transaction for a whole batch records them, what they cause, and what is sent at once.

The inbox key decides what is new; the recipients' key makes a second set of messages impossible. A delivery that is
due now and finds a free sender is inserted under our own lease with its first attempt started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.climbing import Opening, openings
from services.notifier.domain.decision import Decision
from services.notifier.pipeline.books import Book, BookMoved, Books
from services.notifier.pipeline.handing import claim_for
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.planning import PlannedPart, Planner
from services.notifier.pipeline.recording import WAKEUP
from services.notifier.pipeline.sending import Senders
from services.notifier.store import escalations
from services.notifier.store.rulebook import lock_version
from services.notifier.store.work import NewWork, Work
from shared.bus import Incoming
from shared.clock import Clock
from shared.db import dead, inbox
from shared.db.dead import DeadLetter
from shared.db.engine import Database
from shared.errors import Conflict
from shared.events.identity import DERIVED_WINDOW
from shared.events.kinds import Event
from shared.ops.letters import conflicting, note_parked
from shared.telemetry import metrics, traces
from shared.telemetry.metrics import Metrics
from shared.values import value_class

Key = tuple[str, str]


class Standing(StrEnum):
    """What an arriving event turned out to be."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@value_class
class Plan:
    """What an arrival causes."""

    decision: Decision
    parts: tuple[PlannedPart, ...]
    opened: tuple[Opening, ...] = ()
    """What waits for an answer from now on."""


Decide = Callable[[Book, datetime], Plan]


class Beside(Protocol):
    """What else recording an arrival takes, where it is new; in the same transaction."""

    async def before(self, conn: AsyncConnection, now: datetime) -> None:
        """Before anything of it is written. Raises what it is refused with; then nothing is recorded."""
        ...

    async def after(self, conn: AsyncConnection, plan: Plan, now: datetime) -> None:
        """When all of it is written."""
        ...


@value_class
class Arrival:
    """An event at the door, and how to decide about it."""

    event: Event
    decide: Decide
    incoming: Incoming | None = None
    """The message it was read from; None for a caller who waits for the answer."""
    beside: Beside | None = None
    """Such an arrival is a batch of its own."""


@value_class
class Admitted:
    """What became of one arrival."""

    event_id: str
    """The id it is recorded under: for a derived id, possibly that of the minute before."""

    store_id: str
    standing: Standing


@dataclass(slots=True)
class _Batch:
    """What one transaction brought about."""

    admitted: list[Admitted]
    jobs: list[Job] = field(default_factory=list)
    parked: list[DeadLetter] = field(default_factory=list)


def by_rules(event: Event, incoming: Incoming | None = None) -> Arrival:
    """A business event, decided by the rules."""

    def decide(book: Book, now: datetime) -> Plan:
        decision = book.decide(event, now)
        opened: tuple[Opening, ...] = ()
        if book.rules.escalates(event.type):
            opened = tuple(openings(book.rules.entries(event.type, event.store_id), decision))
        return Plan(decision, tuple(PlannedPart(call) for call in decision.calls), opened)

    return Arrival(event, decide, incoming)


class Admission:
    """Takes batches of arrivals."""

    def __init__(
        self,
        database: Database,
        work: Work,
        books: Books,
        planner: Planner,
        senders: Senders,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._database = database
        self._work = work
        self._books = books
        self._planner = planner
        self._senders = senders
        self._clock = clock
        self._numbers = numbers
        self._lock_version = lock_version(database.dialect)

    async def admit(self, arrivals: Sequence[Arrival], parked: Sequence[DeadLetter] = ()) -> list[Admitted]:
        """Record *arrivals* and, beside them, messages that could not be read; the answers in order.

        When it returns, everything is committed; when it raises, nothing is.
        """
        started = time.time_ns()
        book = await self._books.current()
        while True:
            try:
                batch = await claim_for(
                    self._senders,
                    self._database,
                    partial(self._admit_in, arrivals=arrivals, parked=parked, book=book),
                )
                break
            except BookMoved:
                book = await self._books.newer_than(book)
        self._measure(arrivals, batch)
        self._trace(arrivals, batch, started)
        return batch.admitted

    async def admit_one(self, arrival: Arrival) -> Admitted:
        """Record one arrival of a caller who waits. Raises Conflict (EVENT_ID_CONFLICT) for other content."""
        admitted = (await self.admit([arrival]))[0]
        if admitted.standing is Standing.CONFLICT:
            raise Conflict(
                "EVENT_ID_CONFLICT",
                f"event {admitted.event_id} is known with other content; the first one stands",
                event_id=admitted.event_id,
            )
        return admitted

    async def _admit_in(
        self,
        conn: AsyncConnection,
        arrivals: Sequence[Arrival],
        parked: Sequence[DeadLetter],
        book: Book,
    ) -> _Batch:
        version = (await conn.execute(self._lock_version)).scalar_one()
        if version != book.version:
            raise BookMoved
        now = self._clock.now()
        earlier = await self._earlier(conn, arrivals, now)
        first: dict[Key, tuple[Arrival, Plan]] = {}
        for arrival in arrivals:
            key = (arrival.event.store_id, arrival.event.id)
            if key not in first and arrival.event.id not in earlier:
                first[key] = (arrival, arrival.decide(book, now))
        fresh = await inbox.record(conn, [_inbox_row(a.event, p) for a, p in first.values()])
        known = await self._known(conn, arrivals, fresh, earlier)
        batch = _Batch([])
        new = NewWork()
        planned = [pair for key, pair in first.items() if key in fresh]
        beside = [(a.beside, p) for a, p in planned if a.beside is not None]
        for one, _ in beside:
            await one.before(conn, now)
        await self._planner.plan(
            conn, [(a.event, p.parts) for a, p in planned], book.policies, now, new, self._senders.free
        )
        await self._work.insert(conn, new)
        await escalations.open_many(
            conn, [escalations.row_of(a.event, one, now) for a, p in planned for one in p.opened]
        )
        batch.parked = [*parked, *self._judge(arrivals, fresh, known, earlier, now, batch)]
        copies = [(a.store_id, a.event_id) for a in batch.admitted if a.standing is Standing.DUPLICATE]
        await inbox.count_duplicates(conn, copies)
        await dead.park(conn, batch.parked)
        for one, plan in beside:
            await one.after(conn, plan, now)
        if new.waiting:
            self._database.wakeups.notify(conn, WAKEUP)
        batch.jobs = new.jobs
        return batch

    async def _earlier(
        self, conn: AsyncConnection, arrivals: Sequence[Arrival], now: datetime
    ) -> dict[str, str]:
        """Derived id → the id of the minute before under which the same event is already there."""
        candidates = {
            (a.event.store_id, other): a.event.id for a in arrivals for other in a.event.candidate_ids[1:]
        }
        if not candidates:
            return {}
        found = await inbox.lookup(conn, candidates)
        earlier = {
            candidates[key]: key[1] for key, row in found.items() if row["received_at"] > now - DERIVED_WINDOW
        }
        # One that was read a moment before the minute was over may stand in this very batch.
        beside = {(a.event.store_id, a.event.id) for a in arrivals if a.event.id not in earlier}
        return earlier | {candidates[key]: key[1] for key in candidates.keys() & beside}

    async def _known(
        self,
        conn: AsyncConnection,
        arrivals: Sequence[Arrival],
        fresh: set[Key],
        earlier: dict[str, str],
    ) -> dict[Key, str]:
        """Content hashes of the arrivals that were there before."""
        keys = {(a.event.store_id, earlier.get(a.event.id, a.event.id)) for a in arrivals} - fresh
        if not keys:
            return {}
        found = await inbox.lookup(conn, keys)
        return {key: row["content_hash"] for key, row in found.items()}

    def _judge(
        self,
        arrivals: Sequence[Arrival],
        fresh: set[Key],
        known: dict[Key, str],
        earlier: dict[str, str],
        now: datetime,
        batch: _Batch,
    ) -> list[DeadLetter]:
        """Say of each arrival what it is; conflicts that came without a caller become dead letters."""
        conflicts: list[DeadLetter] = []
        seen: dict[Key, str] = {}
        for arrival in arrivals:
            event = arrival.event
            key = (event.store_id, earlier.get(event.id, event.id))
            content = seen.get(key) or known.get(key)
            if content is None and key in fresh:
                standing = Standing.NEW
            else:
                standing = Standing.DUPLICATE if content == event.content_hash else Standing.CONFLICT
            seen.setdefault(key, content or event.content_hash)
            if standing is Standing.CONFLICT and arrival.incoming is not None:
                conflicts.append(conflicting(arrival.incoming, event, now))
            batch.admitted.append(Admitted(key[1], event.store_id, standing))
        return conflicts

    def _measure(self, arrivals: Sequence[Arrival], batch: _Batch) -> None:
        by_standing = {
            Standing.NEW: metrics.EVENTS_ACCEPTED,
            Standing.DUPLICATE: metrics.EVENTS_DUPLICATE,
            Standing.CONFLICT: metrics.EVENTS_CONFLICT,
        }
        counted: dict[tuple[Standing, str], int] = {}
        for arrival, admitted in zip(arrivals, batch.admitted, strict=True):
            key = (admitted.standing, arrival.event.door)
            counted[key] = counted.get(key, 0) + 1
        for (standing, door), count in counted.items():
            self._numbers.add(by_standing[standing], count, service="notifier", door=door)
        for kept in batch.parked:
            note_parked(kept, "notifier", self._numbers)
        self._numbers.observe(metrics.INTAKE_BATCH, len(arrivals), service="notifier")

    def _trace(self, arrivals: Sequence[Arrival], batch: _Batch, started: int) -> None:
        ended = 0
        for arrival in arrivals:
            event = arrival.event
            if traces.should_record(event.traceparent):
                ended = ended or time.time_ns()
                parent = traces.record(
                    "notifier admit",
                    event.traceparent,
                    started,
                    ended,
                    attributes={
                        "reach.event_id": event.id,
                        "reach.event_type": event.type,
                        "reach.store_id": event.store_id,
                        "reach.batch": len(arrivals),
                    },
                )
                for job in batch.jobs:
                    if job.event_id == event.id and job.store_id == event.store_id:
                        job.traceparent = parent


def _inbox_row(event: Event, plan: Plan) -> dict[str, object]:
    return {
        "store_id": event.store_id,
        "event_id": event.id,
        "event_type": event.type,
        "content_hash": event.content_hash,
        "door": event.door,
        "data": event.data,
        "decision": plan.decision.to_json(calls=False),
        "traceparent": event.traceparent,
        "received_at": event.received_at,
        "occurred_at": event.occurred_at or event.received_at,
        "derived_id": event.derived_id,
        "duplicates": 0,
    }
