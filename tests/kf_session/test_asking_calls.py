"""The way to ai_orchestrator over a real channel, and one match of a whole service that is worded and judged by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc as wire
from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.errors.v1 import error_reason_pb2
from reach.kf_session.v1 import intent_pb2, push_pb2

from services.kf_session.ai_way import AiWay
from services.kf_session.domain.asking import Answer, Kind
from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import push, session
from shared.errors import Throttled, Unavailable
from shared.rpc.client import channel
from shared.rpc.fields import to_struct
from shared.rpc.status import to_status
from tests.e2e.harness import STORE, Sandbox, eventually
from tests.kf_session.shop import WM, Shop, shop

TEXT = "为您找到合适的人：周岚，做餐饮，匹配度100%。回复“查看1”了解详情，回复“退订”不再接收"
RESULTS = {
    Kind.SCORE.value: {"score": 0.9, "reason": "做餐饮"},
    Kind.TEXT.value: {"text": TEXT},
}
Says = Callable[[pb.RunAppRequest, Any], Any]


class Orchestrator(wire.AiOrchestratorServiceServicer):
    """Answers as it is told."""

    def __init__(self) -> None:
        self.says: Says = ended
        self.asked: list[pb.RunAppRequest] = []

    async def RunApp(self, request: pb.RunAppRequest, context: Any) -> pb.RunAppResponse:
        self.asked.append(request)
        said = self.says(request, context)
        return await said if asyncio.iscoroutine(said) else said


def run(status: int, *, over: bool = True, **step: Any) -> pb.RunAppResponse:
    """A run of one step."""
    made = pb.Run(steps=[pb.Step(status=status, **step)])
    if over:
        made.finish_time.GetCurrentTime()
    return pb.RunAppResponse(run=made)


def ended(request: pb.RunAppRequest, context: Any) -> pb.RunAppResponse:
    return run(pb.STEP_STATUS_COMPLETED, result=to_struct(RESULTS[request.app_type]))


@asynccontextmanager
async def serving(add: bool = True) -> AsyncIterator[tuple[Orchestrator, str]]:
    """An ai_orchestrator, or a server without one; where it is."""
    server, made = grpc.aio.server(), Orchestrator()
    if add:
        wire.add_AiOrchestratorServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield made, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _asked(place: str | None, deadline: float = 5.0) -> Answer:
    if place is None:
        return await AiWay(lambda: None).ask(Kind.SCORE, STORE, {"意图": "x"}, "k1", deadline)
    opened = channel(place)
    try:
        return await AiWay(lambda: opened).ask(Kind.SCORE, STORE, {"意图": "x"}, "k1", deadline)
    finally:
        await opened.close()


def _refuse(failure: Any) -> Says:
    async def say(request: pb.RunAppRequest, context: Any) -> Any:
        await context.abort_with_status(to_status(failure))

    return say


async def test_what_ai_orchestrator_says_over_a_channel_becomes_an_answer() -> None:
    async with serving() as (far, place):
        assert await _asked(place) == Answer(RESULTS[Kind.SCORE.value])
        (request,) = far.asked
        assert (request.app_type, request.store_id, request.idempotency_key) == (
            "kf_match_score",
            STORE,
            "k1",
        )
        assert request.given["意图"] == "x"

        for failure, answer in (
            (Unavailable("CIRCUIT_OPEN", "x"), Answer(reason="circuit_open")),
            (Throttled("RATE_LIMITED", "x"), Answer(reason="rate_limited")),
            (Throttled("BUDGET_EXCEEDED", "x"), Answer(reason="budget_exceeded")),
            (Unavailable("SHUTTING_DOWN", "x"), Answer(reason="shutting_down", again=True)),
        ):
            assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{failure.reason}")
            far.says = _refuse(failure)
            assert await _asked(place) == answer

        far.says = lambda request, context: run(pb.STEP_STATUS_FAILED, reason="wrong_schema")
        assert await _asked(place) == Answer(reason="wrong_schema")
        far.says = lambda request, context: run(pb.STEP_STATUS_RUNNING, over=False)
        assert await _asked(place) == Answer(reason="still_running", again=True)
        far.says = lambda request, context: asyncio.sleep(30)
        assert await _asked(place, 0.1) == Answer(reason="deadline_exceeded", again=True)
    assert await _asked(place, 0.3) == Answer(reason="dependency_down", again=True)
    async with serving(add=False) as (_, place):
        assert await _asked(place) == Answer(reason="not_configured")
    assert await _asked(None) == Answer(reason="not_configured")


@pytest.fixture
async def far() -> AsyncIterator[tuple[Orchestrator, str]]:
    async with serving() as made:
        yield made


async def begin_matching(kf: Shop) -> None:
    profile = intent_pb2.Profile(profile_id="p1", display_name="周岚", text="做餐饮")
    words = intent_pb2.KeywordCondition(keywords=["餐饮"], mode=intent_pb2.KEYWORD_MODE_ANY)
    spec = intent_pb2.IntentSpec(
        display_name="合伙人",
        external_userid=WM,
        conditions=[intent_pb2.Condition(keywords=words)],
        ai_score=True,
        ai_text=True,
    )
    await kf.stub.CreateIntent(intent_pb2.CreateIntentRequest(store_id=STORE, intent_id="i1", spec=spec))
    await kf.stub.UpsertProfile(intent_pb2.UpsertProfileRequest(store_id=STORE, profiles=[profile]))


async def accepted_push(kf: Shop) -> Any:
    async def look() -> Any:
        return next((row for row in await kf.rows(push) if row.status == "accepted"), None)

    return await eventually(look)


async def test_a_match_is_judged_and_worded_by_a_model_and_goes(
    world: Sandbox, tmp_path: Path, far: tuple[Orchestrator, str]
) -> None:
    orchestrator, place = far
    async with shop(world, tmp_path / "home", ai_orchestrator_target=place) as kf:
        await kf.writes()
        await kf.until(session, 1)
        await begin_matching(kf)
        sent = await accepted_push(kf)
        assert sent.content["text"]["content"] == TEXT
        assert [one["text"]["content"] for one in await kf.calls("send_msg")] == [TEXT]

        async def judged() -> Any:
            return next((row for row in await kf.rows(match) if row.ai_score is not None), None)

        one = await eventually(judged)
        assert (one.score, one.ai_score, one.ai_reason) == (1.0, 0.9, "做餐饮")
        found = await kf.stub.MatchIntent(
            intent_pb2.MatchIntentRequest(store_id=STORE, intent_id="i1", max_matches=1)
        )
        assert [(each.score, each.ai_score, each.ai_reason) for each in found.matches] == [
            (1.0, 0.9, "做餐饮")
        ]
        told = await kf.stub.Explain(push_pb2.ExplainRequest(push_id=sent.id))
        assert "使用AI撰写的文案" in [step.text_zh for step in told.steps]
        assert {request.app_type for request in orchestrator.asked} == {one.value for one in Kind}


async def test_without_an_ai_orchestrator_a_match_goes_with_the_templates_words(
    world: Sandbox, tmp_path: Path
) -> None:
    """This process serves none, and no other is configured."""
    async with shop(world, tmp_path / "home") as kf:
        await kf.writes()
        await kf.until(session, 1)
        await begin_matching(kf)
        sent = await accepted_push(kf)
        assert "周岚" in sent.content["text"]["content"]
        told = await kf.stub.Explain(push_pb2.ExplainRequest(push_id=sent.id))
        assert "使用模板文案，未采用AI文案：not_configured" in [step.text_zh for step in told.steps]
