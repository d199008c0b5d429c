"""An ai_orchestrator as its callers meet it, beside a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub

from services.ai_orchestrator.assembly import build
from tests.e2e.harness import STORE, Sandbox, embedded, eventually, sandbox

APPS = (
    "app2_finance", "app2a_finance_area", "app3_clue", "app4_analysis", "app5_tactics", "app6_note", "app7_customer",
    "app8_consolidation", "customer_campaign", "chat",
)  # fmt: skip
IDS = {f"DASHSCOPE_APP_ID_{name.upper()}": name for name in APPS}
"""The sandbox has whichever is asked for."""
VISIT = {
    "member_id": "m1",
    "has_assistant": True,
    "assistant_id": "a1",
    "amount": "280.00",
    "area": "hallA",
    "settled_time": "2026-03-02T12:00:00+08:00",
}


class Club:
    """The service and its sandbox."""

    def __init__(self, reach: Any, world: Sandbox) -> None:
        self.reach, self.world = reach, world
        self.stub: Any = AiOrchestratorServiceStub(reach.channel)

    async def requests(self) -> list[Any]:
        """What the sandbox's DashScope saw."""
        found: list[Any] = (await self.world.get("/sandbox/ai/requests"))["requests"]
        return found

    async def ended(self, run_id: str) -> pb.Run:
        """A run, once it has ended."""

        async def look() -> pb.Run | None:
            run: pb.Run = (await self.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
            return run if run.HasField("finish_time") else None

        found = await eventually(look, timeout=30)
        assert found is not None
        return found


@asynccontextmanager
async def opened(home: Path, *, at: str = "", **more: str) -> AsyncIterator[Club]:
    """One of its own; *at* is what the sandbox's clock is set to, *more* are settings."""
    async with sandbox() as world:
        if at:
            await world.post("/sandbox/clock", set=at)
        given = {"dashscope_base_url": f"{world.url}/api/v1", "DASHSCOPE_API_KEY": "sk-test", **IDS, **more}
        async with embedded(world.url, home, builds=[build], default_store=STORE, **given) as reach:
            yield Club(reach, world)
