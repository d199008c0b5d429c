"""100,000 rows of the past in every table: today's chains and today's questions read no more than is today's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from reach.ai_orchestrator.v1 import alert_pb2, clue_pb2, copy_pb2, gate_pb2, insight_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from sqlalchemy import event
from sqlalchemy.engine import Engine

from services.ai_orchestrator.assembly import LOCATIONS, NAME
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.rpc.fields import to_struct
from tests.ai_orchestrator import past
from tests.ai_orchestrator.club import VISIT, Club, opened
from tests.e2e.harness import STORE

ROWS = 100_000
NOW = datetime(2026, 3, 3, 1, tzinfo=UTC)
SMALL = {
    "budget",
    "budget_limit",
    "app_cost",
    "breaker",
    "rate_window",
    "alert_head",
    "definition",
    "store_profile",
}
"""Tables that grow with clubs or days, not with what happens."""

pytestmark = pytest.mark.timeout(180)

Said = dict[str, Any]
"""Statements as the driver got them, with the parameters of the first time."""


@contextmanager
def listening() -> Iterator[Said]:
    """What is said to any database of this process meanwhile."""
    said: Said = {}

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        said.setdefault(statement, parameters[0] if many else parameters)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def plans(database: Database, said: Said) -> dict[str, str]:
    """How the database does what was said about tables that grow, by statement."""
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    found = {}
    async with database.read() as conn:
        for statement, parameters in said.items():
            verb = re.match(r"\s*(WITH|SELECT|UPDATE|INSERT|DELETE)", statement)
            if verb and any(re.search(rf"\b{table}\b", statement) for table in past.TABLES):
                steps = await conn.exec_driver_sql(explain + statement, parameters)
                found[statement] = "\n".join(str(step[-1]) for step in steps)
    return found


def whole_tables(plan: str) -> list[str]:
    """Steps that read a table from its beginning to its end."""
    names = "|".join(past.TABLES)
    scans = rf"Seq Scan on ({names})\b.*|^SCAN ({names})\b(?! USING (COVERING )?INDEX).*"
    return [found[0] for found in re.finditer(scans, plan, re.MULTILINE)]


@asynccontextmanager
async def grown(url: str, home: Path) -> AsyncIterator[Database]:
    """The service's own database with its past, before the service is there."""
    place = url if url.startswith("postgresql") else f"sqlite:///{home}/{NAME}.db"
    await asyncio.to_thread(home.mkdir)
    await asyncio.to_thread(migrate, place, NAME, LOCATIONS)
    database = Database.open(place, schema=NAME)
    try:
        await past.fill(database, NOW, ROWS)
        yield database
    finally:
        await database.close()


async def _a_day(club: Club) -> None:
    """A visit with all that follows, a note, questions of every kind, and what the loops do meanwhile."""
    stub = club.stub
    visit = pb.HandleTriggerRequest(
        store_id=STORE, event_type="consumption.settled", payload=to_struct(VISIT), idempotency_key="v"
    )
    run = await club.ended((await stub.HandleTrigger(visit)).run_id)
    assert run.status == pb.RUN_STATUS_COMPLETED, run
    said = {"noted_by_name": "小林", "noted_by_created_at": "2026-03-03T08:50:00+08:00"}
    note = {"member_id": "m1", "note_content": "喜欢靠窗", **said}
    trigger = pb.HandleTriggerRequest(store_id=STORE, event_type="note.created", payload=to_struct(note))
    await club.ended((await stub.HandleTrigger(trigger)).run_id)
    more = to_struct(VISIT | {"amount": "90.00"})
    later = pb.HandleTriggerRequest(store_id=STORE, event_type="consumption.settled", payload=more)
    waiting = (await stub.HandleTrigger(later)).follow_up_run_id
    await stub.CancelRun(pb.CancelRunRequest(run_id=waiting))
    again = pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=pb.Subject(member_id="m1"))
    for _ in range(2):
        await stub.RunApp(again)
    scenario = copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN
    await stub.GenerateCopy(copy_pb2.GenerateCopyRequest(store_id=STORE, scenario=scenario, theme="周末"))
    await stub.PlanTrigger(pb.PlanTriggerRequest(store_id=STORE, event_type="dws.completed"))
    figures = pb.HandleTriggerRequest(store_id=STORE, event_type="dws.completed")
    await club.ended((await stub.HandleTrigger(figures)).run_id)
    for wanted in ({}, {"store_id": STORE}, {"store_id": STORE, "member_id": "m1"}):
        await stub.ListRuns(pb.ListRunsRequest(**wanted, page_size=20))
        await stub.ListAttempts(pb.ListAttemptsRequest(**wanted, page_size=20))
        await stub.ListInsights(insight_pb2.ListInsightsRequest(**wanted, page_size=20))
    await stub.ListAttempts(pb.ListAttemptsRequest(run_id=run.run_id))
    await stub.GetInsight(insight_pb2.GetInsightRequest(store_id=STORE, cache_type="clue", target="m1"))
    clue = clue_pb2.AddClueRequest(store_id=STORE, member_id="m1", summary="左撇子")
    kept = (await stub.AddClue(clue)).clue
    await stub.ListClues(clue_pb2.ListCluesRequest(store_id=STORE, member_id="m1"))
    await stub.DeleteClue(clue_pb2.DeleteClueRequest(clue_id=kept.clue_id))
    await stub.GetBudget(gate_pb2.GetBudgetRequest(store_id=STORE))
    await stub.ListBreakers(gate_pb2.ListBreakersRequest())
    for subject in (
        {"run_id": run.run_id},
        {"event_id": run.event_id},
        {"member": pb.ExplainMember(store_id=STORE, member_id="m1")},
    ):
        await stub.Explain(pb.ExplainRequest(**subject))


async def _a_watcher(club: Club, after: int) -> None:
    """Somebody who goes on from near the end, and is told an alert that was made today."""
    await club.world.fault(path="/api/v1/apps/*", errcode="InvalidParameter", count=1)
    broken = pb.RunAppRequest(
        store_id=STORE, app_type="app6_note", subject=pb.Subject(member_id="m1"), refresh=True
    )
    assert (await club.stub.RunApp(broken)).run.status == pb.RUN_STATUS_FAILED
    stream = club.stub.WatchAlerts(
        alert_pb2.WatchAlertsRequest(store_id=STORE, after_cursor=after), timeout=20
    )
    async for one in stream:
        if one.alert.store_id == STORE:
            break
    stream.cancel()


async def test_nothing_that_is_said_in_a_day_reads_a_table_from_end_to_end(
    database_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    more = {"database_url": database_url} if database_url.startswith("postgresql") else {}
    async with grown(database_url, home) as database:
        with listening() as said:
            async with opened(home, at="2026-03-03T01:00:00Z", clock="sandbox", **more) as club:
                await _a_day(club)
                await _a_watcher(club, ROWS - 10)
        found = await plans(database, said)
        assert len(found) > 60
        told = "\n".join(found)
        for table in past.TABLES:
            assert re.search(rf"\b{table}\b", told), table
        scans = {statement: whole for statement, plan in found.items() if (whole := whole_tables(plan))}
        assert scans == {}
        if database.dialect == "postgresql":
            for what, (part, index) in HOT.items():
                asked = [plan for statement, plan in found.items() if re.search(part, statement)]
                assert asked, what
                assert all(re.search(index, plan) for plan in asked), f"{what}: {asked}"


HOT = {
    "claim": (r"lane IS NULL[\s\S]*SKIP LOCKED", "ix_step_run_ready"),
    "what is kept of these facts": (
        r"FROM insight [\s\S]*insight\.cache_type = .*insight\.target = ",
        "insight_pkey",
    ),
    "alerts behind a cursor": (r"FROM alert\s[\s\S]*alert\.seq > ", "alert_seq_key"),
    "a run's lock": (r"FROM chain_run\s[\s\S]*chain_run\.id = [\s\S]*FOR UPDATE", "chain_run_pkey"),
    "a call's hold": (r"FROM hold\s[\s\S]*attempt_id = [\s\S]*FOR UPDATE", "hold_pkey"),
}
"""By what is asked most: how its statement is known, and the index that PostgreSQL has to use for it."""
