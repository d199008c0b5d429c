"""Dead letters: anything can be parked, found again, and closed once (I9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.db import dead
from shared.db.dead import DeadLetter, Filter
from shared.db.engine import Database

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)


def letter(letter_id: str, **changes: object) -> DeadLetter:
    plain = DeadLetter(
        id=letter_id,
        reason="decode",
        detail="not JSON",
        body=b"{oops",
        content_type="application/json",
        headers={"x-death": [{"count": 1}]},
        door="amqp",
        routing_key="order.created",
        received_at=NOW,
        parked_at=NOW,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


async def park(database: Database, *letters: DeadLetter) -> set[str]:
    async with database.write() as connection:
        return await dead.park(connection, letters)


async def ids(database: Database, wanted: Filter, after: str | None = None, limit: int = 50) -> list[str]:
    async with database.read() as connection:
        return [one.id for one in await dead.page(connection, wanted, after=after, limit=limit)]


async def test_a_letter_comes_back_as_it_was_parked(database: Database) -> None:
    parked = letter("a", event_id="e1", event_type="order.created", store_id="s1", body=b"\xff\x00{")

    assert await park(database, parked, letter("b")) == {"a", "b"}
    assert await park(database, letter("a", detail="again")) == set()

    async with database.read() as connection:
        assert await dead.get(connection, "a") == parked
        assert await dead.get(connection, "none") is None


async def test_hostile_text_can_be_parked_too(database: Database) -> None:
    hostile = "nul \0 lone \ud800 rtl \u202e"
    await park(
        database,
        letter(
            "a",
            detail=hostile,
            event_id=hostile,
            event_type=hostile,
            store_id=hostile,
            routing_key=hostile,
            content_type=hostile,
            headers={
                hostile: hostile,
                "bytes": b"\x00\xff",
                "huge": 2**80,
                "nested": {"\0": "\ud800"},
                "fine": 1,
            },
        ),
    )

    async with database.read() as connection:
        found = await dead.get(connection, "a")

    assert found is not None
    assert found.detail == "nul \N{REPLACEMENT CHARACTER} lone ? rtl \u202e"
    assert found.headers["fine"] == 1
    assert len(found.headers) == 5


async def test_pages_go_from_the_newest_and_miss_nothing(database: Database) -> None:
    await park(database, *(letter(f"id{n:02}") for n in range(7)))

    first = await ids(database, Filter(), limit=3)
    await park(database, letter("id99"))  # arrives in between, disturbs nobody
    second = await ids(database, Filter(), after=first[-1], limit=3)
    third = await ids(database, Filter(), after=second[-1], limit=3)

    assert first + second + third == [f"id{n:02}" for n in range(6, -1, -1)]


async def test_every_filter_narrows(database: Database) -> None:
    await park(
        database,
        letter("a", reason="schema", store_id="s1"),
        letter("b", event_type="x"),
        letter("c", parked_at=NOW + timedelta(hours=1)),
    )

    assert await ids(database, Filter(reason="schema")) == ["a"]
    assert await ids(database, Filter(store_id="s1")) == ["a"]
    assert await ids(database, Filter(event_type="x")) == ["b"]
    assert await ids(database, Filter(parked_from=NOW + timedelta(minutes=1))) == ["c"]
    assert await ids(database, Filter(parked_before=NOW + timedelta(minutes=1))) == ["b", "a"]
    assert await ids(database, Filter(state=None)) == ["c", "b", "a"]
    assert await ids(database, Filter(state="replayed")) == []


async def test_a_letter_is_closed_once(database: Database) -> None:
    await park(database, letter("a"), letter("b"))
    async with database.write() as connection:
        assert await dead.close(connection, ["a", "none"], "replayed", by="ops", now=NOW, note="fixed") == {
            "a"
        }
        assert await dead.close(connection, ["a", "b"], "discarded", by="eve", now=NOW) == {"b"}
        assert await dead.counts(connection) == {}
        found = await dead.get(connection, "a")

    assert found is not None
    assert (found.state, found.closed_by, found.closed_at, found.note) == ("replayed", "ops", NOW, "fixed")


async def test_the_counts_are_of_what_is_still_parked(database: Database) -> None:
    await park(database, letter("a"), letter("b"), letter("c", reason="schema"))
    async with database.write() as connection:
        await dead.close(connection, ["a"], "replayed", by="ops", now=NOW)
        assert await dead.counts(connection) == {"decode": 1, "schema": 1}


async def test_the_purge_leaves_what_nobody_has_decided_on(database: Database) -> None:
    await park(database, letter("a"), letter("b"))
    async with database.write() as connection:
        await dead.close(connection, ["a"], "discarded", by="ops", now=NOW)
        assert await dead.purge(connection, NOW + timedelta(days=30)) == 1
    assert await ids(database, Filter(state=None)) == ["b"]
