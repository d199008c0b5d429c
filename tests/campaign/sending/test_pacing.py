"""Never more than so many requests in any second, over all replicas, measured where they arrive."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.campaign.pipeline.pacing import PROMPT, Pacer, Slot
from services.campaign.store.campaign_tables import owner_task
from shared.clock import ManualClock, SandboxClock, sandbox_reader
from shared.db.engine import Database
from tests.campaign.sending.sending_support import (
    ADD,
    CORP,
    NOON,
    SECRET,
    Bench,
    KnownGroups,
    Replica,
    prepare,
    start,
)
from tests.e2e.harness import Sandbox, eventually, sandbox

QPS = 5
SHUTS = datetime(2026, 3, 2, 10, tzinfo=UTC)
"""18:00 in Shanghai."""


def most_in_a_second(at: list[datetime]) -> int:
    """The most of *at*, in order, that lie in any stretch of a second."""
    most, first = 0, 0
    for last, instant in enumerate(at):
        while instant - at[first] >= timedelta(seconds=1):
            first += 1
        most = max(most, last - first + 1)
    return most


async def came_in(world: Sandbox) -> list[datetime]:
    """When each request to make a task arrived, by the sandbox's clock."""
    return [datetime.fromisoformat(one["at"]) for one in await world.requests(ADD)]


@pytest.mark.parametrize("owners", [70])
async def test_two_replicas_keep_the_window_and_the_rate_and_ask_nobody_twice(
    database_url: str, owners: int
) -> None:
    """Ten seconds before the window shuts; then the next morning. On SQLite one process, on PostgreSQL two replicas."""
    count = 1 if database_url.startswith("sqlite") else 2
    async with sandbox() as world, sandbox_reader(world.url) as read:
        await world.declare(
            corp_id=CORP, apps=[{"agentid": 0, "name": "c", "secret": SECRET, "kind": "customer"}]
        )
        names = [f"u{at:03d}" for at in range(owners)]
        await world.declare(corp_id=CORP, users=[{"userid": one, "name": one} for one in names])
        groups = KnownGroups()
        for name in names:
            await world.post("/sandbox/groups", chat_id=f"wr-{name}", owner=name, name=name)
            groups.owners[f"wr-{name}"] = name
        await world.post("/sandbox/clock", set=(SHUTS - timedelta(seconds=8)).isoformat())
        clocks, databases, replicas = [], [], []
        for number in range(count):
            clocks.append(SandboxClock(read))
            databases.append(Database.open(database_url, schema="public"))
            await clocks[-1].sync()
            if not number:
                await prepare(databases[-1])
            await databases[-1].start()
            replicas.append(Replica(databases[-1], clocks[-1], world.url, groups, f"r{number}", qps=QPS))
        await start(replicas[0], clocks[0].now())
        loops = [asyncio.create_task(one.follow(lambda: None, 1.0)) for one in clocks]
        loops += [asyncio.create_task(one.sender.run(lambda: None)) for one in replicas]
        try:
            await _evening_and_morning(world, databases[0], clocks[0], owners)
        finally:
            for loop in loops:
                loop.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*loops)
            for replica, database in zip(replicas, databases, strict=True):
                await replica.sender.drain(10)
                await replica.close()
                await database.close()


async def _evening_and_morning(world: Sandbox, database: Database, clock: SandboxClock, owners: int) -> None:
    async def shut() -> bool:
        return clock.now() > SHUTS + timedelta(seconds=1)

    await eventually(shut, 30)
    evening = await came_in(world)
    assert 10 < len(evening) < owners, "it had begun, and was not done"
    assert max(evening) < SHUTS
    async with database.read() as conn:
        held = await conn.execute(owner_task.select().where(owner_task.c.status == "deferred"))
        assert {row.hold_reason for row in held} <= {"send_window"}
    await world.post("/sandbox/clock", set=(SHUTS + timedelta(hours=16, seconds=-3)).isoformat())

    async def done() -> bool:
        made = (await world.get("/sandbox/mass-sends", limit=10_000))["mass_sends"]
        return len(made) >= owners

    await eventually(done, 60)
    at = await came_in(world)
    morning = at[len(evening) :]
    assert min(morning) >= SHUTS + timedelta(hours=16)
    assert most_in_a_second(at) <= QPS
    made = (await world.get("/sandbox/mass-sends", limit=10_000))["mass_sends"]
    assert len({one["sender"] for one in made}) == len(made) == owners == len(at)


def test_a_slot_lasts_for_a_moment_by_the_monotonic_clock() -> None:
    assert Slot(time.monotonic() + 1).lasts()
    assert not Slot(time.monotonic() - 2 * PROMPT).lasts()


async def test_a_window_is_as_long_as_a_second_and_all_that_may_pass_within_a_slot(
    database: Database,
) -> None:
    clock = ManualClock(NOON)
    pacer = Pacer(database, clock, 2)
    assert isinstance(await database.transact(pacer.take), Slot)
    assert isinstance(await database.transact(pacer.take), Slot)
    assert await pacer.room(2) == (0, NOON + timedelta(seconds=1.25))
    assert await database.transact(pacer.take) == NOON + timedelta(seconds=1.25)
    clock.advance(timedelta(seconds=1.25))
    assert (await pacer.room(5))[0] == 2


async def test_a_rest_is_everybodys_the_longer_one_stays_and_none_lasts_for_ever(database: Database) -> None:
    clock = ManualClock(NOON)
    one, other = Pacer(database, clock, 5), Pacer(database, clock, 5)

    async def rests(pacer: Pacer) -> datetime | None:
        return await database.transact(lambda conn: pacer.rests(conn, clock.now()))

    assert await rests(one) is None
    for seconds in (60, 30):
        until = NOON + timedelta(seconds=seconds)
        await database.transact(partial(one.rest, until=until))
    assert await rests(other) == NOON + timedelta(seconds=60)
    clock.advance(timedelta(seconds=60))
    assert await rests(other) is None
    # Written by a clock that was wrong.
    await database.transact(partial(one.rest, until=NOON + timedelta(days=300)))
    found = await rests(other)
    assert found is not None
    assert found - clock.now() < timedelta(hours=1.3)


async def test_a_process_that_was_frozen_sends_nothing_when_it_wakes(bench: Bench) -> None:
    """It stands still between its slot and its request; by the time it goes on, another one may have acted."""
    await bench.owns("li", 1)
    await bench.start()
    way = bench.replica.sender._live
    make = way.make

    async def frozen(*args: object) -> object:
        time.sleep(2 * PROMPT)  # noqa: ASYNC251  # the whole process stands still
        return await make(*args)  # type: ignore[arg-type]  # as it was called

    way.make = frozen  # type: ignore[method-assign, assignment]  # the only moment that matters
    await bench.replica.turn()
    assert await bench.world.requests(ADD) == []
    assert await bench.attempts() == ["not_sent"]
    assert (await bench.tasks())["li/0"] == ("deferred", "pace")
    del way.make
    await bench.until_idle()
    assert len(await bench.made()) == 1
