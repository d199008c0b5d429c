"""The sandbox as the platform's own SDK sees it, where what the SDK does was observed against the documented wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dashscope
import httpx
import pydantic
import pytest
from dashscope.v2.errors import DashScopeError, RateLimitError

from tests.sandbox.ai import KEY
from tests.sandbox.conftest import Client

TEXT = "一二三四五六七八"


@pytest.fixture
async def sdk(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[dashscope.AsyncClient]:
    monkeypatch.setenv("DASHSCOPE_CONFIG", str(tmp_path / "none.toml"))
    await client.post("/sandbox/ai/apps", {"app_id": "app1", "replies": [TEXT]})
    async with dashscope.AsyncClient(api_key=KEY, base_url=f"{client.url}/api/v1", max_retries=0) as made:
        yield made


async def streamed(sdk: dashscope.AsyncClient, **how: Any) -> list[Any]:
    events = await sdk.apps.completions.create(app_id="app1", prompt="一", stream=True, **how)
    return [event async for event in events]


async def test_an_application_answers_whole_and_as_a_stream(sdk: dashscope.AsyncClient) -> None:
    whole = await sdk.apps.completions.create(app_id="app1", prompt="一")
    assert (whole.text, whole.finish_reason) == (TEXT, "stop")
    assert whole.usage.models[0].output_tokens == 8
    assert whole.usage.total_tokens == 0  # the trap: an application's tokens are the models'
    events = await streamed(sdk)
    assert (events[0].finish_reason, events[-1].finish_reason, events[-1].text) == ("null", "stop", TEXT)
    deltas = await streamed(sdk, incremental_output=True)
    assert "".join(event.text for event in deltas) == TEXT


async def test_a_workflows_stream_trips_the_sdk_as_the_platforms_does(sdk: dashscope.AsyncClient) -> None:
    with pytest.raises(pydantic.ValidationError, match="node_is_completed"):
        await streamed(sdk, parameters={"flow_stream_mode": "message_format"})


async def test_a_stream_that_is_refused_cut_or_stops_early_fails_as_observed(
    client: Client, sdk: dashscope.AsyncClient
) -> None:
    async def struck(**fault: Any) -> list[Any]:
        await client.delete("/sandbox/faults")
        await client.post("/sandbox/faults", {"path": "/api/v1/*", **fault})
        return await streamed(sdk)

    with pytest.raises(RateLimitError):
        await struck(errcode="Throttling")
    with pytest.raises(DashScopeError) as refused:
        await struck(errcode="BailianGateway.Workspace.NotAuthorised")
    assert (refused.value.code, refused.value.status_code) == ("BailianGateway.Workspace.NotAuthorised", 200)
    with pytest.raises(httpx.RemoteProtocolError):
        await struck(short=True)
    early = await struck(spoil="no_stop")
    assert [event.finish_reason for event in early] == ["null"] * 4
    assert (await client.get("/sandbox/ai/requests"))["count"] == 4


async def test_plain_models_answer_in_both_protocols(client: Client, sdk: dashscope.AsyncClient) -> None:
    native = await sdk.chat.completions.create(model="qwen-plus", messages="你好")
    assert native.choices[0].message.content
    openai_url = f"{client.url}/compatible-mode/v1"
    async with dashscope.AsyncClient(
        api_key=KEY, base_url=openai_url, protocol="openai", max_retries=0
    ) as other:
        answer = await other.chat.completions.create(model="qwen-plus", messages="你好")
    assert answer.choices[0].message.content == native.choices[0].message.content
    assert answer.usage.input_tokens == native.usage.input_tokens
