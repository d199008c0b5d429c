"""A provider in front of a sandbox, and what the sandbox saw of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.ai_orchestrator.dashscope import DashScope
from services.ai_orchestrator.domain.call import Call, CallProblem, Completion
from shared.clock import Clock
from shared.telemetry.metrics import Metrics
from tests.e2e.harness import Sandbox

KEY = "sk-0123456789abcdef"


@asynccontextmanager
async def provider(
    url: str, clock: Clock, numbers: Metrics | None = None, key: str = KEY, *, content: bool = False
) -> AsyncIterator[DashScope]:
    """Calls what serves at *url*."""
    made = await DashScope.open(
        f"{url}/api/v1", key, clock, numbers or Metrics(), allowed_hosts=["127.0.0.1"], content=content
    )
    try:
        yield made
    finally:
        await made.close()


@dataclass
class Door:
    """Calls one sandbox, and counts."""

    provider: DashScope
    sandbox: Sandbox

    async def ask(
        self,
        prompt: str = "你好",
        *,
        app_id: str = "app3",
        timeout: float = 5,
        session_id: str = "",
        traceparent: str = "",
    ) -> Completion | CallProblem:
        """One call of App3."""
        limit = timedelta(seconds=timeout)
        return await self.provider.complete(
            Call("app3_clue", app_id, prompt, limit, session_id=session_id, traceparent=traceparent)
        )

    async def completed(self, prompt: str = "你好", **how: Any) -> Completion:
        """A call that must succeed."""
        outcome = await self.ask(prompt, **how)
        assert isinstance(outcome, Completion), outcome
        return outcome

    async def failed(self, prompt: str = "你好", **how: Any) -> CallProblem:
        """A call that must fail."""
        outcome = await self.ask(prompt, **how)
        assert isinstance(outcome, CallProblem), outcome
        return outcome

    async def struck(self, timeout: float = 5, **fault: Any) -> tuple[Completion | CallProblem, int]:
        """The outcome of a call that a fault strikes, and how many requests the sandbox saw of it."""
        before = await self.seen()
        await self.sandbox.fault(path="/api/v1/*", **fault)
        outcome = await self.ask(timeout=timeout)
        await self.sandbox.clear_faults()
        return outcome, await self.seen() - before

    async def seen(self) -> int:
        """How many requests of ours arrived, answered or not."""
        return len(await self.calls())

    async def calls(self) -> list[Any]:
        """What arrived, oldest first."""
        return list((await self.sandbox.get("/sandbox/ai/requests"))["requests"])

    async def ledger(self) -> Any:
        """What the platform billed in all."""
        return (await self.sandbox.get("/sandbox/ai/ledger"))["total"]
