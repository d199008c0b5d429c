"""A keyed call repeated is the same call; the key with another request is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2 as service
from reach.ai_orchestrator.v1 import clue_pb2, copy_pb2, fact_pb2, gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb

from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import VISIT, Club, opened
from tests.e2e.harness import STORE, refused

MISSING = {"DASHSCOPE_APP_ID_APP4_ANALYSIS": "nobody-1", "DASHSCOPE_APP_ID_APP5_TACTICS": "nobody-2"}
"""Applications that the sandbox says are not there: their breakers open at once."""

Case = tuple[Message, Mapping[str, Any]]
"""A request, and what another one says instead."""


def _visit(member: str, **more: Any) -> pb.HandleTriggerRequest:
    data = to_struct({**VISIT, "member_id": member, "has_assistant": False, "assistant_id": "", **more})
    return pb.HandleTriggerRequest(store_id=STORE, event_type="consumption.settled", payload=data)


async def _waiting(club: Club, member: str) -> str:
    """A run that waits for the end of a quiet period."""
    await club.stub.HandleTrigger(_visit(member))
    again = await club.stub.HandleTrigger(_visit(member, amount="99.00"))
    return str(again.follow_up_run_id)


async def _cases(club: Club) -> dict[str, Case]:
    """Every method with a request that is new, and the part of it that another one has otherwise."""
    served = _visit("m1", has_assistant=True, assistant_id="a1")
    ended = (await club.stub.HandleTrigger(served)).run_id
    await club.ended(ended)
    breakers = (await club.stub.ListBreakers(gate_pb2.ListBreakersRequest(open_only=True))).breakers
    one, two = (breaker.key for breaker in breakers)
    clues = [
        (await club.stub.AddClue(clue_pb2.AddClueRequest(member_id="m1", summary=text))).clue.clue_id
        for text in ("爱喝茶", "左撇子")
    ]
    row = {"visit_id": "v1", "member_id": "m1", "amount": "10", "settled_time": VISIT["settled_time"]}
    return {
        "HandleTrigger": (
            _visit("m2"),
            {"payload": to_struct({**VISIT, "member_id": "m3"})},
        ),
        "CancelRun": (pb.CancelRunRequest(run_id=await _waiting(club, "m4")), {"run_id": ended}),
        "RerunRun": (
            pb.RerunRunRequest(run_id=ended, from_step="app7_customer"),
            {"from_step": "app8_consolidation"},
        ),
        "RunApp": (
            pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=pb.Subject(member_id="m1")),
            {"refresh": True},
        ),
        "SetBudget": (gate_pb2.SetBudgetRequest(store_id=STORE, day_tokens=10**6), {"day_tokens": 2}),
        "ResetBreaker": (gate_pb2.ResetBreakerRequest(key=one), {"key": two}),
        "LoadFacts": (
            fact_pb2.LoadFactsRequest(kind=fact_pb2.FACT_KIND_VISIT, rows=[to_struct(row)]),
            {"rows": [to_struct({**row, "amount": "11"})]},
        ),
        "AddClue": (clue_pb2.AddClueRequest(member_id="m1", summary="常约周五"), {"summary": "常约周六"}),
        "DeleteClue": (clue_pb2.DeleteClueRequest(clue_id=clues[0]), {"clue_id": clues[1]}),
        "GenerateCopy": (
            copy_pb2.GenerateCopyRequest(
                scenario=copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN, theme="周末双人套餐"
            ),
            {"theme": "生日月"},
        ),
    }


def _changed(request: Message, changes: Mapping[str, Any]) -> Message:
    other = type(request)()
    other.CopyFrom(request)
    for name in changes:
        other.ClearField(name)
    other.MergeFrom(type(request)(**changes))
    return other


def _said(answer: Any) -> Any:
    """The part of an answer that may not differ: a run goes on meanwhile, and keeps its id."""
    names = answer.DESCRIPTOR.fields_by_name
    if "run" in names:
        return answer.run.run_id
    return answer.run_id if "run_id" in names else answer


async def test_the_same_is_done_once_and_another_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", **MISSING) as club:
        cases = await _cases(club)
        methods = service.DESCRIPTOR.services_by_name["AiOrchestratorService"].methods
        keyed = {one.name for one in methods if "idempotency_key" in one.input_type.fields_by_name}
        assert keyed == set(cases)
        for name, (request, changes) in cases.items():
            call = getattr(club.stub, name)
            request.idempotency_key = f"key-{name}"  # type: ignore[attr-defined]
            first = await call(request)
            if name == "RunApp":
                await club.ended(first.run.run_id)
            assert _said(await call(request)) == _said(first), name
            code, error = await refused(call(_changed(request, changes)))
            assert (code, error.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "IDEMPOTENCY_KEY_REUSED",
            ), name
            assert _said(await call(request)) == _said(first), name
        budget = (await club.stub.GetBudget(gate_pb2.GetBudgetRequest(store_id=STORE))).budget
        assert budget.day.limit_tokens == 10**6
        clues = (await club.stub.ListClues(clue_pb2.ListCluesRequest(member_id="m1", source="manual"))).clues
        assert sorted(one.summary for one in clues) == sorted(["左撇子", "常约周五"])
        asked = [one for one in await club.requests() if one["app_id"] == "customer_campaign"]
        assert len(asked) == 1
        rerun = (await club.stub.ListRuns(pb.ListRunsRequest(store_id=STORE, page_size=200))).runs
        assert [one.trigger for one in rerun].count("rerun") == 1
