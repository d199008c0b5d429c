"""Replicas as programs that are killed at random moments while owners confirm, are reminded and let their time pass."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from services.campaign.store.campaign_tables import campaign_target
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.campaign.reconciling.room import CANCEL, RESULTS, TASK, Room, Site, most_in_a_day
from tests.campaign.sending.sending_support import ADD, CORP, NOON, SECRET, KnownGroups, prepare
from tests.e2e.harness import Sandbox, eventually, sandbox
from tests.support.process import Program

OWNERS, EACH = 12, 3
CYCLES = 5
"""In each of which two are killed: nobody is left to see what the other one leaves behind."""


@pytest.fixture
async def postgres(postgres_database: str) -> AsyncIterator[Database]:
    """A PostgreSQL with campaign's tables."""
    opened = Database.open(postgres_database, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    """A sandbox whose clock runs."""
    async with sandbox(group_sends_per_day=1) as made:
        await made.declare(
            corp_id=CORP, apps=[{"agentid": 0, "name": "c", "secret": SECRET, "kind": "customer"}]
        )
        await made.post("/sandbox/clock", set=NOON.isoformat())
        yield made


@pytest.mark.timeout(300)
async def test_killed_at_ten_moments_they_end_with_what_the_platform_knows(
    postgres_database: str, postgres: Database, world: Sandbox
) -> None:
    """And some answers are lost on top of it."""
    chance = random.Random(8)
    clock = ManualClock(NOON)
    room = Room(Site(postgres, clock, world.url, KnownGroups()), world, clock)
    for at in range(OWNERS):
        await room.owns(f"u{at:02d}", EACH)
        manner = ("at_once", "late", "never")[at % 3]
        await room.behave(f"u{at:02d}", manner, **({"hours": 20} if manner == "late" else {}))
    full = await world.post(
        "/sandbox/mass-sends", creator="u00", sender="u00", chat_ids=["wr-u00-0000"], text="x", personal=True
    )
    assert full["state"] == "sent"
    await room.start()
    for path, probability in ((ADD, 0.1), (TASK, 0.1), (RESULTS, 0.1), (CANCEL, 0.3)):
        await world.fault(path=path, drop="after-accept", probability=probability, seed=5)
    with ExitStack() as stack:

        async def begin(name: str) -> Program:
            program = [
                "-m",
                "tests.campaign.reconciling.follower_program",
                postgres_database,
                world.url,
                name,
            ]
            made = stack.enter_context(Program(f"follower {name}", program, {}))
            return await asyncio.to_thread(made.ready)

        for cycle in range(CYCLES):
            for one in await asyncio.gather(begin(f"a{cycle}"), begin(f"b{cycle}")):
                await asyncio.sleep(chance.uniform(0, 1.2))  # a random moment is the point
                one.kill()
                await world.advance(chance.uniform(0.2, 10) * 3600 if cycle else 200)
        await begin("last")

        async def done() -> bool:
            await world.advance(3600)
            return await room.finished()

        await eventually(done, 120, 0.5)
    await check(room)
    await room.close()


async def check(room: Room) -> None:
    """One task a group, the truth of the platform, no fourth reminder, and nothing left open."""
    made = [one for one in await room.made() if one["creator"] is None]
    asked = Counter(chat_id for one in made for chat_id in one["chat_ids"])
    assert set(asked.values()) == {1}
    assert len(asked) == OWNERS * EACH
    counts = await room.counts()
    assert counts["limit_reached"] == 1
    assert counts["owner_never_confirmed"] == OWNERS // 3 * EACH
    assert counts["sent"] == OWNERS * EACH - 1 - OWNERS // 3 * EACH
    await room.check_truth()
    for times in (await room.reminded()).values():
        assert most_in_a_day(times) <= 3
    assert await room.status() == ("finished", "")
    assert len(await room.rows(campaign_target)) == OWNERS * EACH
