"""The three gates of the assembled service, one behind the other: what they refuse never leaves the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.ai_orchestrator.v1 import alert_pb2, copy_pb2, gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.domain.planning import CHAIN_STEPS
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT, Club, opened
from tests.e2e.harness import STORE, eventually, refused

LIMIT = timedelta(minutes=3)
"""Of a step; its chain has five times as long."""


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[Club]:
    settings = {"clock": "sandbox", "limit_ai_store_per_minute": "2", "limit_ai_breaker_open": "300s"}
    async with opened(tmp_path / "home", at="2026-03-03T01:00:00Z", **settings) as made:
        yield made


async def _all_shut(club: Club) -> None:
    """A breaker that is open for five minutes, a minute's rate used up, and no budget."""

    def copy(theme: str) -> Any:
        scenario = copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN
        return club.stub.GenerateCopy(
            copy_pb2.GenerateCopyRequest(store_id=STORE, scenario=scenario, theme=theme)
        )

    await copy("周末双人套餐")
    await club.world.fault(path="/api/v1/apps/*", errcode="Arrearage", count=1)
    code, error = await refused(copy("生日月"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COPY_REFUSED")
    assert error.facts["cause"] == "arrears"
    await club.stub.SetBudget(gate_pb2.SetBudgetRequest(store_id=STORE, day_tokens=0))


async def _refusals(club: Club, run_id: str) -> list[str]:
    run = (await club.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
    return [one.refusal for one in run.steps[0].refusals]


async def _alerts(club: Club, run_id: str, count: int) -> list[int]:
    """The kinds of the first so many alerts of a run."""
    stream = club.stub.WatchAlerts(alert_pb2.WatchAlertsRequest(after_cursor=0), timeout=20)
    found: list[int] = []
    async for one in stream:
        if one.alert.run_id == run_id:
            found.append(one.alert.kind)
        if len(found) == count:
            stream.cancel()
            break
    return found


async def test_what_three_gates_refuse_is_named_by_the_first_and_asks_nobody(club: Club) -> None:
    await club.world.freeze()
    await _all_shut(club)
    asked = len(await club.requests())
    assert asked == 2
    visit = {**VISIT, "has_assistant": False, "assistant_id": ""}
    request = pb.HandleTriggerRequest(
        store_id=STORE, event_type="consumption.settled", payload=to_struct(visit)
    )
    waiting = (await club.stub.HandleTrigger(request)).run_id

    async def expect(reason: str, so_far: list[str]) -> None:
        """The gate that speaks now: at once to who waits for an answer, and in the story of what an event began."""
        one = pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=pb.Subject(member_id="m1"))
        _, error = await refused(club.stub.RunApp(one))
        assert error.reason == reason

        async def told() -> bool:
            return await _refusals(club, waiting) == so_far

        await eventually(told)
        assert len(await club.requests()) == asked

    await expect("CIRCUIT_OPEN", ["circuit_open"])
    await club.stub.ResetBreaker(gate_pb2.ResetBreakerRequest(key="account"))
    await expect("RATE_LIMITED", ["circuit_open", "rate_limited"])
    await club.world.advance(65)
    await expect("BUDGET_EXCEEDED", ["circuit_open", "rate_limited", "budget_exceeded"])

    # It waits as long as its chain has, and says once of each gate that it did.
    await club.world.advance((LIMIT * CHAIN_STEPS).total_seconds())
    run = await club.ended(waiting)
    assert (run.status, run.steps[0].status) == (pb.RUN_STATUS_FAILED, pb.STEP_STATUS_REFUSED)
    assert run.steps[0].reason == "budget_exceeded"
    told = await _alerts(club, waiting, 4)
    assert sorted(told) == [
        alert_pb2.ALERT_KIND_CIRCUIT_OPEN,
        alert_pb2.ALERT_KIND_RATE_LIMITED,
        alert_pb2.ALERT_KIND_BUDGET_EXCEEDED,
        alert_pb2.ALERT_KIND_TIMEOUT,
    ]
    assert len(await club.requests()) == asked

    await club.stub.SetBudget(gate_pb2.SetBudgetRequest(store_id=STORE))
    await club.world.advance(120)
    one = pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=pb.Subject(member_id="m1"))
    assert (await club.stub.RunApp(one)).run.status == pb.RUN_STATUS_COMPLETED
    assert len(await club.requests()) == asked + 1
