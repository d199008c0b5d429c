"""A program that is killed in the middle of a chain: what it paid for is not paid again, and another one goes on."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.pipeline.engine import LEASE
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT
from tests.ai_orchestrator.whole.programs import Replicas, barred, by_app, replicas
from tests.e2e.harness import STORE

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

ALONE = {**VISIT, "has_assistant": False, "assistant_id": ""}
"""A visit that nobody served: its chain is App3, App8, App7, one after the other."""
GRACE = timedelta(seconds=5)
"""What a takeover may take beyond the lease."""


async def _stopped(suite: Replicas, point: str) -> None:
    """Bring whoever works at the chain to *point* of its second step, and kill it there."""
    wire = suite.wire
    match point:
        case "before the gates":
            # What App8 is shown, and nothing that ends App3 touches: whoever settles a call gives tokens back to its rate.
            async with barred(suite, "clue", reading=True) as bar:
                wire.answers.open()
                await bar.met()
                await suite.kill(await suite.holder())
        case "after the hold":
            wire.requests.shut()
            wire.answers.open()
            await wire.requests.holding()
            await suite.kill(await suite.holder())
        case "after it was sent":
            wire.answers.release()
            await wire.answers.holding()
            await suite.kill(await suite.holder())
        case "after the reply":
            wire.answers.release()
            await wire.answers.holding()
            async with barred(suite, "hold", "attempt") as bar:
                wire.answers.open()
                await bar.met()
                await suite.kill(await suite.holder())
    wire.requests.open()
    wire.answers.open()


POINTS = {
    "before the gates": (1, 1),
    "after the hold": (1, 2),
    "after it was sent": (2, 2),
    "after the reply": (2, 2),
}
"""By point: how often DashScope is asked for the step that was under way, and how many attempts at it are written."""


async def test_a_kill_repeats_no_paid_step_and_the_rest_is_done_elsewhere_when_the_lease_is_over(
    amqp_vhost: str, postgres_database: str, tmp_path: Path
) -> None:
    async with replicas(2, amqp_vhost, postgres_database, tmp_path) as suite:
        for number, (point, (asked, written)) in enumerate(POINTS.items()):
            visit = {**ALONE, "member_id": f"m{number}"}
            request = pb.HandleTriggerRequest(
                store_id=STORE,
                event_type="consumption.settled",
                payload=to_struct(visit),
                idempotency_key=point,
            )
            asked_before = by_app(await suite.requests())
            suite.wire.answers.shut()
            run_id = (await suite.all[0].stub.HandleTrigger(request)).run_id
            await suite.wire.answers.holding()  # App3 has answered
            await _stopped(suite, point)
            killed_at = await suite.world.now()
            assert len(suite.all) == 1
            await suite.world.advance(LEASE.total_seconds() - 1)

            run = await suite.ended(run_id)
            took = run.finish_time.ToDatetime(tzinfo=UTC) - killed_at
            print(f"{point}: completed {took.total_seconds():.2f} s after the kill")
            assert run.status == pb.RUN_STATUS_COMPLETED, (point, run)
            assert took <= LEASE + GRACE, point

            # What was finished is paid once; what nobody knows the end of, once more at most.
            seen = Counter(by_app(await suite.requests()))
            seen.subtract(asked_before)
            assert seen == {"app3_clue": 1, "app8_consolidation": asked, "app7_customer": 1}, point
            query = "SELECT app_type, status FROM attempt WHERE run_id = %s ORDER BY started_at"
            assert [tuple(row.values()) for row in await suite.rows(query, run_id)] == [
                ("app3_clue", "completed"),
                *[("app8_consolidation", "unknown")] * (written - 1),
                ("app8_consolidation", "completed"),
                ("app7_customer", "completed"),
            ], point
            await _the_books_agree(suite)
            again = await suite.all[0].stub.HandleTrigger(request)
            assert (again.run_id, again.deduplicated) == (run_id, True)
            if number + 1 < len(POINTS):
                await suite.start()


async def _the_books_agree(suite: Replicas) -> None:
    """What was charged is what its records say, never below DashScope's own count; what was held has come back."""
    day = await suite.budget()
    (charged,) = await suite.rows("SELECT sum(charged_tokens) AS tokens FROM attempt")
    assert day.used_tokens == charged["tokens"] >= await suite.billed()
    assert day.held_tokens == 0
    assert await suite.rows("SELECT attempt_id FROM hold WHERE settled_at IS NULL") == []
