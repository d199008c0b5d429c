"""From a batch of the bus to the inbox, and to what a service does about the events that are new to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

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

_DERIVED_WINDOW: Final = timedelta(seconds=60)


class EventIntake(ABC):
    """Takes messages from the bus: each event once, in the transaction that records it."""

    service: str
    """Whose it is, in figures and letters."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        numbers: Metrics,
        *,
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._numbers = numbers
        self._default_store = default_store
        self._max_bytes = max_bytes

    @abstractmethod
    def check(self, event: Event) -> None:
        """Whether an event can be taken. Raises Unreadable."""

    @abstractmethod
    async def act(self, conn: AsyncConnection, event: Event) -> Mapping[str, object]:
        """What an event that was not known before causes; what was decided, for Explain."""

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
            note_parked(one, self.service, self._numbers)
        self._numbers.observe(metrics.INTAKE_BATCH, len(batch), service=self.service)

    async def replay(self, incoming: Incoming) -> None:
        """Take one dead letter as if it had just come; raises ``Unreadable`` or ``Conflict`` if it still cannot be."""
        event = self._read(incoming)
        if await self._database.transact(lambda conn: self._take(conn, [event])):
            raise contradicts(event)

    def _read(self, incoming: Incoming) -> Event:
        event = read_event(
            incoming, default_store=self._default_store, now=self._clock.now(), max_bytes=self._max_bytes
        )
        self.check(event)
        return event

    async def _take(self, conn: AsyncConnection, events: Sequence[Event]) -> list[int]:
        """Record the events and act on the new ones; the places of those that contradict what is known."""
        ids = await self._ids(conn, events)
        first: dict[Key, Event] = {}
        for event, event_id in zip(events, ids, strict=True):
            first.setdefault((event.store_id, event_id), event)
        fresh = await inbox.record(conn, [inbox_row(event, key[1]) for key, event in first.items()])
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
        decisions = {key: await self.act(conn, first[key]) for key in sorted(fresh)}
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


def inbox_row(event: Event, event_id: str) -> dict[str, object]:
    """The inbox's row of *event*, under *event_id*."""
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


def contradicts(event: Event) -> Conflict:
    """What is answered where *event* is known by its id with other content."""
    text = f"event {event.id} is known with other content; the first one stands"
    return Conflict("EVENT_ID_CONFLICT", text, event_id=event.id)
