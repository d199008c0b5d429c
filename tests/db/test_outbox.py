"""The outbox: announced once confirmed, claimed by one relay at a time, kept until then (I6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import outbox
from shared.db.engine import Database
from shared.db.outbox import Backlog, Claimed, Failure, NewEvent
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def new(event_id: str, body: bytes = b"{}", at: datetime = NOW) -> NewEvent:
    return NewEvent(
        event_id, "notifier.sent", "s1", body, "application/json", {"cloudEvents:id": event_id}, at
    )


async def add(database: Database, *events: NewEvent) -> set[str]:
    async with database.write() as connection:
        return await outbox.add(connection, events)


async def claim(database: Database, now: datetime = NOW, limit: int = 100) -> list[Claimed]:
    return await database.transact(lambda connection: outbox.claim(connection, "relay", now, LEASE, limit))


@pytest.mark.parametrize(
    "body", [b"", b'{"a":"\xe8\xa7\xa6"}', b"\x00\x01\xff", b"a\x00b", bytes(range(256))]
)
async def test_any_body_comes_out_as_it_went_in(database: Database, body: bytes) -> None:
    await add(database, new("a", body))

    (event,) = await claim(database)

    assert event.body == body
    assert event.headers == {"cloudEvents:id": "a"}
    assert (event.type, event.store_id, event.content_type) == ("notifier.sent", "s1", "application/json")


async def test_an_event_is_added_once(database: Database) -> None:
    assert await add(database, new("a"), new("b"), new("a")) == {"a", "b"}
    assert await add(database, new("a", b"other")) == set()
    assert await add(database) == set()
    assert [event.body for event in await claim(database)] == [b"{}", b"{}"]


async def test_what_is_rolled_back_is_not_announced(database: Database) -> None:
    async def change_and_fail(connection: AsyncConnection) -> None:
        await outbox.add(connection, [new("a")])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.transact(change_and_fail)

    assert await claim(database) == []


async def test_the_oldest_is_claimed_first_and_by_one_relay_only(database: Database) -> None:
    await add(database, *(new(f"e{n}", at=NOW - timedelta(seconds=n)) for n in range(5)))

    assert [event.id for event in await claim(database, limit=3)] == ["e4", "e3", "e2"]
    assert [event.id for event in await claim(database)] == ["e1", "e0"]
    assert await claim(database) == []


async def test_the_claim_of_a_dead_relay_runs_out(database: Database) -> None:
    await add(database, new("a"))
    (first,) = await claim(database)
    async with database.read() as connection:
        assert await outbox.next_due(connection) == NOW + LEASE

    (second,) = await claim(database, NOW + LEASE)

    assert (first.epoch, second.epoch) == (1, 2)


async def test_a_failed_publish_waits_and_a_relay_that_lost_its_claim_cannot_say_so(
    database: Database,
) -> None:
    await add(database, new("a"))
    (stale,) = await claim(database)
    (event,) = await claim(database, NOW + LEASE)
    later = NOW + timedelta(minutes=1)
    async with database.write() as connection:
        assert await outbox.mark_failed(connection, [Failure("a", stale.epoch, "late", NOW)]) == 0
        assert await outbox.mark_failed(connection, [Failure("a", event.epoch, "nack\0" * 200, later)]) == 1
        assert await outbox.mark_failed(connection, []) == 0

    assert await claim(database, later - timedelta(seconds=1)) == []
    assert [event.attempts for event in await claim(database, later)] == [1]


async def test_a_confirmed_publish_is_published_even_under_a_lost_claim(database: Database) -> None:
    await add(database, new("a"), new("b"))
    await claim(database)
    async with database.write() as connection:
        assert await outbox.mark_published(connection, ["a"], NOW) == 1
        assert await outbox.mark_published(connection, ["a"], NOW) == 0
        assert await outbox.mark_published(connection, [], NOW) == 0

    assert [event.id for event in await claim(database, NOW + LEASE)] == ["b"]


async def test_the_backlog_counts_what_is_not_published(database: Database) -> None:
    async with database.read() as connection:
        assert await outbox.backlog(connection) == Backlog(0, None)
    await add(database, new("a", at=NOW - timedelta(minutes=5)), new("b"))
    async with database.write() as connection:
        await outbox.mark_published(connection, ["b"], NOW)

    async with database.read() as connection:
        assert await outbox.backlog(connection) == Backlog(1, NOW - timedelta(minutes=5))


async def test_the_purge_takes_only_what_was_published_long_ago(database: Database) -> None:
    await add(database, new("old"), new("fresh"), new("pending"))
    async with database.write() as connection:
        await outbox.mark_published(connection, ["old"], NOW)
        await outbox.mark_published(connection, ["fresh"], NOW + timedelta(days=7))
        assert await outbox.purge(connection, NOW + timedelta(days=7)) == 1

    assert await add(database, new("old"), new("fresh")) == {"old"}


async def test_relays_that_compete_never_claim_the_same_event(
    place: Place, database: Database, opened: Opener
) -> None:
    replicas = [database, await opened(place), await opened(place)]
    await add(database, *(new(f"e{n:03}") for n in range(200)))

    async def drain(replica: Database) -> list[str]:
        mine: list[str] = []
        while batch := await claim(replica, limit=7):
            mine += [event.id for event in batch]
        return mine

    claimed = sorted(key for mine in await asyncio.gather(*map(drain, replicas)) for key in mine)

    assert claimed == [f"e{n:03}" for n in range(200)]
