"""The sync under crashes and beside other replicas: it goes on where it was, and every group is counted once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.campaign.domain.groups import SyncPhase, SyncStatus
from services.campaign.store.group_tables import group_sync
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.tables import lease
from tests.campaign.groups.house import House, house
from tests.e2e.harness import Sandbox

LIST, GET = "/cgi-bin/externalcontact/groupchat/list", "/cgi-bin/externalcontact/groupchat/get"
LEASE = 31.0
"""Seconds until a lease of somebody who died is free."""


class Killed(BaseException):
    """As kill -9 would: nothing that is behind it runs."""


def once(key: str = "") -> Once:
    return Once("", "reach.campaign.v1.CampaignService/SyncGroups", key, "hash")


async def told(room: House) -> tuple[Any, ...]:
    report = await room.last()
    return report.status, report.listed, report.added, report.changed, report.gone, report.denied


async def calls(room: House, path: str) -> list[Any]:
    return [one["body"] for one in await room.world.requests(path)]


def mortal(database: Database, chance: random.Random) -> Any:
    """A database whose process dies at some transaction: before its commit, or right behind it."""
    transact = database.transact

    async def risky(work: Any) -> Any:
        fate = chance.random()
        if fate > 0.2:
            return await transact(work)

        async def dies(conn: Any) -> Any:
            await work(conn)
            raise Killed

        if fate < 0.1:
            await transact(dies)
        await transact(work)
        raise Killed

    return risky


async def test_a_process_that_dies_at_any_transaction_leaves_a_sync_that_another_finishes(
    room: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.world.post("/sandbox/groups", count=95, prefix="wr", owners=["ann", "ben"], customers=1)
    chance, deaths, side = random.Random(11), 0, room.side("p0", page=10)
    safe = room.database.transact
    monkeypatch.setattr(room.database, "transact", mortal(room.database, chance))
    while (await room.rows(group_sync) or [None])[-1] is None or (
        await room.last()
    ).status is SyncStatus.RUNNING:
        try:
            wait = await side.syncing.step()
        except Killed:
            deaths += 1
            side = room.side(f"p{deaths}", page=10)
            await room.later(LEASE)
        else:
            if wait:
                await room.later(wait.total_seconds())
    monkeypatch.setattr(room.database, "transact", safe)
    assert deaths > 5
    assert len(await room.rows(group_sync)) == 1
    assert await told(room) == (SyncStatus.FINISHED, 95, 95, 0, 0, 0)
    assert (await room.last()).read == 95
    found = await room.groups()
    assert len(found) == 95
    assert {row.customer_count for row in found.values()} == {1}
    listed = [body.get("cursor", "") for body in await calls(room, LIST)]
    assert len(set(listed)) == 10  # a page may be asked for again, none is left out


async def test_who_takes_over_goes_on_at_the_cursor(room: House) -> None:
    await room.world.post("/sandbox/groups", count=35, prefix="wr", owners=["ann"], customers=0)
    side = room.side("first", page=10)
    for _ in range(2):
        await side.syncing.step()
    halfway = await room.last()
    assert (halfway.phase, halfway.listed, halfway.pages) == (SyncPhase.LISTING, 20, 2)
    other = room.side("second", page=10)
    assert (await other.syncing.step()).total_seconds() == 5  # the first one may still live
    assert len(await calls(room, LIST)) == 2
    await room.later(LEASE)
    await room.until_idle(other)
    cursors = [body.get("cursor", "") for body in await calls(room, LIST)]
    assert cursors[2] == halfway.cursor != ""
    assert (len(cursors), cursors.count("")) == (4, 1)
    assert await told(room) == (SyncStatus.FINISHED, 35, 35, 0, 0, 0)


async def test_a_list_that_suddenly_holds_nothing_takes_no_group_from_a_campaign(room: House) -> None:
    for n in range(30):
        await room.declare(f"wr{n}")
    side = room.side()
    await room.until_idle(side)
    await room.world.declare(users=[{"userid": "ann", "no_customers": True}])
    await room.later(601)
    while (await side.syncing.step()) or (await room.last()).phase is not SyncPhase.READING:
        pass
    await room.world.declare(users=[{"userid": "ann", "no_customers": False}])
    assert (await room.last()).listed == 0
    async with room.database.read() as conn:
        standing = await side.selecting.standing(conn, "s1", [f"wr{n}" for n in range(30)], room.clock.now())
    assert not [one for one in standing.values() if isinstance(one, str)]
    report = await room.until_idle(side)
    assert (report.gone, report.read) == (0, 30)


async def test_what_a_page_told_is_reported_once_though_the_platform_lists_a_group_twice(room: House) -> None:
    await room.world.post("/sandbox/groups", count=20, prefix="wr", owners=["ann"], customers=0)
    side = room.side(page=10)
    await side.syncing.step()
    async with room.database.write() as conn:  # as if the cursor led back
        await conn.execute(sa.update(group_sync).values(cursor=""))
    await room.until_idle(side)
    assert await told(room) == (SyncStatus.FINISHED, 20, 20, 0, 0, 0)


# --- Several replicas -----------------------------------------------------------------------------------


@pytest.fixture
async def two(world: Sandbox, tmp_path: Path, postgres_database: str) -> AsyncIterator[tuple[House, House]]:
    """Two replicas on one PostgreSQL, on one clock."""
    async with house(world, tmp_path / "home", postgres_database) as one:
        database = Database.open(postgres_database, schema="campaign")
        other = House(world, database, one.clock, one.settings)
        try:
            yield one, other
        finally:
            await other.close()
            await database.close()


async def turned(room: House, side: Any, ended: asyncio.Event) -> None:
    """Let its loop go round as fast as it can, its waits left out, until the sync is over."""
    while not ended.is_set():
        await side.syncing.step()
        await asyncio.sleep(0)


async def test_of_two_replicas_that_are_asked_at_once_one_works_and_nothing_is_asked_twice(
    two: tuple[House, House],
) -> None:
    one, other = two
    await one.world.post("/sandbox/groups", count=60, prefix="wr", owners=["ann"], customers=1)
    sides = [one.side("one", page=10), other.side("other", page=10)]
    begun = await asyncio.gather(*(side.groups.sync(True, once=once()) for side in sides * 3))
    assert len({sync.id for sync in begun}) == 1
    ended = asyncio.Event()

    async def watch() -> None:
        while (await one.last()).status is SyncStatus.RUNNING:
            await one.later(0.5)
            await asyncio.sleep(0.01)
        ended.set()

    await asyncio.gather(*(turned(room, side, ended) for room, side in zip(two, sides, strict=True)), watch())
    assert await told(one) == (SyncStatus.FINISHED, 60, 60, 0, 0, 0)
    assert len(await calls(one, LIST)) == 6
    assert set(Counter(body["chat_id"] for body in await calls(one, GET)).values()) == {1}
    assert [row.epoch for row in await one.rows(lease) if row.name == "customer_groups"] == [1]


async def test_a_whole_sync_that_is_asked_for_at_any_moment_is_whole(two: tuple[House, House]) -> None:
    one, other = two
    await one.world.post("/sandbox/groups", count=12, prefix="wr", owners=["ann"], customers=0)
    side, chance = one.side("one"), random.Random(5)
    await one.until_idle(side)
    for _ in range(25):
        await one.later(601)
        before = one.clock.now()

        async def asked(turns: int = chance.randrange(9)) -> Any:
            for _ in range(turns):
                await other.database.ping()
            return await other.side("two").groups.sync(True, once=once())

        async def works() -> None:
            for _ in range(6):
                await side.syncing.step()

        sync, _ = await asyncio.gather(asked(), works())
        assert sync.whole
        report = await one.until_idle(side)
        assert all(row.read_at >= before for row in (await one.groups()).values())
        done = {row.id: row for row in await one.rows(group_sync)}[sync.id]
        assert (done.status, done.whole, done.read) == ("finished", True, 12), report
    assert isinstance(one.clock, ManualClock)
    assert one.clock.now() - before < timedelta(hours=1)
