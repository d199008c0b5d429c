"""What a token may do: its scopes, and its stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2 as service
from reach.ai_orchestrator.v1 import alert_pb2, clue_pb2, copy_pb2, fact_pb2, gate_pb2, insight_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub

from services.ai_orchestrator.service import SCOPES as NEEDED
from shared.rpc.fields import to_struct
from shared.rpc.principal import SCOPES
from tests.ai_orchestrator.club import VISIT, Club, opened
from tests.e2e.harness import create_tokens, refused

METHODS = service.DESCRIPTOR.services_by_name["AiOrchestratorService"].methods
MISSING = {"DASHSCOPE_APP_ID_APP6_NOTE": "nobody"}
"""An application that is not there: it leaves an alert."""


class Tenants:
    """One process, seen by the bearers of its tokens."""

    def __init__(self, club: Club, tokens: dict[str, str]) -> None:
        self.club, self._tokens = club, tokens

    def __getitem__(self, subject: str) -> Any:
        return AiOrchestratorServiceStub(self.club.reach.bearing(self._tokens[subject]).channel)


@pytest.fixture
async def tenants(tmp_path: Path) -> AsyncIterator[Tenants]:
    grants = {
        "root": (SCOPES, ["*"]),
        "a": (SCOPES, ["A"]),
        "b": (SCOPES, ["B"]),
        **{f"only {scope}": ([scope], ["*"]) for scope in set(NEEDED.values())},
        **{f"without {scope}": (SCOPES - {scope}, ["*"]) for scope in set(NEEDED.values())},
    }
    tokens = await create_tokens(tmp_path / "home", grants)
    async with opened(tmp_path / "home", **MISSING) as club:
        made = Tenants(club, tokens)
        club.stub = made["a"]
        yield made
        await club.reach.close()


async def _read(stream: Any, most: int = 10) -> list[Any]:
    """What a stream has to say within a moment."""
    found: list[Any] = []
    try:
        while len(found) < most:
            answer = await stream.read()
            assert answer is not grpc.aio.EOF
            found.append(answer)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return found


async def test_every_method_needs_exactly_its_scope(tenants: Tenants) -> None:
    assert {
        f"{service.DESCRIPTOR.services_by_name['AiOrchestratorService'].full_name}/{one.name}"
        for one in METHODS
    } == set(NEEDED)
    seen = {scope: (tenants[f"without {scope}"], tenants[f"only {scope}"]) for scope in set(NEEDED.values())}
    for method in METHODS:
        scope = NEEDED[f"{method.containing_service.full_name}/{method.name}"]
        request = GetMessageClass(method.input_type)()
        without, only = (getattr(stub, method.name)(request, timeout=2) for stub in seen[scope])
        code, error = await refused(without.read() if method.server_streaming else without)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"), method.name
        assert error.facts["scope"] == scope, method.name
        with suppress(grpc.RpcError):
            await (only.read() if method.server_streaming else only)
        only.cancel()
        assert await only.code() is not grpc.StatusCode.PERMISSION_DENIED, method.name


async def test_naming_another_store_is_refused_by_every_method(tenants: Tenants) -> None:
    b, member = tenants["b"], pb.Subject(member_id="m1")
    trigger = {"event_type": "consumption.settled", "member_id": "m1"}
    copy = copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN
    calls = {
        "HandleTrigger": pb.HandleTriggerRequest(store_id="A", **trigger),
        "PlanTrigger": pb.PlanTriggerRequest(store_id="A", **trigger),
        "ListRuns": pb.ListRunsRequest(store_id="A"),
        "ListAttempts": pb.ListAttemptsRequest(store_id="A"),
        "RunApp": pb.RunAppRequest(store_id="A", app_type="app3_clue", subject=member, dry_run=True),
        "Explain": pb.ExplainRequest(member=pb.ExplainMember(store_id="A", member_id="m1")),
        "GetBudget": gate_pb2.GetBudgetRequest(store_id="A"),
        "SetBudget": gate_pb2.SetBudgetRequest(store_id="A", day_tokens=0),
        # What is open concerns every store.
        "ListBreakers": gate_pb2.ListBreakersRequest(),
        "ResetBreaker": gate_pb2.ResetBreakerRequest(key="app:app3_clue"),
        "LoadFacts": fact_pb2.LoadFactsRequest(
            store_id="A", kind=fact_pb2.FACT_KIND_MEMBER, rows=[to_struct({"member_id": "m1"})]
        ),
        "GetInsight": insight_pb2.GetInsightRequest(store_id="A", cache_type="clue", target="m1"),
        "ListInsights": insight_pb2.ListInsightsRequest(store_id="A"),
        "ListClues": clue_pb2.ListCluesRequest(store_id="A", member_id="m1"),
        "AddClue": clue_pb2.AddClueRequest(store_id="A", member_id="m1", summary="x"),
        "DeleteClue": clue_pb2.DeleteClueRequest(store_id="A", clue_id="c1"),
        "GenerateCopy": copy_pb2.GenerateCopyRequest(store_id="A", scenario=copy, theme="x"),
        "WatchAlerts": alert_pb2.WatchAlertsRequest(store_id="A"),
    }
    by_id = {"GetRun", "CancelRun", "RerunRun"}  # the next test's
    assert {one.name for one in METHODS} == calls.keys() | by_id
    for name, request in calls.items():
        call = getattr(b, name)(request)
        code, error = await refused(call.read() if name == "WatchAlerts" else call)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN"), name
    code, error = await refused(b.SetBudget(gate_pb2.SetBudgetRequest(day_tokens=0)))  # that of all stores
    assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")
    assert await tenants.club.requests() == []


async def test_what_another_store_has_is_not_there(tenants: Tenants) -> None:
    a, b = tenants["a"], tenants["b"]
    note = {
        "member_id": "m1",
        "note_content": "爱喝茶",
        "noted_by_name": "孙悦",
        "noted_by_created_at": VISIT["settled_time"],
    }
    for event_type, data in (("consumption.settled", VISIT), ("note.created", note)):
        request = pb.HandleTriggerRequest(
            store_id="A", event_type=event_type, payload=to_struct(data), event_id=event_type
        )
        run_id = (await a.HandleTrigger(request)).run_id
        await tenants.club.ended(run_id)
    clue = (await a.AddClue(clue_pb2.AddClueRequest(store_id="A", member_id="m1", summary="左撇子"))).clue
    hidden = [
        b.GetRun(pb.GetRunRequest(run_id=run_id)),
        b.CancelRun(pb.CancelRunRequest(run_id=run_id)),
        b.RerunRun(pb.RerunRunRequest(run_id=run_id)),
        b.Explain(pb.ExplainRequest(run_id=run_id)),
        b.Explain(pb.ExplainRequest(event_id="note.created")),
        b.GetInsight(
            insight_pb2.GetInsightRequest(store_id="B", cache_type="customer_analysis", target="m1")
        ),
        b.DeleteClue(clue_pb2.DeleteClueRequest(store_id="B", clue_id=clue.clue_id)),
    ]
    for call in hidden:
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"), call
    for stub, there in ((a, True), (b, False)):
        assert bool((await stub.ListRuns(pb.ListRunsRequest())).runs) == there
        assert bool((await stub.ListAttempts(pb.ListAttemptsRequest(run_id=run_id))).attempts) == there
        assert bool((await stub.ListInsights(insight_pb2.ListInsightsRequest())).insights) == there
        alerts = await _read(stub.WatchAlerts(alert_pb2.WatchAlertsRequest(after_cursor=0), timeout=2), 2)
        assert {one.alert.store_id for one in alerts if one.HasField("alert")} == ({"A"} if there else set())
    own = clue_pb2.ListCluesRequest(store_id="B", member_id="m1")
    assert not (await b.ListClues(own)).clues
    dry = pb.RunAppRequest(
        store_id="B", app_type="app3_clue", subject=pb.Subject(member_id="m1"), dry_run=True
    )
    assert "280" not in (await b.RunApp(dry)).prompt
    assert (await b.GetBudget(gate_pb2.GetBudgetRequest(store_id="B"))).budget.day.used_tokens == 0
    assert (await a.GetBudget(gate_pb2.GetBudgetRequest(store_id="A"))).budget.day.used_tokens > 0
