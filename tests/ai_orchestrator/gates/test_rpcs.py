"""Budgets and breakers as operators meet them, over a real channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.ai_orchestrator.v1 import gate_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub
from reach.ops.v1 import audit_pb2
from reach.ops.v1 import ops_service_pb2 as ops
from sqlalchemy import inspect

from services.ai_orchestrator.assembly import NAME, build
from services.ai_orchestrator.domain.call import CallProblem, Count, Scope, Tokens
from services.ai_orchestrator.domain.gating import Granted
from services.ai_orchestrator.store import gate_tables
from shared.clock import SystemClock
from shared.db.engine import Database
from tests.ai_orchestrator.gates.bench import Bench, answered, wish
from tests.e2e.harness import STORE, Reach, embedded, refused

ARREARS = CallProblem(
    "arrears", "Arrearage", 400, "in arrears", scope=Scope.ACCOUNT, count=Count.OPEN, tokens=Tokens.RELEASE
)
TABLES = (
    gate_tables.breaker,
    gate_tables.budget_limit,
    gate_tables.budget,
    gate_tables.hold,
    gate_tables.app_cost,
)


@pytest.fixture
async def reach(database_url: str, tmp_path: Path) -> AsyncIterator[Reach]:
    """An ai_orchestrator of its own on each of the two databases."""
    more = {} if database_url.startswith("sqlite") else {"database_url": database_url}
    async with embedded("http://127.0.0.1:9", tmp_path / "home", builds=[build], **more) as made:
        yield made


@pytest.fixture
async def gates(reach: Reach, database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """The gates over its database, beside it."""
    url = f"sqlite:///{tmp_path}/home/{NAME}.db" if database_url.startswith("sqlite") else database_url
    database = Database.open(url, schema=NAME)
    yield Bench(database)
    await database.close()


async def test_what_operators_see_and_change(reach: Reach, gates: Bench) -> None:
    stub: Any = AiOrchestratorServiceStub(reach.channel)
    now = SystemClock().now()

    async def get(store: str = STORE) -> pb.Budget:
        budget: pb.Budget = (await stub.GetBudget(pb.GetBudgetRequest(store_id=store))).budget
        return budget

    before = await get()
    assert (before.day.limit_tokens, before.month.limit_tokens) == (2_000_000, 40_000_000)
    assert before.day.is_default
    assert (await get("")).day.limit_tokens == 100_000_000
    await gates.call(answered(900), now, store=STORE)
    await gates.ask(wish(store=STORE, at=now), now)

    request = pb.SetBudgetRequest(store_id=STORE, day_tokens=5000, idempotency_key="k")
    for _ in range(2):
        after = (await stub.SetBudget(request)).budget
    assert (after.day.limit_tokens, after.day.is_default) == (5000, False)
    assert (after.month.limit_tokens, after.month.is_default) == (40_000_000, True)
    assert (after.day.used_tokens, after.day.call_count, after.updated_by) == (900, 1, "local")
    assert after.day.held_tokens > 0
    assert after.day.end_time.seconds > now.timestamp()
    other = pb.SetBudgetRequest(store_id=STORE, day_tokens=1, idempotency_key="k")
    assert (await refused(stub.SetBudget(other)))[1].reason == "IDEMPOTENCY_KEY_REUSED"
    code, error = await refused(stub.SetBudget(pb.SetBudgetRequest(store_id=STORE, day_tokens=-1)))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "day_tokens")
    await stub.SetBudget(pb.SetBudgetRequest(store_id=STORE))
    assert (await get()).day.is_default

    # A breaker that opened, at both doors.
    await gates.call(ARREARS, now, store="s2")
    (one,) = (await stub.ListBreakers(pb.ListBreakersRequest(open_only=True))).breakers
    assert (one.service, one.key, one.state) == ("ai_orchestrator", "account", ops.BREAKER_STATE_OPEN)
    assert (one.reason, one.detail) == ("arrears", "Arrearage: in arrears")
    assert one.retry_time.seconds >= int(now.timestamp()) + 30
    assert list((await reach.ops.ListBreakers(ops.ListBreakersRequest())).breakers) == [one]
    checks = {check.name: check for check in (await reach.ops.Doctor(ops.DoctorRequest())).checks}
    assert checks["breaker:account"].status == ops.CHECK_STATUS_FAILED
    unknown = pb.ResetBreakerRequest(key="app:app3_clue")
    assert (await refused(stub.ResetBreaker(unknown)))[0] is grpc.StatusCode.NOT_FOUND
    reset = pb.ResetBreakerRequest(key="account", idempotency_key="r")
    for _ in range(2):
        after_reset = (await stub.ResetBreaker(reset)).breaker
        assert (after_reset.state, after_reset.reset_by) == (ops.BREAKER_STATE_CLOSED, "local")
    assert isinstance(await gates.call(ARREARS, now, store="s3"), Granted)
    again = (await stub.ResetBreaker(reset)).breaker
    assert again.state == ops.BREAKER_STATE_OPEN, "the same call a third time resets nothing anew"
    audit = await reach.ops.ListAuditLog(audit_pb2.ListAuditLogRequest())
    assert [entry.method for entry in audit.entries] == ["ResetBreaker", "SetBudget", "SetBudget"]

    limits = (await reach.ops.ListLimits(ops.ListLimitsRequest(key_prefix="ai:"))).limits
    assert {(line.key, line.max) for line in limits} == {
        ("ai:all", 600), (f"ai:store:{STORE}", 120), ("ai:store:s2", 120), ("ai:store:s3", 120),
        ("ai:all", 5_000_000), (f"ai:store:{STORE}", 1_000_000), ("ai:store:s2", 1_000_000),
        ("ai:store:s3", 1_000_000),
    }  # fmt: skip

    # The migration brought about what the tables say.
    async with gates.database.read() as conn:
        found = await conn.run_sync(
            lambda sync: {
                table.name: {one["name"] for one in inspect(sync).get_columns(table.name)} for table in TABLES
            }
        )
    assert found == {table.name: set(table.c.keys()) for table in TABLES}
