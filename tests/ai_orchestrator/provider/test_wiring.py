"""The provider as a process wires it, and as `reach up` sets it up with its own sandbox."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cli.demo_credentials import with_sandbox
from services.ai_orchestrator.domain.call import Call, CallProblem, Completion
from services.ai_orchestrator.provider_side import provider_side
from shared.clock import ManualClock
from shared.hosting.resources import Resources
from shared.settings import Settings, load
from shared.telemetry.metrics import Metrics
from tests.e2e.harness import sandbox

CALL = Call("app3_clue", "app3", "一", timedelta(seconds=5))


def chosen(tmp_path: Path, **environ: str) -> Settings:
    return load({"REACH_HOME": str(tmp_path), **environ})


def resources(settings: Settings, clock: ManualClock, stack: AsyncExitStack) -> Resources:
    unused = cast(Any, None)
    return Resources(settings, clock, Metrics(), unused, "me", stack, unused)


async def test_a_process_calls_what_its_settings_name_until_it_stops(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    async with sandbox() as world:
        settings = chosen(
            tmp_path, REACH_DASHSCOPE_BASE_URL=f"{world.url}/api/v1", DASHSCOPE_API_KEY="sk-of-the-settings"
        )
        async with AsyncExitStack() as stack:
            made = await provider_side(resources(settings, manual_clock, stack))
            assert isinstance(await made.complete(CALL), Completion)
        closed = await made.complete(CALL)
        assert isinstance(closed, CallProblem)
        assert (closed.reason, closed.sent) == ("shutting_down", False)
        (call,) = (await world.get("/sandbox/ai/requests"))["requests"]
        assert call["key"].startswith("sk-***")


async def test_a_process_with_its_own_sandbox_needs_no_key(tmp_path: Path, manual_clock: ManualClock) -> None:
    async with sandbox() as world, AsyncExitStack() as stack:
        settings = with_sandbox(chosen(tmp_path), world.url)
        made = await provider_side(resources(settings, manual_clock, stack))
        assert isinstance(await made.complete(CALL), Completion)


def test_what_is_configured_stays_beside_the_sandbox(tmp_path: Path) -> None:
    settings = with_sandbox(
        chosen(tmp_path, DASHSCOPE_API_KEY="sk-own-key-1", DASHSCOPE_APP_ID_APP3_CLUE="own"),
        "http://127.0.0.1:1",
    )
    assert settings.dashscope.api_key is not None
    assert settings.dashscope.api_key.get_secret_value() == "sk-own-key-1"
    assert settings.dashscope.app_ids["app3_clue"] == "own"
    elsewhere = with_sandbox(
        chosen(tmp_path, REACH_DASHSCOPE_BASE_URL="http://127.0.0.1:2/api/v1"), "http://127.0.0.1:1"
    )
    assert elsewhere.dashscope_url == "http://127.0.0.1:2/api/v1"
    assert elsewhere.dashscope.api_key is None
