"""Which events kf_session hears, and how a message from the bus becomes a match and a push."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.announcing_matches import SOURCE, TYPE
from services.kf_session.pipeline.telling import NO_SESSION, Telling
from services.kf_session.store import matches
from services.kf_session.store.heard import outside
from services.kf_session.store.matches import OWN
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

TYPES: Final = (TYPE,)
"""What others tell us."""

OUR_OWN: Final = "our_own"
"""An announcement of ours that came back."""
KNOWN: Final = "known"
"""The match is there already: an event told of it, or we found it ourselves."""

_DERIVED_WINDOW: Final = timedelta(seconds=60)


class Intake:
    """Takes messages from the bus."""

    def __init__(
        self,
        database: Database,
        telling: Telling,
        clock: Clock,
        numbers: Metrics,
        *,
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        self._database = database
        self._telling = telling
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
            note_parked(one, "kf_session", self._numbers)
        self._numbers.observe(metrics.INTAKE_BATCH, len(batch), service="kf_session")

    async def replay(self, incoming: Incoming) -> None:
        """Take one dead letter as if it had just come; raises ``Unreadable`` or ``Conflict`` if it still cannot be."""
        event = self._read(incoming)
        if await self._database.transact(lambda conn: self._take(conn, [event])):
            text = f"event {event.id} is known with other content; the first one stands"
            raise Conflict("EVENT_ID_CONFLICT", text, event_id=event.id)

    def _read(self, incoming: Incoming) -> Event:
        event = read_event(
            incoming, default_store=self._default_store, now=self._clock.now(), max_bytes=self._max_bytes
        )
        if event.type != TYPE:
            raise Unreadable("schema", f"type: {event.type} is nothing that kf_session hears")
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
        """Store the match and tell its customer; what was decided, for Explain."""
        now = self._clock.now()
        match_id = str(event.data["match_id"])
        if event.source == SOURCE:
            return {"reason": OUR_OWN, "match_id": match_id.partition(".")[0]}
        if (there := await matches.by_external_id(conn, event.store_id, match_id)) is not None:
            return {"reason": KNOWN, "match_id": there.id}
        new = outside(event)
        pair = (new.intent_id, new.profile_id)
        old = (await matches.known(conn, event.store_id, [pair])).get(pair)
        if old is not None and old.source == OWN and old.withdrawn_at is None:
            return {"reason": KNOWN, "match_id": old.id}
        saved = await matches.save(conn, new, now)
        (told,) = await self._telling.tell(conn, [saved], now)
        decided: dict[str, Any] = {"match_id": saved.id, "push_id": told.push_id}
        return decided | ({"reason": NO_SESSION} if told.push_id is None else {})


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
