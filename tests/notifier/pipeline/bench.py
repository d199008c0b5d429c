"""The pipeline on a workbench: real rows, a clock one can push, and an outside world that answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from services.notifier.domain.content import Content, Format
from services.notifier.domain.decision import Decision
from services.notifier.domain.planning import Assignment, Recipient, plan
from services.notifier.domain.routing import Target, TargetKind
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import Admission, Arrival, Plan
from services.notifier.pipeline.books import Book, Books
from services.notifier.pipeline.breakers import Breakers, figures_of
from services.notifier.pipeline.dispatch import Dispatcher
from services.notifier.pipeline.falling_back import Fallbacks
from services.notifier.pipeline.job import Finished, Job
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.planning import PlannedPart, Planner
from services.notifier.pipeline.recording import Recorder
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.sending import Senders
from services.notifier.store.tables import attempt, delivery, metadata, recipient, rulebook
from services.notifier.store.work import Work
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.tables import shared_metadata
from shared.db.types import DialectName
from shared.events.envelope import make_event
from shared.secrets import SecretKey
from shared.settings import Limits
from shared.telemetry.metrics import Metrics
from shared.wecom.outcome import Outcome, State

STORE = "store-1"
LEASE = timedelta(seconds=30)
ACCEPTED = Outcome(State.ACCEPTED, errcode=0, http_status=200, msgid="m")

Answer = Callable[[Job], Awaitable[Outcome]]


async def accept(job: Job) -> Outcome:
    """What the platform says to everything."""
    return ACCEPTED


@dataclass(slots=True)
class World:
    """What is outside: remembers every job that reached it."""

    answer: Answer = accept
    sent: list[Job] = field(default_factory=list)

    async def send(self, job: Job, deadline: float) -> Outcome:
        """See ``Channels``."""
        self.sent.append(job)
        return await self.answer(job)


def audit_log(dialect: DialectName) -> AuditLog:
    """Keeps account of what a test does by hand."""
    return AuditLog(dialect, SecretKey(bytes(32)))


def user(name: str) -> Target:
    """A member, through the default app."""
    return Target.checked(TargetKind.USER, name)


def robot(name: str) -> Target:
    """A group."""
    return Target.checked(TargetKind.ROBOT, name)


_work = cache(Work)
"""Statements alone, which take longer to put together than most tests take."""


class Replica:
    """One replica's pipeline; its loops turn only when told to."""

    def __init__(self, database: Database, clock: Clock, owner: str = "a", **limits: Any) -> None:
        self.database, self.clock, self.owner = database, clock, owner
        self.world = World()
        self.work, self.rests = _work(database.dialect), Rests(database.dialect)
        self.rates = Rates.of(Limits(**limits))
        self.outcomes: asyncio.Queue[Finished] = asyncio.Queue()
        numbers = Metrics()
        self.breakers = Breakers(figures_of(Limits(**limits)), numbers, jitter=lambda: 0.0)
        self.senders = Senders(self.world, self.outcomes, clock, refuses=self.breakers.refuses)
        self.books = Books(database, ZoneInfo("Asia/Shanghai"))
        planner = Planner(self.work, self.rates, self.rests, self.breakers, numbers, owner, LEASE)
        self.recorder = Recorder(
            database,
            self.work,
            self.outcomes,
            self.rates,
            self.rests,
            self.breakers,
            Fallbacks(self.books, planner, self.work),
            clock,
            numbers,
            jitter=lambda: 0.0,
        )
        self.pools: dict[str, tuple[str, ...]] = {}
        self.dispatcher = Dispatcher(
            database,
            self.work,
            self.senders,
            self.recorder,
            self.rates,
            self.rests,
            self.books,
            self.breakers,
            clock,
            numbers,
            owner,
            LEASE,
            pools=self._pools,
            jitter=lambda: 0.0,
        )
        self.admission = Admission(database, self.work, self.books, planner, self.senders, clock, numbers)

    async def _pools(self) -> dict[str, tuple[str, ...]]:
        return self.pools

    async def admit(self, *arrivals: Arrival) -> list[str]:
        """How each of *arrivals* stands."""
        return [one.standing.value for one in await self.admission.admit(arrivals)]

    async def claim(self, limit: int = 100) -> None:
        """One round of the dispatcher's claiming."""
        await self.dispatcher.claim(limit)

    async def turn(self) -> None:
        """Send what waits for a sender, and record what came of it."""
        sending = asyncio.create_task(self.senders.run(lambda: None))
        await self.senders.drain(5.0)
        sending.cancel()
        await asyncio.wait({sending})
        await self.recorder.flush()

    async def rows(self, table: sa.Table, *order: str) -> list[Any]:
        """All rows of *table*."""
        async with self.database.read() as conn:
            return list(
                (await conn.execute(sa.select(table).order_by(*(table.c[one] for one in order)))).all()
            )

    async def deliveries(self) -> list[Any]:
        """All deliveries, as they were made."""
        return await self.rows(delivery, "id")

    async def attempts(self) -> list[tuple[int, str]]:
        """Number and state of every attempt."""
        return [(row.attempt_no, row.state) for row in await self.rows(attempt, "delivery_id", "attempt_no")]

    async def recipients(self) -> list[Any]:
        """All recipients."""
        return await self.rows(recipient, "delivery_id", "target")


async def prepare(database: Database) -> None:
    """The tables, and the first version of an empty rulebook."""
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)
        await conn.execute(sa.insert(rulebook).values(id=1, version=1))


def arrival(
    event_id: str,
    now: datetime,
    *targets: Target,
    priority: Priority = Priority.NORMAL,
    text: str = "hello",
    pages: int = 1,
    lane: str | None = None,
) -> Arrival:
    """An event that says *text* to *targets*; with *pages*, so often, in order."""
    event = make_event("test.said", {"text": text}, id=event_id, store_id=STORE, now=now, door="grpc")

    def decide(book: Book, at: datetime) -> Plan:
        parts = tuple(_parts(targets, priority, text, pages, lane))
        calls = tuple(part.call for part in parts)
        return Plan(Decision(event_id, event.type, STORE, book.version, (), calls, ()), parts)

    return Arrival(event, decide)


def _parts(
    targets: Sequence[Target], priority: Priority, text: str, pages: int, lane: str | None
) -> Iterable[PlannedPart]:
    for number in range(pages):
        content = Content(Format.TEXT, f"{text} {number}")
        for call in plan(Assignment(Recipient(one), content, priority) for one in targets):
            yield PlannedPart(call, number, lane)
