"""100,000 deliveries of the past: whatever is asked, today's work and today's questions read no more than is today's."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.statistics import Bucket, Group, stretches
from services.notifier.pipeline.job import Job
from services.notifier.store import reading, statistics
from services.notifier.store.reading import Filter
from services.notifier.store.statistics import Selection
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, STORE, Replica, arrival, robot, user
from tests.support import past

ROWS = 100_000
TABLES = ("delivery", "recipient", "attempt")
HOUR = timedelta(hours=1)
Said = dict[str, Any]
"""Statements as the driver got them, with the parameters of the first time."""


@contextmanager
def listening(database: Database) -> Iterator[Said]:
    """What is said to the database meanwhile, by readers and writers."""
    said: Said = {}

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        said.setdefault(statement, parameters)

    engines = [engine.sync_engine for engine in (database._engines.reader, database._engines.writer)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def plans(database: Database, said: Said) -> dict[str, str]:
    """How the database does what was said about the three tables, by statement."""
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    found = {}
    async with database.read() as conn:
        for statement, parameters in said.items():
            if re.match(r"\s*(WITH|SELECT|UPDATE|INSERT|DELETE)", statement) and any(
                re.search(rf"\b{table}\b", statement) for table in TABLES
            ):
                steps = await conn.exec_driver_sql(explain + statement, parameters)
                found[statement] = "\n".join(str(step[-1]) for step in steps)
    return found


def whole_tables(plan: str) -> list[str]:
    """Steps that read a table from its beginning to its end."""
    names = "|".join((*TABLES, "before", "busy"))
    # The partial indexes hold today's work alone, so that reading one from end to end is what it is for.
    scans = rf"Seq Scan on ({names})\b.*|^SCAN ({names})\b(?! USING (COVERING )?INDEX ix_).*"
    return [found[0] for found in re.finditer(scans, plan, re.MULTILINE)]


async def answer(job: Job) -> Outcome:
    """The platform on a mixed day."""
    word = job.content.text.split()[0]
    if word == "part":
        return Outcome(State.ACCEPTED_PARTIAL, errcode=0, http_status=200, invalid_users=("nobody",))
    if word == "lost":
        return Outcome(State.UNKNOWN, cause="reset", detail="the connection broke")
    return ACCEPTED


async def a_day(replica: Replica, clock: ManualClock) -> None:
    """Everything that the pipeline does: planned, sent at once or claimed, deferred, lost, taken over, recorded."""
    replica.world.answer = answer
    now = clock.now()
    await replica.admit(
        *(arrival(f"well{at}", now, user(f"w{at}")) for at in range(20)),
        *(arrival(f"part{at}", now, user(f"p{at}"), user("nobody"), text="part") for at in range(3)),
        *(arrival(f"lost{at}", now, user(f"l{at}"), text="lost") for at in range(3)),
        *(arrival(f"group{at}", now, robot("hall")) for at in range(25)),  # over its rate: some are deferred
    )
    for _ in range(30):
        await replica.turn()
        await replica.claim()
    clock.advance(timedelta(minutes=2))
    await replica.claim()
    await replica.dispatcher.take_over_orphans()
    await replica.turn()


async def test_no_statement_of_the_pipeline_reads_a_table_from_end_to_end(
    database: Database, replica: Replica, manual_clock: ManualClock
) -> None:
    await past.fill(database, manual_clock.now(), ROWS)
    with listening(database) as said:
        await a_day(replica, manual_clock)
    found = await plans(database, said)
    told = "\n".join(found)
    for verb in ("INSERT INTO delivery", "INSERT INTO recipient", "INSERT INTO attempt"):
        assert verb in told
    for verb in ("UPDATE delivery", "UPDATE attempt", "UPDATE recipient", "min(delivery.due_at)"):
        assert verb in told
    assert {statement: scans for statement, plan in found.items() if (scans := whole_tables(plan))} == {}
    claim = next(plan for statement, plan in found.items() if re.search("lane IS NULL", statement))
    assert "ix_delivery_ready" in claim
    assert {index for plan in found.values() for index in re.findall(r"\bix_delivery_\w+", plan)} >= {
        "ix_delivery_ready",
        "ix_delivery_deferred",
        "ix_delivery_running",
    }


Ask = Callable[[AsyncConnection], Awaitable[Any]]


def questions(clock: ManualClock) -> dict[str, tuple[Ask, str]]:
    """What is asked of a day, and the index that bounds it."""
    now = clock.now()
    day = {"start_at": now - HOUR, "end_at": now + HOUR}

    def listed(**wanted: Any) -> Ask:
        return lambda conn: reading.list_deliveries(conn, Filter(**wanted), limit=51)

    def counted(stores: tuple[str, ...] | None, **wanted: Any) -> Ask:
        selection = Selection(
            stores, now - HOUR, now + HOUR, parts=stretches(now - HOUR, now + HOUR, now.tzinfo), **wanted
        )

        async def ask(conn: AsyncConnection) -> None:
            await statistics.count(conn, selection, 5001)
            await statistics.latencies(conn, selection)

        return ask

    every = (Group.EVENT_TYPE, Group.RULE, Group.PRIORITY, Group.CHANNEL, Group.STORE)
    return {
        "list all": (listed(), "delivery_by_time"),
        "list an event of any store": (listed(event_id="well1"), "delivery_by_event"),
        "list a store": (listed(stores=(STORE,)), "delivery_by_store"),
        "list a day": (listed(**day), "delivery_by_time"),
        "list a day of some stores": (listed(stores=(STORE, "s1", "s2"), **day), "delivery_by_(time|store)"),
        "list a day by status": (listed(statuses=("accepted", "failed"), **day), "delivery_by_time"),
        "list a day by type": (listed(event_types=("test.said",), **day), "delivery_by_time"),
        "list what failed": (listed(statuses=("failed",)), "delivery_not_well"),
        "list what failed or is unknown": (listed(statuses=("failed", "unknown")), "delivery_not_well"),
        "list what failed in a store": (
            listed(statuses=("failed", "unknown"), stores=(STORE,)),
            "delivery_(not_well|by_store)",
        ),
        "list what waits": (listed(statuses=("deferred",)), "ix_delivery_deferred"),
        "list what is ready": (listed(statuses=("pending",)), "ix_delivery_(ready|lane)"),
        "list what is being sent": (
            listed(statuses=("sending",)),
            "ix_delivery_running|delivery_running_lane",
        ),
        "list an event": (listed(event_id="well1", stores=(STORE,)), "delivery_by_event"),
        "count a day": (counted(None), "delivery_by_time"),
        "count a day of a store": (counted((STORE,)), "delivery_by_store"),
        "count a day of some stores": (counted((STORE, "s1", "s2")), "delivery_by_(time|store)"),
        "count a day by hour and all": (counted(None, bucket=Bucket.HOUR, groups=every), "delivery_by_time"),
        "count a day by role": (counted(None, groups=(Group.ROLE,)), "delivery_by_time"),
        "count a day of a role": (counted(None, roles=("manager",)), "delivery_by_time"),
        "tell an event": (
            lambda conn: reading.deliveries_of_event(conn, "well1", STORE),
            "delivery_by_event",
        ),
        "tell a person": (
            lambda conn: reading.events_of_target(conn, user("w1"), now - HOUR, now + HOUR, None, 100),
            "recipient_by_target",
        ),
        "watch": (
            lambda conn: reading.changed_since(conn, Filter(), (now - HOUR, ""), 100),
            "delivery_by_change",
        ),
    }


async def test_no_question_about_a_day_reads_a_table_from_end_to_end(
    database: Database, replica: Replica, manual_clock: ManualClock
) -> None:
    await past.fill(database, manual_clock.now(), ROWS)
    await a_day(replica, manual_clock)
    await past.look(database)
    for name, (ask, expected) in questions(manual_clock).items():
        with listening(database) as said:
            async with database.read() as conn:
                await ask(conn)
        found = await plans(database, said)
        assert found, name
        for statement, plan in found.items():
            # From the newest on, and no further than the page is long; or of the few that did not go well.
            index = "by_time" if name == "list all" else "not_well"
            rest = plan.replace(f"SCAN delivery USING INDEX delivery_{index}", "")
            assert not whole_tables(rest), f"{name}: {statement}\n{plan}"
        assert any(re.search(expected, plan) for plan in found.values()), f"{name}: {found}"
