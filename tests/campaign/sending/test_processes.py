"""Replicas as programs: killed at random moments, and frozen and woken."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.campaign.store.campaign_tables import campaign, campaign_target, owner_task
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.campaign.sending.sending_support import (
    ADD,
    CORP,
    NOON,
    SECRET,
    KnownGroups,
    Replica,
    prepare,
    start,
)
from tests.e2e.harness import Sandbox, eventually, sandbox
from tests.support.process import Program

LEASE = timedelta(seconds=61)


class Site:
    """A campaign in PostgreSQL, a sandbox whose clock runs, and programs that come and go."""

    def __init__(self, url: str, database: Database, world: Sandbox) -> None:
        self.url, self.database, self.world = url, database, world
        self.stack = ExitStack()
        self._count = 0

    async def campaign(self, owners: int, groups_each: int) -> None:
        """Write one, running, to so many owners."""
        names = [f"u{at:03d}" for at in range(owners)]
        await self.world.declare(corp_id=CORP, users=[{"userid": one, "name": one} for one in names])
        known = KnownGroups()
        for name in names:
            for at in range(groups_each):
                await self.world.post("/sandbox/groups", chat_id=f"wr-{name}-{at}", owner=name, name=name)
                known.owners[f"wr-{name}-{at}"] = name
        replica = Replica(self.database, ManualClock(NOON), self.world.url, known)
        await start(replica, NOON)
        await replica.close()

    async def program(self) -> Program:
        """One more replica."""
        self._count += 1
        arguments = [self.url, self.world.url, f"r{self._count}", "10"]
        made = Program(
            f"replica {self._count}", ["-m", "tests.campaign.sending.replica_program", *arguments], {}
        )
        self.stack.enter_context(made)
        return await asyncio.to_thread(made.ready)

    async def made(self) -> list[dict[str, Any]]:
        """What there is at the platform."""
        return list((await self.world.get("/sandbox/mass-sends", limit=10_000))["mass_sends"])

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list((await conn.execute(sa.select(table))).all())

    async def open(self) -> int:
        """Tasks that are not made yet, as far as we know."""
        return sum(row.status != "created" for row in await self.rows(owner_task))

    async def check(self, groups: int) -> None:
        """Every group is in one task at the platform, every task there is one of ours, and all are waited for."""
        made = await self.made()
        asked = Counter(chat_id for one in made for chat_id in one["chat_ids"])
        assert set(asked.values()) == {1}
        assert len(asked) == groups
        assert {row.msgid for row in await self.rows(owner_task)} == {one["msgid"] for one in made}
        assert {row.status for row in await self.rows(campaign_target)} == {"awaiting_owner"}
        assert [row.status for row in await self.rows(campaign)] == ["reconciling"]


@pytest.fixture
async def site(postgres_database: str) -> AsyncIterator[Site]:
    database = Database.open(postgres_database, schema="public")
    await prepare(database)
    async with sandbox() as world:
        await world.declare(
            corp_id=CORP, apps=[{"agentid": 0, "name": "c", "secret": SECRET, "kind": "customer"}]
        )
        await world.post("/sandbox/clock", set=NOON.isoformat())
        made = Site(postgres_database, database, world)
        with made.stack:
            yield made
    await database.close()


async def test_killed_at_random_moments_they_ask_every_owner_once(site: Site) -> None:
    """And some answers are lost on top of it."""
    chance = random.Random(6)
    await site.campaign(40, 2)
    await site.world.fault(path=ADD, drop="after-accept", probability=0.2, seed=3)
    running = [await site.program(), await site.program()]
    for _ in range(5):
        await asyncio.sleep(chance.uniform(0, 0.8))  # a random moment is the point
        running.pop(0).kill()
        running.append(await site.program())
        await site.world.advance(LEASE.total_seconds())

    async def done() -> bool:
        if await site.open():
            await site.world.advance(5)  # what is looked for waits for a while
        return not await site.open()

    await eventually(done, 60, 0.5)
    await site.check(80)


async def test_a_frozen_one_that_wakes_sends_nothing(site: Site) -> None:
    await site.campaign(30, 1)
    frozen = await site.program()

    async def begun() -> bool:
        return len(await site.made()) >= 3

    await eventually(begun, 20)
    frozen.freeze()
    await site.world.advance(LEASE.total_seconds())
    await site.program()

    async def done() -> bool:
        if await site.open():
            await site.world.advance(5)
        return not await site.open()

    await eventually(done, 60, 0.5)
    asked = len(await site.world.requests(ADD))
    frozen.thaw()
    await asyncio.sleep(2)  # it has had its chance
    assert frozen.process.poll() is None
    assert len(await site.world.requests(ADD)) == asked
    await site.check(30)
