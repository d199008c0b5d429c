"""The inbox: an event counts once, whoever brings it and however often (I4)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from shared.db import inbox
from shared.db.engine import Database
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)


def event(event_id: str, store_id: str = "s1", **changes: object) -> dict[str, object]:
    return {
        "store_id": store_id,
        "event_id": event_id,
        "event_type": "order.created",
        "content_hash": "h1",
        "door": "amqp",
        "data": {"amount": 280, "客户": "王"},
        "traceparent": None,
        "received_at": NOW,
        "occurred_at": NOW - timedelta(seconds=1),
        "derived_id": False,
        **changes,
    }


async def record(database: Database, *events: dict[str, object]) -> set[inbox.Key]:
    return await database.transact(lambda connection: inbox.record(connection, events))


async def test_only_what_was_not_there_is_new(database: Database) -> None:
    assert await record(database, event("a"), event("b")) == {("s1", "a"), ("s1", "b")}
    assert await record(database, event("b"), event("c"), event("b", "s2")) == {("s1", "c"), ("s2", "b")}
    assert await record(database) == set()


async def test_the_same_event_twice_in_one_batch_is_one_row_and_the_first_counts(database: Database) -> None:
    assert await record(database, event("a", door="first"), event("a", door="second")) == {("s1", "a")}

    async with database.read() as connection:
        row = await inbox.get(connection, "s1", "a")
    assert row is not None
    assert row["door"] == "first"


async def test_a_conflict_shows_in_the_lookup_and_leaves_the_first_untouched(database: Database) -> None:
    await record(database, event("a"))
    await record(database, event("a", content_hash="other", data={"amount": 1}))

    async with database.read() as connection:
        known = await inbox.lookup(connection, [("s1", "a"), ("s1", "missing")])
        row = await inbox.get(connection, "s1", "a")

    assert list(known) == [("s1", "a")]
    assert known["s1", "a"]["content_hash"] == "h1"
    assert known["s1", "a"]["received_at"] == NOW
    assert row is not None
    assert row["data"] == {"amount": 280, "客户": "王"}


async def test_further_copies_are_counted_one_by_one(database: Database) -> None:
    await record(database, event("a"), event("b"))
    async with database.write() as connection:
        await inbox.count_duplicates(connection, [("s1", "a"), ("s1", "gone")])
        await inbox.count_duplicates(connection, [("s1", "a"), ("s1", "a")])
        await inbox.count_duplicates(connection, [])
        counted = [await inbox.get(connection, "s1", key) for key in "ab"]

    assert [row["duplicates"] for row in counted if row] == [3, 0]


async def test_an_id_is_found_in_the_stores_one_may_see(database: Database) -> None:
    await record(database, event("a", "s2"), event("a", "s1"), event("a", "s3"), event("b", "s1"))

    async def stores(allowed: list[str] | None) -> list[str]:
        async with database.read() as connection:
            return [row["store_id"] for row in await inbox.find(connection, "a", allowed)]

    assert await stores(None) == ["s1", "s2", "s3"]
    assert await stores(["s3", "s1"]) == ["s1", "s3"]
    assert await stores([]) == []


async def test_many_rows_are_got_at_once_each_under_its_key(database: Database) -> None:
    await record(database, event("a"), event("b"), event("b", "s2", data={"amount": 1}))

    async with database.read() as connection:
        found = await inbox.get_many(connection, [("s2", "b"), ("s1", "a"), ("s1", "missing")])
        alone = [await inbox.get(connection, *key) for key in [("s1", "a"), ("s2", "b")]]

    assert [found["s1", "a"], found["s2", "b"]] == alone
    assert len(found) == 2
    assert found["s1", "a"]["data"] == {"amount": 280, "客户": "王"}


async def test_decisions_are_written_row_by_row(database: Database) -> None:
    await record(database, event("a"), event("b"))
    async with database.write() as connection:
        await inbox.decide(connection, {("s1", "a"): {"matched": ["r1"]}, ("s1", "gone"): {}})
        await inbox.decide(connection, {})

    async with database.read() as connection:
        a, b = [await inbox.get(connection, "s1", key) for key in "ab"]
        assert await inbox.get(connection, "s2", "a") is None
    assert a is not None
    assert b is not None
    assert (a["decision"], b["decision"]) == ({"matched": ["r1"]}, None)


async def test_the_purge_takes_the_oldest_in_small_bites(database: Database) -> None:
    await record(database, *(event(f"e{n}", received_at=NOW + timedelta(days=n)) for n in range(5)))

    async with database.write() as connection:
        assert await inbox.purge(connection, NOW + timedelta(days=3), limit=2) == 2
        assert set(await inbox.lookup(connection, [("s1", f"e{n}") for n in range(5)])) == {
            ("s1", "e2"),
            ("s1", "e3"),
            ("s1", "e4"),
        }
        assert await inbox.purge(connection, NOW + timedelta(days=3), limit=2) == 1


async def test_replicas_that_get_the_same_events_at_once_record_each_once(
    place: Place, database: Database, opened: Opener
) -> None:
    replicas = [database, await opened(place), await opened(place)]
    batches = [[event(f"e{n:03}") for n in range(start, start + 60)] for start in (0, 20, 40)]

    async def deliver(replica: Database, batch: list[dict[str, object]]) -> list[inbox.Key]:
        return sorted(await record(replica, *reversed(batch)))

    results = await asyncio.gather(
        *(deliver(replica, batch) for replica in replicas for batch in batches for _ in range(3))
    )

    new = sorted(key for result in results for key in result)
    assert new == [("s1", f"e{n:03}") for n in range(100)]
