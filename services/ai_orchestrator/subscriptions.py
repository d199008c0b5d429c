"""How a message from the bus becomes facts and a run, and the same event by RPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.triggers import SubjectMissing, subject_of
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import Learn
from services.ai_orchestrator.pipeline.starting import Order, Started, Starter
from shared.clock import Clock
from shared.db import inbox
from shared.db.engine import Database
from shared.events.canonical import Unreadable
from shared.events.kinds import Event
from shared.hosting.intake import EventIntake, contradicts, inbox_row
from shared.telemetry.metrics import Metrics

NO_CHAIN: Final = "no_chain"
"""Its facts were kept, and it starts nothing."""
SUBJECT_MISSING: Final = "subject_missing"
"""Why an event is parked that does not say whom it is about."""


class Intake(EventIntake):
    """Takes events, from the bus or by RPC; *types* are all that it hears."""

    service = "ai_orchestrator"

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
        super().__init__(database, clock, numbers, default_store=default_store, max_bytes=max_bytes)
        self._book = book
        self._starter = starter
        self._learn = learn

    async def take_one(
        self, conn: AsyncConnection, event: Event, *, forced: bool = False, connector: str = ""
    ) -> Started:
        """Take an event by RPC, in the caller's transaction. Raises Conflict where its id has other content."""
        self.check(event)
        new = await inbox.record(conn, [inbox_row(event, event.id)])
        if not new:
            known = await inbox.get(conn, event.store_id, event.id)
            assert known is not None  # recording it has said so
            if known["content_hash"] != event.content_hash:
                raise contradicts(event)
            await inbox.count_duplicates(conn, [(event.store_id, event.id)])
            if not forced and (run_id := (known["decision"] or {}).get("run_id")):
                return Started(run_id, deduplicated=True)
        started = await self._start(conn, event, "rpc", forced=forced, connector=connector)
        if new and not started.repeated:
            await self._learn(conn, event, self._clock.now())
        await inbox.decide(conn, {(event.store_id, event.id): _decision(started)})
        return started

    def check(self, event: Event) -> None:
        """Whether an event is heard, and says whom it is about. Raises Unreadable."""
        if event.type not in self.types:
            raise _unfit(event, "schema", f"type: {event.type} is nothing that ai_orchestrator hears")
        if (chain := self._book.by_event.get(event.type)) is not None:
            try:
                subject_of(chain, event.store_id, event.data)
            except SubjectMissing as missing:
                raise _unfit(event, SUBJECT_MISSING, str(missing)) from None

    async def act(self, conn: AsyncConnection, event: Event) -> Mapping[str, object]:
        """Keep its facts and start its chain; what was decided, for Explain."""
        if event.type not in self._book.by_event:
            await self._learn(conn, event, self._clock.now())
            return {"reason": NO_CHAIN}
        # The run comes first: it waits for whoever takes a copy under another id, which would be another visit.
        started = await self._start(conn, event, "event")
        if not started.repeated:
            await self._learn(conn, event, self._clock.now())
        return _decision(started)

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


def _unfit(event: Event, reason: str, text: str) -> Unreadable:
    error = Unreadable(reason, text)
    error.event_id, error.event_type, error.store_id = event.id, event.type, event.store_id
    return error
