"""Facts leave when no figure reads them any more, in batches, and nothing that is still known with them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.ai_orchestrator.domain.facts.kinds import Item, Kind, MemberFact, NoteFact, TaskFact, VisitFact
from services.ai_orchestrator.domain.facts.stores import TIME_DIMENSIONS
from services.ai_orchestrator.domain.facts.windows import windows
from services.ai_orchestrator.facts_side import FactsSide
from services.ai_orchestrator.store.fact_tables import member, note, task, visit, visit_item
from shared.clock import ManualClock
from shared.environment import SettingsError
from shared.settings import load
from tests.ai_orchestrator.facts.support import NOW, STORE, opened, put

DAY = timedelta(days=1)
KEPT = 1095 * DAY
TEA = (Item("茶", 1000, 300),)


@pytest.fixture
async def database(database_url):
    async with opened(database_url) as made:
        yield made


async def purge(database, limit=100, **settings):
    side = FactsSide(database, ManualClock(NOW), load(settings))
    return await database.transact(lambda conn: side.purge(conn, NOW, limit))


async def left(database, table):
    key = list(table.primary_key.columns)[1]
    async with database.read() as conn:
        return sorted((await conn.execute(sa.select(key))).scalars())


async def test_what_is_past_its_time_leaves_with_what_hangs_on_it(database):
    old, young = NOW - KEPT - timedelta(seconds=1), NOW - KEPT
    for store_id in (STORE, "club-2"):
        await put(
            database,
            Kind.VISIT,
            VisitFact("v1", old, 100, "m1", items=TEA),
            VisitFact("v2", young, 100, "m2", items=TEA),
            VisitFact("v3", old, 100, None, items=TEA),
            store_id=store_id,
        )
    await put(
        database,
        Kind.NOTE,
        NoteFact("n1", "m1", "旧", "小李", old),
        NoteFact("n2", "m2", "新", "小李", young),
    )
    await put(database, Kind.TASK, TaskFact("t1", "m1", "a1", old), TaskFact("t2", "m3", "a1", young))
    assert await purge(database) == 4
    assert await left(database, visit) == await left(database, visit_item) == ["v2", "v2"]
    assert (await left(database, note), await left(database, task)) == (["n2"], ["t2"])
    assert await purge(database) == 0


async def test_a_profile_leaves_with_the_last_that_is_known_of_its_member(database):
    old = NOW - KEPT - DAY
    people = {
        "gone": MemberFact("gone", old, "张三"),
        "comes": MemberFact("comes", old, "李四"),
        "noted": MemberFact("noted", old, "王五"),
        "renamed": MemberFact("renamed", NOW - DAY, "赵六"),
        "never": MemberFact("never", old, "钱七"),
    }
    await put(database, Kind.MEMBER, *people.values())
    visits = [VisitFact(f"v-{who}", old, 100, who) for who in ("gone", "comes", "noted", "renamed")]
    await put(database, Kind.VISIT, *visits, VisitFact("v-now", NOW, 100, "comes"))
    await put(database, Kind.NOTE, NoteFact("n1", "noted", "常来", "小李", NOW - DAY))
    await put(database, Kind.MEMBER, MemberFact("gone", NOW, "同名"), store_id="club-2")
    assert await purge(database) == 4
    # Of "never" there was nothing that could leave.
    assert await left(database, member) == ["comes", "gone", "never", "noted", "renamed"]
    async with database.read() as conn:
        kept = await conn.execute(sa.select(member.c.store_id).where(member.c.member_id == "gone"))
        assert list(kept.scalars()) == ["club-2"]


async def test_many_leave_in_batches_the_oldest_first_whoever_deletes(database):
    await put(
        database,
        Kind.VISIT,
        *(VisitFact(f"v{n:02}", NOW - KEPT - (25 - n) * DAY, 1, "m1") for n in range(25)),
    )
    assert await purge(database, limit=10) == 10
    assert (await left(database, visit))[0] == "v10"
    await asyncio.gather(purge(database, limit=10), purge(database, limit=10))
    while await purge(database, limit=10):
        pass
    assert await left(database, visit) == []


async def test_the_shortest_time_that_may_be_set_covers_every_window_that_is_read(database):
    reach = max(
        (day - windows(dimension, day)[1].first).days
        for dimension in TIME_DIMENSIONS
        for day in (NOW.date() + n * DAY for n in range(1500))
    )
    assert reach < 399
    with pytest.raises(SettingsError):
        load({"REACH_AI_FACTS_KEPT": "399d"})
    edge = NOW - 400 * DAY
    await put(database, Kind.VISIT, VisitFact("v1", edge, 1), VisitFact("v2", edge - DAY, 1))
    assert await purge(database, REACH_AI_FACTS_KEPT="400d") == 1
    assert await left(database, visit) == ["v1"]
