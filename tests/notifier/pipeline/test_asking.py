"""What was recorded, asked for: at the same price however much of it there is, and alike on both databases."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.store.reading import DeliveryView, Filter, list_deliveries
from services.notifier.store.tables import delivery
from services.notifier.usecases.stories import MOST_EVENTS, Stories
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.notifier.pipeline.bench import STORE, Replica, arrival, robot, user

Said = tuple[str, Any]
"""A statement as the driver gets it, and its parameters."""

HOUR = timedelta(hours=1)
STORES = ("s1", "s2", "s3")


@contextmanager
def listening(database: Database) -> Iterator[list[Said]]:
    """What is asked of the database meanwhile."""
    said: list[Said] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        said.append((statement, parameters))

    engine = database._engines.reader.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


# --- One person and a period ----------------------------------------------------------------------------


async def sent_to_ann(replica: Replica, clock: ManualClock, events: int) -> None:
    """*events* of which each told ann, every third also a group, every fifth in three pages."""
    for at in range(events):
        clock.advance(timedelta(seconds=1))
        told = [user("ann"), robot("hall")] if at % 3 == 0 else [user("ann"), user("bob")]
        pages = 3 if at % 5 == 0 else 1
        await replica.admit(arrival(f"e{at:03}", clock.now(), *told, pages=pages))
    await replica.turn()
    await replica.claim()
    await replica.turn()


async def test_the_story_of_fifty_events_takes_as_many_queries_as_that_of_five(
    replica: Replica, manual_clock: ManualClock
) -> None:
    stories = Stories(replica.database)
    await sent_to_ann(replica, manual_clock, 50)
    end = manual_clock.now() + HOUR
    counts = []
    for start, events in [(manual_clock.now() - timedelta(seconds=4), 5), (end - 2 * HOUR, 50)]:
        with listening(replica.database) as said:
            assert len(await stories.of_target(user("ann"), start, end, None)) == events
        counts.append(len(said))
    few, many = counts
    assert few == many <= 8  # one for each table, one for digests, and SQLite's BEGIN


async def test_the_story_of_a_person_is_that_of_each_event_the_newest_first(
    replica: Replica, manual_clock: ManualClock
) -> None:
    stories = Stories(replica.database)
    await sent_to_ann(replica, manual_clock, 12)
    period = (manual_clock.now() - HOUR, manual_clock.now() + HOUR)
    told = await stories.of_target(user("ann"), *period, None)
    assert [one.event_id for one in told] == [f"e{at:03}" for at in reversed(range(12))]
    views = [view for one in told for view in one.deliveries]
    assert all(view.recipients for view in views)
    assert {len(view.attempts) for view in views} == {0, 1}  # the groups' later pages wait for their turn
    for one in told:
        assert await stories.of_id(one.event_id, None) == [one]
    hall = await stories.of_target(robot("hall"), *period, (STORE,))
    assert [one.event_id for one in hall] == ["e009", "e006", "e003", "e000"]
    assert await stories.of_target(robot("hall"), *period, ("another",)) == []
    assert await stories.of_id(told[3].deliveries[0].id, None) == [told[3]]


async def test_a_person_is_told_of_no_more_than_the_newest_hundred_events(
    replica: Replica, manual_clock: ManualClock
) -> None:
    now = manual_clock.now()
    await replica.admit(*(arrival(f"e{at:03}", now, user("ann")) for at in range(MOST_EVENTS + 5)))
    told = await Stories(replica.database).of_target(user("ann"), now - HOUR, now + HOUR, None)
    assert len(told) == MOST_EVENTS
    assert all(len(one.deliveries) == 1 for one in told)


# --- Lists of a period ----------------------------------------------------------------------------------


def row(key: str, at: datetime, **changes: object) -> dict[str, object]:
    """A delivery that is done."""
    return {
        "id": key,
        "store_id": "s1",
        "event_id": f"e-{key}",
        "event_type": "order.created",
        "rule_id": "",
        "rule_version": 1,
        "channel": "app:default",
        "part": 0,
        "content": {},
        "status": "accepted",
        "priority": 2,
        "rank": at,
        "due_at": at,
        "retries": 0,
        "refreshes": 0,
        "resend_mark": False,
        "reason": "",
        "created_at": at,
        "go_at": at,
        "updated_at": at,
        **changes,
    }


async def listed(database: Database, wanted: Filter, size: int) -> list[DeliveryView]:
    """All pages of a list."""
    found: list[DeliveryView] = []
    async with database.read() as conn:
        while True:
            before = (found[-1].created_at, found[-1].id) if found else None
            page = await list_deliveries(conn, wanted, before=before, limit=size)
            found += page
            if len(page) < size:
                return found


async def test_a_period_is_the_clocks_whatever_the_hosts_said_when_the_ids_were_made(
    database: Database, manual_clock: ManualClock
) -> None:
    """An id bears its host's time, a row the shared clock's: they differ where a host is wrong, or days are played."""
    chance = random.Random(7)
    now = manual_clock.now()
    ids = [f"{at:03}" for at in range(60)]
    chance.shuffle(ids)
    # Four of an instant, as a batch leaves them, which pages of three cut in two.
    rows = [
        row(key, now + timedelta(microseconds=at // 4), store_id=STORES[at % 3]) for at, key in enumerate(ids)
    ]
    async with database.write() as conn:
        await conn.execute(insert(delivery), rows)
    for stores in (None, ("s2",), ("s1", "s3")):
        for first, last in [(None, None), (3, 9), (None, 5), (11, None), (4, 4)]:
            start = None if first is None else now + timedelta(microseconds=first)
            end = None if last is None else now + timedelta(microseconds=last)
            meant: list[Any] = [
                (one["created_at"], one["id"])
                for one in rows
                if (stores is None or one["store_id"] in stores)
                and (start is None or one["created_at"] >= start)  # type: ignore[operator]
                and (end is None or one["created_at"] < end)  # type: ignore[operator]
            ]
            found = await listed(database, Filter(stores, start_at=start, end_at=end), 3)
            assert [(one.created_at, one.id) for one in found] == sorted(meant, reverse=True)


async def test_a_list_of_some_statuses_has_those_and_no_others(
    database: Database, manual_clock: ManualClock
) -> None:
    """Few of them have an index of their own, which the question is put for; it must stay the same question."""
    now = manual_clock.now()
    every = [status.value for status in DeliveryStatus]
    rows = [
        row(f"{at:03}", now + timedelta(seconds=at // 4), status=every[at % 9], store_id=STORES[at % 2])
        for at in range(90)
    ]
    async with database.write() as conn:
        await conn.execute(insert(delivery), rows)
    several = [("failed", "expired"), ("pending", "deferred"), ("failed", "sending"), ("accepted", "unknown")]
    for statuses in [*((one,) for one in every), *several]:
        for stores in (None, ("s1",), ("s1", "s2")):
            meant: list[Any] = [
                (one["created_at"], one["id"])
                for one in rows
                if one["status"] in statuses and (stores is None or one["store_id"] in stores)
            ]
            found = await listed(database, Filter(stores, statuses=statuses), 3)
            assert [(one.created_at, one.id) for one in found] == sorted(meant, reverse=True), statuses
    assert [one.id for one in await listed(database, Filter(("s2",), event_id="e-007"), 3)] == ["007"]
    assert await listed(database, Filter(("s1",), event_id="e-007"), 3) == []


async def fill(database: Database, now: datetime) -> None:
    """30,000 deliveries, one a minute, their ids in no order; one in a thousand of a store that is seldom heard of."""
    numbers, at, key = {
        "sqlite": (
            "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 29999) SELECT n FROM s)",
            "strftime('%Y-%m-%dT%H:%M:00.000000Z', :now, n || ' minutes')",
            "hex(randomblob(16))",
        ),
        "postgresql": (
            "generate_series(0, 29999) AS g(n)",
            "CAST(:now AS timestamptz) + n * interval '1 minute'",
            "md5(CAST(n AS text))",
        ),
    }[database.dialect]
    store = "CASE WHEN n % 1000 = 7 THEN 'seldom' ELSE 's' || (n % 10) END"
    sample = row("", now)
    columns = [name for name in sample if name not in ("id", "store_id", "created_at", "event_id", "content")]
    timed = {"rank", "due_at", "updated_at"}
    values = [at if name in timed else f":{name}" for name in columns]
    insertion = f"""
        INSERT INTO delivery (id, store_id, created_at, event_id, content, {", ".join(columns)})
        SELECT {key}, {store}, {at}, 'e' || n, '{{}}', {", ".join(values)} FROM {numbers}
    """
    given: Any = now if database.dialect == "postgresql" else now.strftime("%Y-%m-%d %H:%M:%S")
    constants = {name: sample[name] for name in columns if name not in timed}
    async with database.write() as conn:
        await conn.execute(text(insertion), {"now": given, **constants})
        await conn.execute(text("ANALYZE delivery"))


async def plan(database: Database, wanted: Filter, before: tuple[datetime, str] | None) -> tuple[int, str]:
    """How many deliveries a page has, and how the database finds them: PostgreSQL tells what it did indeed."""
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF) "
    async with database.read() as conn:
        with listening(database) as said:
            found = await list_deliveries(conn, wanted, before=before, limit=50)
        statement, parameters = next(one for one in said if "FROM delivery" in one[0])
        steps = await conn.exec_driver_sql(explain + statement, parameters)
        return len(found), "\n".join(str(step[-1]) for step in steps)


PERIODS = {
    "an old day": (timedelta(days=2), timedelta(days=3)),
    "all until an old day": (None, timedelta(days=3)),
    "everything": (None, None),
    "a period with nothing in it": (timedelta(days=-3), timedelta(days=-2)),
}
ASKED = {
    "every store": None,
    "one store": ("s3",),
    "three stores": ("s1", "s3", "s4"),
    "a store seldom heard of": ("seldom",),
}


@pytest.mark.parametrize("page", ["first", "next"])
async def test_a_page_of_any_period_is_read_from_an_index_and_no_further_than_it_is_long(
    database: Database, manual_clock: ManualClock, page: str
) -> None:
    now = manual_clock.now()
    await fill(database, now)
    for period, (start, end) in PERIODS.items():
        for whose, stores in ASKED.items():
            start_at, end_at = (None if bound is None else now + bound for bound in (start, end))
            wanted = Filter(stores, start_at=start_at, end_at=end_at)
            before = None
            if page == "next":
                before = ((end_at or now + timedelta(days=20)) - HOUR, "f")
            count, steps = await plan(database, wanted, before)
            told = f"{period}, {whose}: {steps}"
            assert count == 50 or whose == "a store seldom heard of" or period.endswith("in it"), told
            assert "Seq Scan" not in steps, told
            if database.dialect == "sqlite":
                one = stores is not None and len(stores) == 1
                index = r"delivery_by_store \(store_id=\?" if one else r"delivery_by_time\b"
                bounded = ".*created_at[<>]" if start or end or before else ""
                assert re.search(f"(SEARCH|SCAN) delivery USING INDEX {index}{bounded}", steps), told
            else:
                assert re.search("delivery_by_(time|store)", steps), told
                removed = sum(int(count) for count in re.findall(r"Rows Removed by Filter: (\d+)", steps))
                assert removed < 1000, told
                assert max(int(count) for count in re.findall(r"rows=(\d+) loops=1\)", steps)) < 1000, told
