"""From the outbox to the bus, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from shared.bus import Outgoing
from shared.bus.memory import MemoryBus
from shared.bus.relay import OutboxRelay
from shared.clock import ManualClock, SystemClock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.tables import shared_metadata
from shared.errors import Unavailable
from shared.telemetry.metrics import Metrics
from tests.bus.support import Inbox, Parked, until

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)


class Recorder(MemoryBus):
    """A bus that keeps what it was given and answers as told."""

    def __init__(self, answers: Sequence[Exception | None] = ()) -> None:
        super().__init__(SystemClock(), Parked())
        self.got: list[Outgoing] = []
        self.answers = list(answers)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        self.got.extend(messages)
        return [self.answers.pop(0) if self.answers else None for _ in messages]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/reach.db"
        return
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {unique}".encode())
        yield url
        admin.execute(f"DROP SCHEMA {unique} CASCADE".encode())


@pytest.fixture
async def database(place: str, unique: str) -> AsyncIterator[Database]:
    opened = Database.open(place, schema=unique)
    async with opened.write() as connection:
        await connection.run_sync(shared_metadata.create_all)
    yield opened
    await opened.close()


def _event(name: str, event_id: str | None = None) -> outbox.NewEvent:
    headers = {"cloudEvents:id": event_id or name, "cloudEvents:traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    return outbox.NewEvent(name, "order.created", "s1", name.encode(), "application/json", headers, NOW)


async def _add(database: Database, *events: outbox.NewEvent) -> None:
    async with database.write() as connection:
        await outbox.add(connection, events)
        database.wakeups.notify(connection, outbox.WAKEUP)


async def _pending(database: Database) -> int:
    async with database.read() as connection:
        return (await outbox.backlog(connection)).pending


async def test_what_is_due_is_published_once_with_its_headers(database: Database) -> None:
    bus = Recorder()
    relay = OutboxRelay(database, bus, ManualClock(NOW), Metrics(), service="notifier")
    await _add(database, _event("row-1", "event-1"), _event("row-2"))
    assert await relay.relay_once() == 2
    assert await relay.relay_once() == 0
    assert [(one.id, one.type, one.body) for one in bus.got] == [
        ("event-1", "order.created", b"row-1"),
        ("row-2", "order.created", b"row-2"),
    ]
    assert bus.got[0].headers["cloudEvents:traceparent"].startswith("00-")
    assert await _pending(database) == 0


async def test_an_unconfirmed_event_stays_and_goes_again_later_under_the_same_id(database: Database) -> None:
    clock, bus = ManualClock(NOW), Recorder([None, Unavailable("PUBLISH_UNCONFIRMED", "no confirm")])
    relay = OutboxRelay(database, bus, clock, Metrics(), service="notifier")
    await _add(database, _event("a"), _event("b"))
    assert await relay.relay_once() == 1
    assert await relay.relay_once() == 0  # what became of a batch is written with the next claim
    assert await _pending(database) == 1
    clock.advance(timedelta(seconds=2))
    assert await relay.relay_once() == 1
    assert [one.id for one in bus.got] == ["a", "b", "b"]


async def test_a_relay_that_died_between_claim_and_mark_is_made_good_by_another(database: Database) -> None:
    class Dies(Recorder):
        async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
            raise asyncio.CancelledError

    clock = ManualClock(NOW)
    await _add(database, _event("a"))
    with pytest.raises(asyncio.CancelledError):
        await OutboxRelay(database, Dies(), clock, Metrics(), service="notifier").relay_once()
    bus = Recorder()
    other = OutboxRelay(database, bus, clock, Metrics(), service="notifier")
    assert await other.relay_once() == 0
    clock.advance(timedelta(seconds=31))
    assert await other.relay_once() == 1
    assert [one.id for one in bus.got] == ["a"]


async def test_where_no_other_relay_can_be_alive_a_dead_ones_claims_are_taken_at_once(
    database: Database,
) -> None:
    await _add(database, _event("a"), _event("b"))
    async with database.write() as connection:
        assert len(await outbox.claim(connection, "dead", NOW, timedelta(seconds=30))) == 2
        await outbox.mark_published(connection, ["b"], NOW)
    bus = Recorder()
    relay = OutboxRelay(database, bus, ManualClock(NOW), Metrics(), service="notifier")
    assert await relay.relay_once() == 0
    await relay.take_over_orphans()
    assert await relay.relay_once() == 1
    assert [one.id for one in bus.got] == ["a"]


async def test_the_loop_wakes_for_new_events_and_survives_a_failing_bus(database: Database) -> None:
    class Moody(Recorder):
        failures = 2

        async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
            if self.failures:
                self.failures -= 1
                return [Unavailable("BROKER_UNAVAILABLE", "away") for _ in messages]
            return await super().publish(messages)

    bus = Moody()
    relay = OutboxRelay(database, bus, SystemClock(), Metrics(), service="notifier")
    relay.start()
    try:
        await _add(database, *(_event(f"e{i}") for i in range(250)))
        await until(lambda: len(bus.got) >= 250)
    finally:
        await relay.close()
    assert {one.id for one in bus.got} == {f"e{i}" for i in range(250)}
    assert await _pending(database) == 0


async def test_an_event_is_marked_published_only_after_every_subscriber_committed(database: Database) -> None:
    fast, slow = Inbox(), Inbox(gate=asyncio.Event())
    bus = MemoryBus(SystemClock(), Parked())
    bus.subscribe("fast", ["order.*"], fast)
    bus.subscribe("slow", ["order.*"], slow)
    await bus.start()
    relay = OutboxRelay(database, bus, SystemClock(), Metrics(), service="notifier")
    await _add(database, _event("a"))
    relay.start()
    await until(lambda: bool(fast.seen))
    assert await _pending(database) == 1
    assert slow.gate is not None
    slow.gate.set()
    await until(lambda: bool(slow.seen))
    await relay.close()
    await bus.close()
    assert await _pending(database) == 0
