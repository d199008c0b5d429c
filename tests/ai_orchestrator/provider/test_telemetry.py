"""Spans and figures of calls, by OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.clock import ManualClock
from shared.telemetry import traces
from shared.telemetry.metrics import Metrics
from tests.ai_orchestrator.provider.door import Door, provider
from tests.e2e.harness import eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """Everything exported so far."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        self._stop = traces.start("ai_orchestrator", {}, exporter=self._memory)

    def close(self) -> tuple[ReadableSpan, ...]:
        self._stop()
        return self._memory.get_finished_spans()


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.close()


async def test_a_call_is_a_span_of_its_trace_without_what_was_said(door: Door, spans: Spans) -> None:
    outcome = await door.completed("会员 13812345678 的秘密", traceparent=PARENT)
    await door.struck(errcode="Throttling")  # of no trace
    await door.sandbox.fault(path="/api/v1/*", errcode="InternalError")
    await door.failed("再问", traceparent=PARENT)
    answered, failed = spans.close()
    assert (answered.name, answered.kind) == ("invoke_agent app3_clue", SpanKind.CLIENT)
    assert answered.context is not None
    assert f"{answered.context.trace_id:032x}" == PARENT.split("-")[1]
    told = dict(answered.attributes or {})
    usage = outcome.usage
    assert usage is not None
    assert told == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "dashscope",
        "gen_ai.agent.name": "app3_clue",
        "gen_ai.agent.id": "app3",
        "gen_ai.response.id": outcome.request_id,
        "gen_ai.response.model": "qwen-plus",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.conversation.id": outcome.session_id,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "server.address": "127.0.0.1",
        "server.port": int(door.sandbox.url.rpartition(":")[2]),
    }
    assert failed.status.status_code is StatusCode.ERROR
    wrong = dict(failed.attributes or {})
    assert (wrong["error.type"], wrong["http.response.status_code"]) == ("InternalError", 500)
    assert "" not in wrong.values()
    assert not any("messages" in name for name in (*told, *wrong))
    calls = await door.calls()
    assert [call["traceparent"] for call in calls] == [PARENT, None, PARENT]


async def test_what_was_said_is_in_the_span_when_it_is_wanted(
    door: Door, manual_clock: ManualClock, spans: Spans
) -> None:
    async with provider(door.sandbox.url, manual_clock, content=True) as telling:
        await Door(telling, door.sandbox).completed("会员 13812345678 来了", traceparent=PARENT)
    (span,) = spans.close()
    told = dict(span.attributes or {})
    assert "来了" in str(told["gen_ai.input.messages"])
    assert "13812345678" not in str(told)
    (said,) = json.loads(str(told["gen_ai.output.messages"]))
    assert (said["role"], said["finish_reason"], said["parts"][0]["type"]) == ("assistant", "stop", "text")


async def test_a_call_that_is_broken_off_is_a_span_that_says_so(door: Door, spans: Spans) -> None:
    await door.sandbox.fault(path="/api/v1/*", latency_ms=10_000)
    call = asyncio.create_task(door.ask("你好", traceparent=PARENT))

    async def arrived() -> bool:
        return await door.seen() == 1

    await eventually(arrived)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (span,) = spans.close()
    told = dict(span.attributes or {})
    assert (span.status.status_code, told["error.type"]) == (StatusCode.ERROR, "cancelled")
    assert "gen_ai.response.id" not in told


async def test_figures_count_time_tokens_and_failures(door: Door, manual_clock: ManualClock) -> None:
    numbers = Metrics()
    async with provider(door.sandbox.url, manual_clock, numbers) as counted:
        asking = Door(counted, door.sandbox)
        outcome = await asking.completed()
        await asking.struck(errcode="Arrearage")
    agent = (
        'gen_ai_agent_name="app3_clue",gen_ai_operation_name="invoke_agent",gen_ai_provider_name="dashscope"'
    )
    text = numbers.text().decode()
    for error in ("", "arrears"):
        assert f'gen_ai_client_operation_duration_seconds_count{{error_type="{error}",{agent}}} 1.0' in text
    assert outcome.usage is not None
    tokens = outcome.usage.input_tokens
    assert f'gen_ai_client_token_usage_sum{{{agent},gen_ai_token_type="input"}} {float(tokens)}' in text
