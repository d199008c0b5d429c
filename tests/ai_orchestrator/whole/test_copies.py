"""The same thing told many times at once, by every door, to several programs: it is one run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from reach.ai_orchestrator.v1 import run_pb2 as pb

from shared.bus.topology import Topology
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT
from tests.ai_orchestrator.whole.programs import Replicas, by_app, replicas
from tests.e2e.harness import STORE, Publisher, eventually, publisher

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

COPIES = 100
"""By each of the two doors."""
ONCE_EACH = dict.fromkeys(
    ["app3_clue", "app8_consolidation", "app7_customer", "app4_analysis", "app5_tactics"], 1
)


async def _called(suite: Replicas, count: int, name: str) -> list[Any]:
    """Copies by gRPC: half of them as one event of one id, half under ids of their own; the answers."""

    def copy(number: int) -> pb.HandleTriggerRequest:
        event_id = f"{name}-one" if number % 4 < 2 else f"{name}-{number}"
        return pb.HandleTriggerRequest(
            store_id=STORE, event_type="consumption.settled", payload=to_struct(VISIT), event_id=event_id
        )

    stubs = [one.stub for one in suite.all]
    return await asyncio.gather(
        *(stubs[number % len(stubs)].HandleTrigger(copy(number)) for number in range(count))
    )


async def _published(till: Publisher, count: int, name: str) -> None:
    """Copies through the exchange, likewise."""
    await asyncio.gather(
        *(
            till.event(
                "consumption.settled", VISIT, f"{name}-one" if number % 4 < 2 else f"{name}-till-{number}"
            )
            for number in range(count)
        )
    )


async def _taken(suite: Replicas, count: int) -> None:
    """Wait until so many copies were taken in, repeats included."""

    async def look() -> bool:
        (found,) = await suite.rows("SELECT coalesce(sum(1 + duplicates), 0) AS copies FROM inbox")
        assert found["copies"] <= count
        return bool(found["copies"] == count)

    await eventually(look, timeout=60)


async def _runs(suite: Replicas) -> list[str]:
    found = (await suite.all[0].stub.ListRuns(pb.ListRunsRequest(store_id=STORE, page_size=200))).runs
    return [one.run_id for one in found]


async def test_a_hundred_copies_by_each_door_at_once_are_one_run_and_stay_it_after_a_restart(
    amqp_vhost: str, postgres_database: str, tmp_path: Path
) -> None:
    async with (
        replicas(2, amqp_vhost, postgres_database, tmp_path) as suite,
        publisher(amqp_vhost, Topology().events) as till,
    ):
        answers, _ = await asyncio.gather(_called(suite, COPIES, "e1"), _published(till, COPIES, "e1"))
        (run_id,) = {one.run_id for one in answers}
        assert [one.deduplicated for one in answers].count(
            False
        ) <= 1  # the first may have been the exchange's
        assert {one.follow_up_run_id for one in answers} == {""}
        await _taken(suite, 2 * COPIES)
        assert (await suite.ended(run_id)).status == pb.RUN_STATUS_COMPLETED
        assert await _runs(suite) == [run_id]
        assert by_app(await suite.requests()) == ONCE_EACH
        assert len(await suite.rows("SELECT visit_id FROM visit")) == 1

        for replica in list(suite.all):
            await suite.kill(replica)
        await suite.start(2)
        answers, _ = await asyncio.gather(_called(suite, 8, "e2"), _published(till, 8, "e2"))
        await _taken(suite, 2 * COPIES + 16)
        assert {(one.run_id, one.deduplicated) for one in answers} == {(run_id, True)}
        assert await _runs(suite) == [run_id]

        forced = pb.HandleTriggerRequest(
            store_id=STORE, event_type="consumption.settled", payload=to_struct(VISIT), forced=True
        )
        another = await suite.all[1].stub.HandleTrigger(forced)
        assert (another.deduplicated, another.run_id == run_id) == (False, False)
        run = await suite.ended(another.run_id)
        # It is a run of its own, and what was made from the very same facts is not asked for again.
        assert {step.status for step in run.steps} == {pb.STEP_STATUS_CACHED}
        assert sorted(await _runs(suite)) == sorted([run_id, another.run_id])
        assert by_app(await suite.requests()) == ONCE_EACH
