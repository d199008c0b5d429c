"""Steps of a wide run that meet: asked together, settled together, and read ahead, without sharing each other's trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.domain.material import Material
from services.ai_orchestrator.pipeline.looking import AHEAD
from services.ai_orchestrator.store.run_tables import attempt, step_run
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.rpc import principal
from tests.ai_orchestrator.runs.bench import NOON, Answer, Replica, World, problem, reply, shut

NOBODY = ""
FIRST = "app2_finance:this_month"


class Watched(World):
    """A world that remembers what was wanted of it together."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[int] = []
        self.settled_together: list[int] = []
        self.gathered: list[int] = []
        self.order: list[str] = []
        self.refuses: set[str] = set()
        """Apps."""

    async def pass_(
        self, conn: AsyncConnection, wishes: Sequence[Wish], now: datetime
    ) -> Sequence[Granted] | Refused:
        """See Gates."""
        self.passed.append(len(wishes))
        self.order.append("pass")
        if self.refuses & {wish.app_type for wish in wishes}:
            return shut(Refusal.RATE_LIMITED, 5, now)
        return await super().pass_(conn, wishes, now)

    async def settle(
        self, conn: AsyncConnection, ends: Sequence[tuple[Wish, Answer]], now: datetime
    ) -> list[int]:
        """See Gates."""
        self.settled_together.append(len(ends))
        self.order.append("settle")
        return await super().settle(conn, ends, now)

    async def gather(self, conn: AsyncConnection, asked: Sequence[Any], now: datetime) -> list[Material]:
        """See Materials."""
        self.gathered.append(len(asked))
        return await super().gather(conn, asked, now)


@pytest.fixture
def world() -> Watched:
    """All gates open, all answers good."""
    return Watched()


@pytest.fixture
async def wide(database: Database, world: Watched, clock: ManualClock) -> Replica:
    """One replica, that does all that a run lets go."""
    principal.enter(principal.LOCAL_OPERATOR)
    return Replica(database, world, clock)


async def test_what_is_ready_at_once_is_read_asked_and_settled_at_once(wide: Replica, world: Watched) -> None:
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    while await wide.turn():
        pass
    assert (await wide.run(run_id))["status"] == "completed"
    assert (world.passed, world.settled_together) == ([8] * 9, [8] * 9)
    assert world.gathered[0] == 8
    assert sum(world.gathered) == 72  # each once, all but the first eight ahead
    rows = await wide.rows(attempt)
    assert len(rows) == len(world.calls) == 72
    assert {(row.status, row.attempt_no, row.owner) for row in rows} == {("completed", 1, "a")}
    assert {row.tokens for row in await wide.rows(step_run)} == {30}


async def test_a_gate_that_refuses_one_of_a_batch_holds_up_no_other(wide: Replica, world: Watched) -> None:
    wide.side.engine._at_once = wide.side.engine._prewarm_at_once = 20
    await wide.trigger("dws.completed", NOBODY)
    await wide.trigger("dws.completed", NOBODY, store="s2")
    world.refuses = {"app2a_finance_area"}
    while await wide.turn():
        pass
    # The eight of each store that are of the other app went, and nothing is behind them but what waits.
    assert world.asked() == {"app2_finance": 16}
    assert {row.status for row in await wide.rows(attempt)} == {"completed"}
    assert {row.hold_reason for row in await wide.rows(step_run) if row.status == "deferred"} == {
        "rate_limited"
    }


async def test_each_of_a_batch_has_its_own_end(wide: Replica, world: Watched) -> None:
    said: list[Answer] = [reply("not json"), reply("[1"), problem("arrears"), problem("bad", repeatable=True)]

    async def script(call: Call, before: int) -> Answer | None:
        return said[before] if before < len(said) and call.app_type == "app2_finance" else None

    world.script = script
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    assert await wide.turn() == 8
    assert world.settled_together == [8]
    stood = list((await wide.statuses(run_id)).values())[:8]
    assert sorted(stood) == ["completed"] * 4 + ["deferred", "failed"] + ["pending"] * 2
    wide.clock.advance(timedelta(seconds=3))  # type: ignore[attr-defined]
    while await wide.turn():
        pass
    run = await wide.run(run_id)
    assert (run["status"], run["error"].partition(":")[0]) == ("partial", FIRST.partition(":")[0])
    assert len(world.calls) == 72 + 3
    assert len(await wide.rows(attempt)) == 75


async def test_a_reply_that_no_database_keeps_fails_its_own_step_only(wide: Replica, world: Watched) -> None:
    async def script(call: Call, before: int) -> Answer | None:
        return reply({"text": "a\0b"}) if (call.app_type, before) == ("app2_finance", 0) else None

    world.script = script
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    assert await wide.turn() == 8
    statuses = sorted((await wide.statuses(run_id)).values())
    assert (statuses.count("completed"), statuses.count("failed")) == (7, 1)
    assert len(world.calls) == 8


async def test_what_was_read_ahead_is_read_again_when_it_is_old(
    wide: Replica, world: Watched, clock: ManualClock
) -> None:
    await wide.trigger("dws.completed", NOBODY)
    assert await wide.turn() == 8
    world.facts["*"] = 2
    clock.advance(AHEAD)
    assert await wide.turn() == 8
    assert {_views(call) for call in world.calls[8:]} == {1}
    world.facts["*"] = 3
    clock.advance(AHEAD + timedelta(seconds=1))
    assert await wide.turn() == 8
    assert {_views(call) for call in world.calls[16:]} == {3}


async def test_an_answer_that_became_known_since_the_facts_were_read_ahead_is_not_asked_for(
    wide: Replica, world: Watched
) -> None:
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    assert await wide.turn() == 8
    other = Replica(wide.database, world, wide.clock, "b")
    steps = list((await wide.steps(run_id)).values())[8:16]
    assert {row["status"] for row in steps} == {"pending"}
    for row in steps[:3]:  # somebody else asked the very same
        key = ("s1", row["app_type"], "|".join((row["time_dimension"], row["area"])))
        ahead = wide.side.engine._preparer._looker._ahead[row["id"]]
        world.kept[key] = ({"known": True}, ahead.prompt.fingerprint, NOON)
    assert await wide.turn() == 8
    assert len(world.calls) == 8 + 5
    assert [row["status"] for row in list((await other.steps(run_id)).values())[8:16]].count("cached") == 3


@pytest.mark.parametrize("replicas", [1, 2])
async def test_the_next_are_asked_before_answers_are_settled_and_a_run_is_no_wider_for_it(
    wide: Replica, world: Watched, replicas: int
) -> None:
    under_way = widest = 0

    async def script(call: Call, before: int) -> Answer | None:
        nonlocal under_way, widest
        under_way += 1
        widest = max(widest, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        # Refused replies are asked again: their places are not free before that is written.
        return reply("not json") if call.prompt.count("hallB") and before < 20 else None

    world.script = script
    others = [Replica(wide.database, world, wide.clock, "b") for _ in range(replicas - 1)]
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    loops = [asyncio.create_task(one.side.engine.run(lambda: None)) for one in (wide, *others)]
    await asyncio.wait_for(world.over.wait(), 60)
    for one in (wide, *others):
        await one.side.engine.drain(10)
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    assert 1 < widest <= 8
    first_settled = world.order.index("settle")
    assert world.order[:first_settled].count("pass") >= 2
    assert (await wide.run(run_id))["finished_at"] is not None
    rows = await wide.rows(attempt)
    assert len(rows) == len(world.calls) == len(world.settled) >= 72
    assert "calling" not in {row.status for row in rows}


async def test_a_place_that_cannot_be_handed_over_is_filled_when_its_step_is_settled(
    wide: Replica, world: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(answered: object) -> Any:
        raise ValueError("for the test")

    monkeypatch.setattr(wide.side.engine._handing, "_many", broken)
    run_id = (await wide.trigger("dws.completed", NOBODY)).run_id
    loop = asyncio.create_task(wide.side.engine.run(lambda: None))
    await asyncio.wait_for(world.over.wait(), 60)
    await wide.side.engine.drain(10)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert (await wide.run(run_id))["status"] == "completed"
    assert len(world.calls) == 72


def _views(call: Call) -> Any:
    return json.loads(call.prompt)["views"]["facts"]
