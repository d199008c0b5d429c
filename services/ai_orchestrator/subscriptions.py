"""How a message from the bus becomes facts and a run, and the same event by RPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.triggers import SubjectMissing, subject_of
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import Learn
from services.ai_orchestrator.pipeline.starting import Order, Started, Starter
from shared.bus import Incoming
from shared.clock import Clock
from shared.db import dead, inbox
from shared.db.dead import DeadLetter
from shared.db.engine import Database
from shared.db.inbox import Key
from shared.errors import Conflict
from shared.events.canonical import Unreadable
from shared.events.envelope import read_event
from shared.events.kinds import Event
from shared.ops.letters import conflicting, note_parked, unreadable
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

NO_CHAIN: Final = "no_chain"
"""Its facts were kept, and it starts nothing."""
SUBJECT_MISSING: Final = "subject_missing"
"""Why an event is parked that does not say whom it is about."""

_DERIVED_WINDOW: Final = timedelta(seconds=60)


class Intake:
    """Takes events, from the bus or by RPC; *types* are all that it hears."""

    def __init__(
        self,
        database: Database,
        book: Book,
        starter: Starter,
        learn: Learn,
        clock: Clock,
        numbers: Metrics,
        *,
        types: Sequence[str],
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        self.types = (*book.by_event, *(one for one in types if one not in book.by_event))
        self._database = database
        self._book = book
        self._starter = starter
        self._learn = learn
        self._clock = clock
        self._numbers = numbers
        self._default_store = default_store
        self._max_bytes = max_bytes

    async def take(self, batch: Sequence[Incoming]) -> None:
        """Take a batch; when it returns, everything in it is committed, as an event or as a dead letter."""
        read: list[tuple[Event, Incoming]] = []
        parked: list[DeadLetter] = []
        now = self._clock.now()
        for incoming in batch:
            try:
                read.append((self._read(incoming), incoming))
            except Unreadable as error:
                parked.append(unreadable(incoming, error, now))

        async def write(conn: AsyncConnection) -> list[DeadLetter]:
            conflicts = await self._take(conn, [event for event, _ in read])
            letters = [*parked, *(conflicting(read[at][1], read[at][0], now) for at in conflicts)]
            await dead.park(conn, letters)
            return letters

        letters = await self._database.transact(write)
        for one in letters:
            note_parked(one, "ai_orchestrator", self._numbers)
        self._numbers.observe(metrics.INTAKE_BATCH, len(batch), service="ai_orchestrator")

    async def replay(self, incoming: Incoming) -> None:
        """Take one dead letter as if it had just come; raises ``Unreadable`` or ``Conflict`` if it still cannot be."""
        event = self._read(incoming)
        if await self._database.transact(lambda conn: self._take(conn, [event])):
            raise _contradicts(event)

    async def take_one(
        self, conn: AsyncConnection, event: Event, *, forced: bool = False, connector: str = ""
    ) -> Started:
        """Take an event by RPC, in the caller's transaction. Raises Conflict where its id has other content."""
        self.check(event)
        if await inbox.record(conn, [_row(event, event.id)]):
            await self._learn(conn, event, self._clock.now())
        else:
            known = await inbox.get(conn, event.store_id, event.id)
            assert known is not None  # recording it has said so
            if known["content_hash"] != event.content_hash:
                raise _contradicts(event)
            await inbox.count_duplicates(conn, [(event.store_id, event.id)])
            if not forced and (run_id := (known["decision"] or {}).get("run_id")):
                return Started(run_id, deduplicated=True)
        started = await self._start(conn, event, "rpc", forced=forced, connector=connector)
        await inbox.decide(conn, {(event.store_id, event.id): _decision(started)})
        return started

    def check(self, event: Event) -> None:
        """Whether an event can be taken. Raises Unreadable."""
        if event.type not in self.types:
            raise Unreadable("schema", f"type: {event.type} is nothing that ai_orchestrator hears")
        if (chain := self._book.by_event.get(event.type)) is not None:
            try:
                subject_of(chain, event.store_id, event.data)
            except SubjectMissing as missing:
                raise Unreadable(SUBJECT_MISSING, str(missing)) from None

    def _read(self, incoming: Incoming) -> Event:
        event = read_event(
            incoming, default_store=self._default_store, now=self._clock.now(), max_bytes=self._max_bytes
        )
        try:
            self.check(event)
        except Unreadable as error:
            error.event_id, error.event_type, error.store_id = event.id, event.type, event.store_id
            raise
        return event

    async def _take(self, conn: AsyncConnection, events: Sequence[Event]) -> list[int]:
        """Record the events and act on the new ones; the places of those that contradict what is known."""
        ids = await self._ids(conn, events)
        first: dict[Key, Event] = {}
        for event, event_id in zip(events, ids, strict=True):
            first.setdefault((event.store_id, event_id), event)
        fresh = await inbox.record(conn, [_row(event, key[1]) for key, event in first.items()])
        known = {
            key: row["content_hash"] for key, row in (await inbox.lookup(conn, first.keys() - fresh)).items()
        }
        content = {key: known.get(key, event.content_hash) for key, event in first.items()}
        conflicts: list[int] = []
        copies: list[Key] = []
        for at, (event, event_id) in enumerate(zip(events, ids, strict=True)):
            key = (event.store_id, event_id)
            if event.content_hash != content[key]:
                conflicts.append(at)
            elif key not in fresh or first[key] is not event:
                copies.append(key)
        await inbox.count_duplicates(conn, copies)
        # In one order, so that two replicas never wait for each other's rows.
        decisions = {key: await self._act(conn, first[key]) for key in sorted(fresh)}
        await inbox.decide(conn, decisions)
        return conflicts

    async def _ids(self, conn: AsyncConnection, events: Sequence[Event]) -> list[str]:
        """The id of each event: for one that had none, that of the minute before if it came then already."""
        asked = {(e.store_id, other) for e in events for other in e.candidate_ids[1:]}
        found = await inbox.lookup(conn, asked) if asked else {}
        since = self._clock.now() - _DERIVED_WINDOW
        earlier = {key for key, row in found.items() if row["received_at"] > since}
        return [
            next((other for other in e.candidate_ids[1:] if (e.store_id, other) in earlier), e.id)
            for e in events
        ]

    async def _act(self, conn: AsyncConnection, event: Event) -> Mapping[str, object]:
        """Keep its facts and start its chain; what was decided, for Explain."""
        await self._learn(conn, event, self._clock.now())
        if event.type not in self._book.by_event:
            return {"reason": NO_CHAIN}
        return _decision(await self._start(conn, event, "event"))

    async def _start(
        self, conn: AsyncConnection, event: Event, trigger: str, *, forced: bool = False, connector: str = ""
    ) -> Started:
        chain = self._book.by_event[event.type]
        order = Order(
            chain,
            subject_of(chain, event.store_id, event.data),
            event.id,
            event.content_hash,
            trigger,
            connector=connector or event.source,
            forced=forced,
            traceparent=event.traceparent,
        )
        return await self._starter.start(conn, order, self._clock.now())


def _decision(started: Started) -> dict[str, object]:
    return {
        "run_id": started.run_id,
        "deduplicated": started.deduplicated,
        "follow_up_run_id": started.follow_up_run_id,
    }


def _contradicts(event: Event) -> Conflict:
    text = f"event {event.id} is known with other content; the first one stands"
    return Conflict("EVENT_ID_CONFLICT", text, event_id=event.id)


def _row(event: Event, event_id: str) -> dict[str, object]:
    return {
        "store_id": event.store_id,
        "event_id": event_id,
        "event_type": event.type,
        "content_hash": event.content_hash,
        "door": event.door,
        "data": event.data,
        "decision": None,
        "traceparent": event.traceparent,
        "received_at": event.received_at,
        "occurred_at": event.occurred_at or event.received_at,
        "derived_id": event.derived_id,
        "duplicates": 0,
    }
