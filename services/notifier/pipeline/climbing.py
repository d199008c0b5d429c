"""What nobody answered climbs: one transaction finds who is next, plans their messages and moves the row on.

The row's own lock is the lease. A process that dies within the transaction has done nothing, and the next one to look
finds the row as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.climbing import Climb, Key, climb
from services.notifier.pipeline.announcing import escalated
from services.notifier.pipeline.books import Book, Books
from services.notifier.pipeline.handing import claim_for
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.planning import PlannedPart, Planner
from services.notifier.pipeline.recording import WAKEUP as DELIVERIES
from services.notifier.pipeline.sending import Senders
from services.notifier.store import escalations
from services.notifier.store.escalations import Escalated, Note
from services.notifier.store.work import NewWork, Work
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.faults import Raced
from shared.events.kinds import Event
from shared.supervise import Turn

WAKEUP: Final = "escalations"
"""Given when one is due earlier than it was."""

BATCH = 50
_POLL = 1.0
"""The net below the wake-ups, in seconds: time may be the sandbox's, which jumps."""

_log = structlog.get_logger("reach.notifier.escalations")


@dataclass(slots=True)
class _Round:
    """What one transaction came to."""

    found: int = 0
    jobs: list[Job] = field(default_factory=list)


class Climber:
    """The loop that lets escalations climb."""

    def __init__(
        self, database: Database, work: Work, planner: Planner, senders: Senders, books: Books, clock: Clock
    ) -> None:
        self._database = database
        self._work = work
        self._planner = planner
        self._senders = senders
        self._books = books
        self._clock = clock

    async def run(self, turn: Turn) -> None:
        """Climb until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            waits = await self.climb_due()
            turn()
            await signal.wait(min(waits, _POLL))

    async def climb_due(self) -> float:
        """Let everything climb that is due; the seconds until more is."""
        while True:
            async with self._database.read() as conn:
                due_at = await escalations.next_due(conn)
            if due_at is None:
                return _POLL
            if (left := (due_at - self._clock.now()).total_seconds()) > 0:
                return left
            book = await self._books.fresh()
            done = await claim_for(self._senders, self._database, partial(self._climb_in, book=book))
            if not done.found:
                return _POLL  # others hold what is due

    async def _climb_in(self, conn: AsyncConnection, book: Book) -> _Round:
        now = self._clock.now()
        due = await escalations.take_due(conn, now, BATCH)
        new, steps = NewWork(), await self._steps(conn, due, book)
        planned = [
            (_event(one, now), [PlannedPart(call) for call in step.calls])
            for one, step in steps
            if step is not None
        ]
        await self._planner.plan(conn, planned, book.policies, now, new, self._senders.free)
        try:
            await self._work.insert(conn, new)
        except IntegrityError as error:
            # Somebody was told by another way meanwhile, as a stand-in for what failed: look again who is left.
            raise Raced("recipient", "somebody to be told was told at the same moment") from error
        for one, step in steps:
            await self._move(conn, one, step, now)
        await outbox.add(conn, [self._announcement(one, step, now) for one, step in steps])
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
        if new.waiting:
            self._database.wakeups.notify(conn, DELIVERIES)
        return _Round(len(due), new.jobs)

    @staticmethod
    async def _steps(
        conn: AsyncConnection, due: Sequence[Escalated], book: Book
    ) -> list[tuple[Escalated, Climb | None]]:
        """The next step of each; whom one of them tells of an event, no other tells of it."""
        steps: list[tuple[Escalated, Climb | None]] = []
        told: dict[tuple[str, str], set[Key]] = {}
        for one in due:
            event = (one.store_id, one.event_id)
            if event not in told:
                told[event] = await escalations.told(conn, one.event_id, one.store_id)
            step = climb(
                one.opening,
                one.level,
                one.store_id,
                book.bindings,
                book.deputies,
                told[event],
                cards=book.cards,
            )
            steps.append((one, step))
            told[event] |= {target.key for target in step.told} if step is not None else set()
        return steps

    async def _move(self, conn: AsyncConnection, one: Escalated, step: Climb | None, now: datetime) -> None:
        if step is None:
            await escalations.exhausted(conn, one)
            await escalations.note(conn, one, Note("exhausted", one.level, now))
            _log.warning("nobody answered", event_id=one.event_id, store_id=one.store_id, rule_id=one.rule_id)
        else:
            told = tuple(str(target) for target in step.told)
            await escalations.climbed(conn, one, step.level, now)
            await escalations.note(conn, one, Note("climbed", step.level, now, told=told))

    @staticmethod
    def _announcement(one: Escalated, step: Climb | None, now: datetime) -> outbox.NewEvent:
        if step is None:
            return escalated(one, "exhausted", one.level, now)
        return escalated(one, "climbed", step.level, now)


def _event(one: Escalated, now: datetime) -> Event:
    """What the planner has to know of the event: its words are rendered already."""
    return Event(one.event_id, one.event_type, one.store_id, {}, "", now, traceparent=one.traceparent)
