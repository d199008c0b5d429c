"""A match judged and worded by ai_orchestrator itself, which asks the sandbox's DashScope: the two services by gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reach.ai_orchestrator.v1 import gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub
from reach.kf_session.v1 import push_pb2

from services.ai_orchestrator.assembly import build
from services.kf_session.domain.asking import Kind
from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import session
from tests.e2e.harness import STORE, Sandbox, embedded, eventually
from tests.kf_session.shop import shop
from tests.kf_session.test_asking_calls import RESULTS, TEXT, accepted_push, begin_matching


@asynccontextmanager
async def orchestrating(world: Sandbox, home: Path) -> AsyncIterator[tuple[Any, str]]:
    """A whole ai_orchestrator beside the sandbox, which answers its two questions; a stub, and where it is."""
    apps = [{"app_id": kind, "replies": [result]} for kind, result in RESULTS.items()]
    await world.post("/sandbox/ai/apps", apps=apps)
    given = {"dashscope_base_url": f"{world.url}/api/v1", "DASHSCOPE_API_KEY": "sk-test"}
    ids = {f"DASHSCOPE_APP_ID_{kind.value.upper()}": kind.value for kind in Kind}
    async with embedded(world.url, home, builds=[build], default_store=STORE, **given, **ids) as reach:
        yield AiOrchestratorServiceStub(reach.channel), reach.grpc


async def _questions(world: Sandbox) -> dict[str, list[str]]:
    """What DashScope was asked, by application."""
    found: dict[str, list[str]] = {kind.value: [] for kind in Kind}
    for one in (await world.get("/sandbox/ai/requests"))["requests"]:
        found[one["app_id"]].append(one["prompt"])
    return found


async def test_a_match_is_judged_and_worded_through_ai_orchestrator_and_each_question_is_paid_once(
    world: Sandbox, tmp_path: Path
) -> None:
    async with (
        orchestrating(world, tmp_path / "ai") as (ai, place),
        shop(world, tmp_path / "kf", ai_orchestrator_target=place) as kf,
    ):
        await kf.writes()
        await kf.until(session, 1)
        await begin_matching(kf)
        sent = await accepted_push(kf)
        assert sent.content["text"]["content"] == TEXT

        async def judged() -> Any:
            return next((row for row in await kf.rows(match) if row.ai_score is not None), None)

        one = await eventually(judged)
        assert (one.ai_score, one.ai_reason) == (0.9, "做餐饮")
        told = await kf.stub.Explain(push_pb2.ExplainRequest(push_id=sent.id))
        assert "使用AI撰写的文案" in [step.text_zh for step in told.steps]

        asked = await _questions(world)
        assert {kind: len(prompts) for kind, prompts in asked.items()} == dict.fromkeys(asked, 1)
        assert "做餐饮" in asked[Kind.SCORE.value][0]
        assert "周岚" in asked[Kind.TEXT.value][0]
        runs = (await ai.ListRuns(pb.ListRunsRequest(store_id=STORE))).runs
        assert sorted(run.chain for run in runs) == sorted(f"app:{kind.value}" for kind in Kind)
        assert {run.status for run in runs} == {pb.RUN_STATUS_COMPLETED}
        day = (await ai.GetBudget(gate_pb2.GetBudgetRequest(store_id=STORE))).budget.day
        billed = (await world.get("/sandbox/ai/ledger"))["total"]["total_tokens"]
        assert (day.used_tokens, day.held_tokens, day.call_count) == (billed, 0, 2)


async def test_a_gate_that_is_shut_at_ai_orchestrator_leaves_the_match_its_template_and_asks_nobody(
    world: Sandbox, tmp_path: Path
) -> None:
    async with (
        orchestrating(world, tmp_path / "ai") as (ai, place),
        shop(world, tmp_path / "kf", ai_orchestrator_target=place) as kf,
    ):
        await ai.SetBudget(gate_pb2.SetBudgetRequest(store_id=STORE, day_tokens=0))
        await kf.writes()
        await kf.until(session, 1)
        await begin_matching(kf)
        sent = await accepted_push(kf)
        assert "周岚" in sent.content["text"]["content"]
        assert sent.content["text"]["content"] != TEXT
        told = await kf.stub.Explain(push_pb2.ExplainRequest(push_id=sent.id))
        assert "使用模板文案，未采用AI文案：budget_exceeded" in [step.text_zh for step in told.steps]
        assert not any((await _questions(world)).values())
