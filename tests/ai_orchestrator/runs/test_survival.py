"""Whatever happens to a process, no finished step is paid twice, no request is without its record, no run stays open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert

from services.ai_orchestrator.domain.call import Call, Count, Tokens
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.store import runs
from services.ai_orchestrator.store.run_tables import attempt, step_run
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.ai_orchestrator.runs.bench import NOON, STORE, Replica, World, problem, shut
from tests.e2e.harness import eventually

LEASE = timedelta(seconds=10)
NOBODY = ""


async def hang(call: Call, before: int) -> Any:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    "point", ["before the gates", "after the hold", "after it was sent", "after the reply"]
)
async def test_a_run_outlives_its_process(
    replica: Replica, world: World, clock: ManualClock, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await replica.trigger()).run_id
    await replica.turn()  # App3 is paid
    stuck = asyncio.Event()

    async def stop(*_: Any, **__: Any) -> Any:
        stuck.set()
        await asyncio.sleep(60)

    if point == "before the gates":
        monkeypatch.setattr(replica.side.engine._preparer, "prepare", stop)
    elif point == "after the hold":
        monkeypatch.setattr(replica.side.engine, "_call", stop)
    elif point == "after it was sent":
        world.script = stop
    else:
        monkeypatch.setattr(replica.side.engine._settler, "settle", stop)
    await replica.side.engine.once()
    await asyncio.wait_for(stuck.wait(), 10)
    await replica.kill()
    world.script = None

    other = Replica(replica.database, world, clock, "b")
    await other.side.engine.sweep_once()
    assert await other.turn() == 0  # the lease still holds
    clock.advance(LEASE + timedelta(seconds=1))
    await other.side.engine.sweep_once()
    await other.until_idle()
    assert (await other.run(run_id))["status"] == "completed"
    asked, rows = world.asked(), await other.rows(attempt)
    assert (asked["app3_clue"], asked["app7_customer"]) == (1, 1)
    lost = [row for row in rows if row.status == "unknown"]
    assert len(lost) == (0 if point == "before the gates" else 1)
    assert len(rows) == 3 + len(lost)
    assert all(row.charged_tokens == (100 if row in lost else 30) for row in rows)
    # Every request has its record; one that was to leave and did not is charged all the same.
    assert sum(asked.values()) == len(rows) - (1 if point == "after the hold" else 0)
    assert set(world.held) == set(world.settled)


async def test_what_nobody_knows_is_asked_once_more_and_no_more(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    async def lost(call: Call, before: int) -> Any:
        return problem("unknown", http_status=None, repeatable=True)

    world.script = lost
    run_id = (await replica.trigger("note.created")).run_id
    for _ in range(6):
        await replica.until_idle()
        clock.advance(timedelta(seconds=6))
    assert world.asked() == {"app6_note": 2, "app8_consolidation": 2}
    assert {row.status for row in await replica.rows(attempt)} == {"unknown"}
    assert (await replica.run(run_id))["status"] == "failed"


async def test_a_hang_ends_at_its_limit_and_counts(
    database: Database, world: World, replica: Replica
) -> None:
    world.script = hang
    slow = Replica(database, world, replica.clock, "b", REACH_AI_STEP_LIMIT="0.3s")
    await slow.side.open()
    run_id = (await slow.trigger("note.created")).run_id
    began = time.monotonic()
    await slow.side.engine.once()
    await world.until_asked()
    looked = time.monotonic()
    await slow.runs.get(run_id, None)
    assert time.monotonic() - looked < 0.1
    await slow.side.engine.settled()
    assert time.monotonic() - began < 4
    assert world.cancelled == 1
    (row,) = await slow.rows(attempt)
    assert (row.status, row.reason, row.charged_tokens) == ("unknown", "timeout", 100)
    (outcome,) = world.outcomes
    assert (outcome.count, outcome.tokens) == (Count.COUNT, Tokens.HOLD)  # type: ignore[union-attr]


async def test_a_process_that_stops_breaks_its_calls_off_and_another_asks_once_more(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.script = hang
    replica.side.engine._break_off = timedelta(seconds=0.05)
    run_id = (await replica.trigger("note.created")).run_id
    await replica.side.engine.once()
    await world.until_asked()
    await replica.side.engine.drain(10)
    assert world.cancelled == 1
    world.script = None
    await Replica(replica.database, world, clock, "b").until_idle()
    assert (await replica.run(run_id))["status"] == "completed"
    assert [row.status for row in await replica.rows(attempt) if row.app_type == "app6_note"] == [
        "unknown",
        "completed",
    ]
    assert world.outcomes[0].count is Count.NEVER  # type: ignore[union-attr]


async def test_a_frozen_process_that_wakes_up_changes_nothing(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    wake = asyncio.Event()

    async def slow(call: Call, before: int) -> Any:
        if before == 0 and call.app_type == "app6_note":
            await wake.wait()

    world.script = slow
    run_id = (await replica.trigger("note.created")).run_id
    await replica.side.engine.once()
    await world.until_asked()
    clock.advance(LEASE + timedelta(seconds=1))
    other = Replica(replica.database, world, clock, "b")
    await other.side.engine.sweep_once()
    await other.until_idle()
    before = await other.steps(run_id)
    wake.set()
    await replica.side.engine.settled()
    assert await other.steps(run_id) == before
    assert [row.status for row in await other.rows(attempt)] == ["unknown", "completed", "completed"]


async def test_prewarm_killed_at_item_30_asks_for_the_other_42_only(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    plan = await replica.runs.project("dws.completed", Subject(STORE))
    assert [one.verdict for one in plan.steps] == ["ask"] * 72
    assert plan.steps[0].name == "app2_finance:this_month"

    async def thirty() -> bool:
        return len([row for row in await replica.rows(step_run) if row.status == "completed"]) == 30

    async def script(call: Call, before: int) -> Any:
        if len(world.calls) > 30:
            await asyncio.sleep(60)

    world.script = script
    run_id = (await replica.trigger("dws.completed", NOBODY)).run_id
    engine = replica.side.engine

    async def turning() -> None:
        while True:
            await engine.once()
            await asyncio.sleep(0.002)

    loop = asyncio.create_task(turning())
    await world.until_asked(38)
    await eventually(thirty)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await replica.kill()
    done = [row for row in await replica.rows(step_run) if row.status == "completed"]
    assert len(done) == 30
    world.calls.clear()
    world.script = None
    other = Replica(replica.database, world, clock, "b")
    clock.advance(LEASE + timedelta(seconds=1))
    await other.side.engine.sweep_once()
    await other.until_idle()
    assert len(world.calls) == 42
    assert (await other.run(run_id))["status"] == "completed"
    world.calls.clear()
    await other.trigger("dws.completed", NOBODY, forced=True)
    await other.until_idle()
    assert world.calls == []


async def test_prewarm_is_as_wide_as_it_may_be_and_no_wider(replica: Replica, world: World) -> None:
    under_way = widest = 0
    full = asyncio.Event()

    async def script(call: Call, before: int) -> None:
        nonlocal under_way, widest
        under_way += 1
        widest = max(widest, under_way)
        if under_way == 8:
            full.set()
        await full.wait()  # nobody is answered before eight are asked at once
        await asyncio.sleep(0)
        under_way -= 1

    world.script = script
    await replica.trigger("dws.completed", NOBODY)
    loop = asyncio.create_task(replica.side.engine.run(lambda: None))
    await asyncio.wait_for(world.over.wait(), 60)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert (len(world.calls), widest) == (72, 8)


async def test_prewarm_waits_for_room_instead_of_burning_through(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.shut.append(shut(Refusal.RATE_LIMITED, 5, NOON))
    run_id = (await replica.trigger("dws.completed", NOBODY)).run_id
    for _ in range(3):
        await replica.until_idle()
        clock.advance(timedelta(seconds=6))
    states = await replica.statuses(run_id)
    assert (list(states.values()).count("deferred"), list(states.values()).count("blocked")) == (8, 64)
    world.shut.clear()
    await replica.until_idle()
    assert (await replica.run(run_id))["status"] == "completed"


async def test_ten_thousand_steps_of_one_store_do_not_stand_before_another(
    replica: Replica, world: World
) -> None:
    first = (await replica.trigger()).run_id
    (row,) = [one for one in await replica.rows(step_run) if one.status == StepStatus.PENDING]

    async def crowd(conn: Any) -> None:
        copies = [
            {
                **row._mapping,
                "id": f"copy-{at:05}",
                "position": 100 + at,
                "name": f"copy-{at:05}",
                "member_id": f"m{at}",
                "rank": row.rank + (at + 1) * runs.QUANTUM,
                "lane": f"copy-{at}",
            }
            for at in range(10_000)
        ]
        for at in range(0, 10_000, 500):
            await conn.execute(insert(step_run), copies[at : at + 500])

    await replica.database.transact(crowd)
    assert first
    await replica.trigger(store="s2", member="b1")
    await replica.turn()
    await replica.turn()
    assert any("b1" in call.prompt for call in world.calls)
    assert len(world.calls) == 2 * 16


async def test_someone_waiting_goes_before_prewarm(replica: Replica, world: World) -> None:
    await replica.trigger("dws.completed", NOBODY)
    await replica.trigger()
    narrow = Replica(replica.database, world, replica.clock, "b", REACH_AI_AT_ONCE="1")
    await narrow.turn()
    assert world.calls[0].app_type == "app3_clue"


async def test_no_attempt_stays_without_an_end(
    replica: Replica, world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> Awaitable[None]:
        raise RuntimeError("the process is gone")

    monkeypatch.setattr(replica.side.engine._settler, "settle", lost)
    run_id = (await replica.trigger("note.created")).run_id
    await replica.turn()
    clock.advance(timedelta(minutes=10))
    other = Replica(replica.database, world, clock, "b")
    async with replica.database.write() as conn:
        # Its step was ended by the deadline before anybody took it over.
        run = await runs.lock(conn, run_id)
        assert run is not None
        await other.side.engine._settler._ending.expire(conn, run)
    await other.side.engine.sweep_once()
    (row,) = await other.rows(attempt)
    assert (row.status, row.charged_tokens) == ("unknown", 100)


async def test_an_answer_that_comes_while_its_step_is_being_taken_over_counts(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    wake = asyncio.Event()

    async def slow(call: Call, before: int) -> Any:
        await wake.wait()

    world.script = slow
    run_id = (await replica.trigger("note.created")).run_id
    await replica.side.engine.once()
    await world.until_asked()
    clock.advance(LEASE + timedelta(seconds=1))
    other = Replica(replica.database, world, clock, "b")
    # It has the step, and has not come to its attempt.
    (step,) = await other.database.transact(lambda conn: other.side.engine._expired(conn, clock.now()))
    wake.set()
    await replica.side.engine.settled()
    world.script = None
    await other.database.transact(partial(other.side.engine._settler.take_over, step))
    await other.until_idle()
    assert (await other.run(run_id))["status"] == "completed"
    assert world.asked() == {"app6_note": 1, "app8_consolidation": 1}
    assert [row.status for row in await other.rows(attempt)] == ["completed", "completed"]


async def test_a_call_broken_off_by_who_lost_its_step_is_asked_once_more_as_the_next_attempt(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.script = hang
    run_id = (await replica.trigger("note.created")).run_id
    await replica.side.engine.once()
    await world.until_asked()
    clock.advance(LEASE + timedelta(seconds=1))
    other = Replica(replica.database, world, clock, "b")
    (step,) = await other.database.transact(lambda conn: other.side.engine._expired(conn, clock.now()))
    await replica.side.engine.renew()  # it hears that the step is another's
    await replica.side.engine.settled()
    world.script = None
    await other.database.transact(partial(other.side.engine._settler.take_over, step))
    await other.until_idle()
    assert (await other.run(run_id))["status"] == "completed"
    tried = [row for row in await other.rows(attempt) if row.app_type == "app6_note"]
    assert [(row.attempt_no, row.status) for row in tried] == [(1, "cancelled"), (2, "completed")]


async def test_a_pause_longer_than_the_lease_costs_a_replica_nothing_where_nobody_else_was_there(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    wake = asyncio.Event()

    async def slow(call: Call, before: int) -> Any:
        await wake.wait()

    world.script = slow
    run_id = (await replica.trigger("note.created")).run_id
    await replica.side.engine.once()
    await world.until_asked()
    clock.advance(LEASE + timedelta(seconds=20))
    await replica.side.engine.sweep_once()
    wake.set()
    await replica.side.engine.settled()
    await replica.until_idle()
    assert (await replica.run(run_id))["status"] == "completed"
    assert world.asked() == {"app6_note": 1, "app8_consolidation": 1}
