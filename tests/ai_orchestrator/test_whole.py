"""The service as its callers meet it, beside a sandbox: events in, results out, every request with its record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from reach.ai_orchestrator.v1 import copy_pb2, insight_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from sqlalchemy import Connection

from services.ai_orchestrator.assembly import LOCATIONS
from services.ai_orchestrator.store import run_tables
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT, Club, opened
from tests.e2e.harness import STORE, refused


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[Club]:
    async with opened(tmp_path / "home") as made:
        yield made


async def test_a_settled_visit_becomes_results_and_every_request_has_its_record(club: Club) -> None:
    request = pb.HandleTriggerRequest(
        store_id=STORE, event_type="consumption.settled", payload=to_struct(VISIT), idempotency_key="k1"
    )
    started = await club.stub.HandleTrigger(request)
    again = await club.stub.HandleTrigger(request)
    assert (again.run_id, again.deduplicated) == (started.run_id, True)
    run = await club.ended(started.run_id)
    assert {step.name: step.status for step in run.steps} == dict.fromkeys(
        ["app3_clue", "app8_consolidation", "app7_customer", "app4_analysis", "app5_tactics"],
        pb.STEP_STATUS_COMPLETED,
    ), run
    attempts = (await club.stub.ListAttempts(pb.ListAttemptsRequest(run_id=run.run_id))).attempts
    assert len(attempts) == len(await club.requests()) == 5
    kept = await club.stub.ListInsights(insight_pb2.ListInsightsRequest(store_id=STORE))
    assert len(kept.insights) == 5
    told = await club.stub.Explain(pb.ExplainRequest(run_id=run.run_id))
    assert told.steps[0].what == "run"
    listed = await club.stub.ListRuns(pb.ListRunsRequest(store_id=STORE, member_id="m1"))
    assert [one.run_id for one in listed.runs] == [run.run_id]

    app = pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=pb.Subject(member_id="m1"))
    assert (await club.stub.RunApp(app)).run.steps[0].status == pb.STEP_STATUS_CACHED
    app.dry_run = True
    assert "280" in (await club.stub.RunApp(app)).prompt
    plan = await club.stub.PlanTrigger(pb.PlanTriggerRequest(store_id=STORE, event_type="dws.completed"))
    assert len(plan.steps) == 72
    assert len(await club.requests()) == 5
    copy = await club.stub.GenerateCopy(
        copy_pb2.GenerateCopyRequest(
            store_id=STORE,
            scenario=copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN,
            theme="周末双人套餐",
            idempotency_key="c1",
        )
    )
    assert copy.candidates
    rerun = await club.stub.RerunRun(pb.RerunRunRequest(run_id=run.run_id, from_step="app7_customer"))
    done = await club.ended(rerun.run.run_id)
    assert [step.status for step in done.steps].count(pb.STEP_STATUS_CACHED) == 4
    code, why = await refused(club.stub.CancelRun(pb.CancelRunRequest(run_id=done.run_id)))
    assert (code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
    for wrong in (
        pb.HandleTriggerRequest(store_id=STORE, event_type="order.created", payload=to_struct(VISIT)),
        pb.HandleTriggerRequest(store_id=STORE, event_type="task.assigned", member_id="m1"),
        pb.HandleTriggerRequest(
            store_id=STORE,
            event_type="consumption.settled",
            payload=to_struct({**VISIT, "assistant_id": ""}),
        ),
    ):
        code, why = await refused(club.stub.HandleTrigger(wrong))
        assert (code, why.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_the_migrations_end_at_the_tables_of_the_code(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")
    ours = {"definition", "chain_run", "run_event", "step_run", "attempt"}

    def chosen(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return name in ours if kind == "table" else True

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": chosen}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, run_tables.definition.metadata))

    async with database.read() as conn:
        assert await conn.run_sync(differences) == []
    await database.close()
