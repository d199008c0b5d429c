"""Prewarm begins once a day for each active store, by the store's own clocks."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from services.ai_orchestrator.store.run_tables import chain_run
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.ai_orchestrator.runs.bench import Replica, World


async def test_the_schedule_prepares_each_active_store_once_a_day_and_catches_up(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await replica.trigger(store="s1")
    await replica.trigger(store="s2", member="m9")
    prewarming = replica.side.prewarming
    assert len(await prewarming.look()) == 2  # it is noon, and 10:00 was missed
    assert await prewarming.look() == []
    assert await Replica(replica.database, world, clock, "b").side.prewarming.look() == []
    clock.advance(timedelta(hours=21))  # 9:00 the next day
    assert await prewarming.look() == []
    clock.advance(timedelta(hours=1))
    assert len(await prewarming.look()) == 2
    told = [row for row in await replica.rows(chain_run) if row.prewarm]
    assert {(row.store_id, row.day) for row in told} == {
        (store, day) for store in ("s1", "s2") for day in ("2026-03-02", "2026-03-03")
    }
    assert (await replica.trigger("dws.completed", "")).deduplicated


async def test_each_store_is_prepared_for_at_ten_by_its_own_clocks(
    database: Database, world: World, clock: ManualClock
) -> None:
    """At noon in Shanghai it is 13:00 in Tokyo, 23:00 the day before in New York, and 4:00 in London."""
    names = {"s1": "Asia/Shanghai", "s2": "Asia/Tokyo", "s3": "America/New_York", "s4": "Europe/London"}
    zones = {store: ZoneInfo(name) for store, name in names.items()}
    replica = Replica(database, world, clock, zones=zones)
    other = Replica(database, world, clock, "b", zones=zones)

    async def begun(hours: int) -> set[tuple[str, str]]:
        clock.advance(timedelta(hours=hours))
        found = {*await replica.side.prewarming.look(), *await other.side.prewarming.look()}
        rows = await replica.rows(chain_run)
        return {(row.store_id, row.day) for row in rows if row.id in found}

    assert await begun(0) == {("s1", "2026-03-02"), ("s2", "2026-03-02"), ("s3", "2026-03-01")}
    assert await begun(5) == set()
    assert await begun(1) == {("s4", "2026-03-02")}  # 10:00 in London
    assert await begun(5) == {("s3", "2026-03-02")}  # 10:00 in New York
    assert await begun(10) == {("s2", "2026-03-03")}  # 10:00 in Tokyo
    assert await begun(1) == {("s1", "2026-03-03")}


async def test_a_store_that_cannot_be_begun_is_tried_again_and_holds_up_no_other(
    database: Database, world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = dict.fromkeys(("s1", "s2"), ZoneInfo("Asia/Shanghai"))
    prewarming = Replica(database, world, clock, zones=zones).side.prewarming
    broken = dict(zones)
    del zones["s1"]  # of which nobody knows how it is looked at

    async def stores(*_: object) -> dict[str, ZoneInfo]:
        return broken

    monkeypatch.setattr(prewarming, "_stores", stores)
    assert len(await prewarming.look()) == 1
    zones["s1"] = zones["s2"]
    assert len(await prewarming.look()) == 1
    assert await prewarming.look() == []
