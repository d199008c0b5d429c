"""An application that hangs: its steps end at their limit, and nobody else notices."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from reach.ai_orchestrator.v1 import gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.domain.breaking import TIMEOUTS
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT
from tests.ai_orchestrator.whole.programs import Replicas, replicas
from tests.e2e.harness import STORE, eventually, refused

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

LIMIT = 10.0
"""Seconds of a step."""
NOTE = {
    "member_id": "m1",
    "note_content": "喜欢靠窗的台子",
    "noted_by_name": "小王",
    "noted_by_created_at": "2026-03-02T12:00:00+08:00",
}


async def _others(suite: Replicas) -> list[float]:
    """How long other calls take, one after the other, in seconds."""
    stub, took = suite.all[0].stub, []
    for number in range(30):
        began = time.monotonic()
        match number % 3:
            case 0:
                await stub.ListRuns(pb.ListRunsRequest(store_id=STORE))
            case 1:
                await stub.GetBudget(gate_pb2.GetBudgetRequest(store_id=STORE))
            case _:
                await stub.PlanTrigger(
                    pb.PlanTriggerRequest(store_id=STORE, event_type="note.created", member_id="m1")
                )
        took.append(time.monotonic() - began)
    return took


async def test_a_hang_ends_at_its_limit_opens_its_breaker_and_holds_nobody_up(
    amqp_vhost: str, postgres_database: str, tmp_path: Path
) -> None:
    settings = {"ai_step_limit": f"{LIMIT:g}s"}
    async with replicas(1, amqp_vhost, postgres_database, tmp_path, **settings) as suite:
        stub = suite.all[0].stub
        await suite.world.fault(path="/api/v1/apps/app6_note/completion", hang=True)

        def note(member: str) -> Any:
            return stub.HandleTrigger(
                pb.HandleTriggerRequest(
                    store_id=STORE,
                    event_type="note.created",
                    payload=to_struct({**NOTE, "member_id": member}),
                )
            )

        began = time.monotonic()
        hanging = await asyncio.gather(*(note(f"m{number}") for number in range(TIMEOUTS)))

        async def asked() -> bool:
            return len(await suite.requests()) == TIMEOUTS

        await eventually(asked)
        # Meanwhile: another member's chain, and calls that a loop which stood still would answer when the hang is over.
        visit = pb.HandleTriggerRequest(
            store_id=STORE, event_type="consumption.settled", payload=to_struct({**VISIT, "member_id": "x"})
        )
        took = await _others(suite)
        other = await suite.ended((await stub.HandleTrigger(visit)).run_id)
        assert time.monotonic() - began < LIMIT, "the machine is too slow for this test to say anything"
        assert other.status == pb.RUN_STATUS_COMPLETED
        assert max(took) < LIMIT / 3
        middle = statistics.median(took)
        print(f"during a hang: median {middle * 1000:.1f} ms, at most {max(took) * 1000:.1f} ms")

        for one in hanging:
            run = await suite.ended(one.run_id)
            (step, _) = run.steps
            assert (step.status, step.reason) == (pb.STEP_STATUS_FAILED, "timeout"), run
        assert time.monotonic() - began < 2 * LIMIT
        attempts = await suite.rows(
            "SELECT status, reason, took_ms, charged_tokens FROM attempt WHERE app_type = 'app6_note'"
        )
        assert [(one["status"], one["reason"]) for one in attempts] == [("unknown", "timeout")] * TIMEOUTS
        assert all(LIMIT * 900 < one["took_ms"] < (LIMIT + 1) * 1000 for one in attempts)
        assert all(one["charged_tokens"] for one in attempts), "they may have run"

        async def left() -> bool:
            seen = [one for one in await suite.requests() if one["app_id"] == "app6_note"]
            return [one["client_left"] for one in seen] == [True] * TIMEOUTS

        await eventually(left)  # the platform has seen every socket close
        opened = (await stub.ListBreakers(gate_pb2.ListBreakersRequest(open_only=True))).breakers
        assert [(one.key, one.reason) for one in opened] == [("app:app6_note", "timeout")]
        again = pb.RunAppRequest(
            store_id=STORE, app_type="app6_note", subject=pb.Subject(member_id="m0"), refresh=True
        )
        assert (await refused(stub.RunApp(again)))[1].reason == "CIRCUIT_OPEN"
        assert (await suite.budget()).held_tokens == 0
