"""The way to ai_orchestrator over a real channel, and words of one campaign from the application itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc as wire
from reach.ai_orchestrator.v1 import copy_pb2 as pb
from reach.campaign.v1 import candidate_pb2

from services.ai_orchestrator.assembly import build as ai_orchestrator
from services.campaign.copy_way import CopyWay
from services.campaign.domain.candidates import Answer, Asked, Form, Written
from shared.errors import Conflict, Throttled, Unavailable
from shared.hosting.neighbours import ai_opener
from shared.rpc.client import channel
from shared.rpc.status import to_status
from tests.campaign.writing.room import room
from tests.campaign.writing.test_candidates import generates, over, use
from tests.e2e.harness import STORE, Sandbox

ASKED = Asked(Form.CARD, "新品", "老客", "亲切", ("返现",), 2, 80, ("不用表情",), "每天 10:00–18:00")


class Orchestrator(wire.AiOrchestratorServiceServicer):
    """Answers as it is told."""

    def __init__(self) -> None:
        self.says: Callable[[pb.GenerateCopyRequest, Any], Any]
        self.asked: list[pb.GenerateCopyRequest] = []

    async def GenerateCopy(self, request: pb.GenerateCopyRequest, context: Any) -> pb.GenerateCopyResponse:
        self.asked.append(request)
        said = self.says(request, context)
        return await said if asyncio.iscoroutine(said) else said


@asynccontextmanager
async def serving(add: bool = True) -> AsyncIterator[tuple[Orchestrator, str]]:
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
        return await CopyWay(lambda: None).write(STORE, ASKED, "k1", deadline)
    opened = channel(place)
    try:
        return await CopyWay(lambda: opened).write(STORE, ASKED, "k1", deadline)
    finally:
        await opened.close()


def _refuse(failure: Any) -> Any:
    async def say(request: pb.GenerateCopyRequest, context: Any) -> Any:
        await context.abort_with_status(to_status(failure))

    return say


async def test_what_ai_orchestrator_says_over_a_channel_becomes_an_answer() -> None:
    async with serving() as (far, place):
        far.says = lambda request, context: pb.GenerateCopyResponse(
            candidates=[pb.CopyCandidate(text="尝鲜", title="新品", angle="利益", tokens=5)],
            refused_candidates=[
                pb.RefusedCandidate(text="返现", title="返", banned_word="返现", tokens=3),
                pb.RefusedCandidate(text="太长" * 99, tokens=2),
            ],
            run_id="r1",
            app_version="v1",
            prompt_hash="h1",
            models=["qwen-plus"],
            total_tokens=10,
        )
        found = await _asked(place)
        assert found.candidates == (Written("尝鲜", "新品", "利益", 5), Written("返现", "返", "", 3))
        assert (found.run_id, found.models, found.total_tokens) == ("r1", ("qwen-plus",), 10)
        (request,) = far.asked
        assert (request.form, request.max_chars, list(request.banned_words)) == (
            pb.COPY_FORM_CARD,
            80,
            ["返现"],
        )
        assert (request.idempotency_key, request.send_window) == ("k1", "每天 10:00–18:00")

        for failure, answer in (
            (
                Throttled("RATE_LIMITED", "x", retry_after=timedelta(seconds=9)),
                Answer(reason="rate_limited", again=True, retry_after=timedelta(seconds=9)),
            ),
            (
                Unavailable("CIRCUIT_OPEN", "x", retry_after=timedelta(seconds=30)),
                Answer(reason="circuit_open", again=True, retry_after=timedelta(seconds=30)),
            ),
            (
                Conflict("COPY_REFUSED", "x", run_id="r2", cause="no_candidate"),
                Answer(reason="copy_refused:no_candidate", anew=True, run_id="r2"),
            ),
            (Conflict("IDEMPOTENCY_KEY_REUSED", "x"), Answer(reason="idempotency_key_reused")),
        ):
            far.says = _refuse(failure)
            assert await _asked(place) == answer
        far.says = lambda request, context: asyncio.sleep(30)
        late = await _asked(place, 0.1)
        assert (late.reason, late.again) == ("deadline_exceeded", True)
    gone = await _asked(place, 0.3)
    assert (gone.reason, gone.again) == ("dependency_down", True)
    async with serving(add=False) as (_, place):
        assert await _asked(place) == Answer(reason="not_configured")
    assert await _asked(None) == Answer(reason="not_configured")


async def test_the_application_itself_writes_for_a_campaign(
    world: Sandbox, tmp_path: Path, postgres: str | None
) -> None:
    """ai_orchestrator is served by the same process, and asks the sandbox's DashScope."""
    settings = {
        "dashscope_base_url": f"{world.url}/api/v1",
        "DASHSCOPE_API_KEY": "sk-test-0123456789",
        "DASHSCOPE_APP_ID_CUSTOMER_CAMPAIGN": "customer_campaign",
    }
    async with room(
        world,
        tmp_path / "home",
        postgres,
        lambda resources: CopyWay(ai_opener(resources)),
        builds=[ai_orchestrator],
        **settings,
    ) as desk:
        made = await desk.creates(theme="周末双人套餐")
        found = await over(desk.stub, (await generates(desk.stub, made.id)).id)
        assert found.status == candidate_pb2.CANDIDATE_SET_STATUS_READY, found
        assert found.candidates
        assert found.run_id
        assert found.app_version
        assert len(found.prompt_hash) == 64
        assert found.total_tokens > 0
        used = (await desk.stub.UseCandidate(use(found.id, 1))).campaign
        assert used.spec.content.text == found.candidates[0].text
