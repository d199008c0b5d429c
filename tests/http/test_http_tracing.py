"""Trace headers and spans of a call."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from shared.http import Caller, NotSent, tracing
from tests.http.wire import Peer, free_port, serve

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def answer(peer: Peer) -> None:
    await peer.request()
    await peer.answer()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> tuple[trace.Tracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return provider.get_tracer("test"), exporter


async def test_a_traceparent_is_passed_on_without_any_span(
    spans: tuple[trace.Tracer, InMemorySpanExporter],
) -> None:
    async with serve(answer) as wire:
        caller = Caller(wire.url, allowed_hosts=["127.0.0.1"])
        await caller.post("/p?key=k", b"{}", traceparent=PARENT)
        await caller.close()
    assert f"traceparent: {PARENT}".encode() in wire.requests[0]
    assert spans[1].get_finished_spans() == ()


@pytest.mark.parametrize("bad", ["", "x", PARENT + "\r\nX-Evil: 1", PARENT.upper()])
async def test_a_malformed_traceparent_is_left_out(bad: str) -> None:
    async with serve(answer) as wire:
        caller = Caller(wire.url, allowed_hosts=["127.0.0.1"])
        await caller.post("/p", b"{}", traceparent=bad)
        await caller.close()
    assert b"traceparent" not in wire.requests[0]


async def test_a_recording_parent_gets_a_client_span_without_the_query(
    spans: tuple[trace.Tracer, InMemorySpanExporter],
) -> None:
    tracer, exporter = spans
    async with serve(answer) as wire:
        caller = Caller(wire.url, allowed_hosts=["127.0.0.1"])
        with tracer.start_as_current_span("delivery") as parent:
            await caller.post(
                "/cgi-bin/webhook/send?key=top-secret", b"{}", traceparent=PARENT, parent=parent
            )
        await caller.close()
    call = next(span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT)
    assert call.parent is not None
    assert call.parent.span_id == parent.get_span_context().span_id
    assert call.attributes is not None
    assert call.attributes["url.path"] == "/cgi-bin/webhook/send"
    assert call.attributes["http.response.status_code"] == 200
    assert "top-secret" not in call.to_json()
    context = call.get_span_context()
    assert context is not None
    assert f"-{context.span_id:016x}-" in wire.requests[0].decode()


async def test_a_failed_call_marks_its_span(spans: tuple[trace.Tracer, InMemorySpanExporter]) -> None:
    tracer, exporter = spans
    caller = Caller(f"http://127.0.0.1:{free_port()}", allowed_hosts=["127.0.0.1"])
    with tracer.start_as_current_span("delivery") as parent, pytest.raises(NotSent):
        await caller.post("/p?key=top-secret", b"{}", parent=parent)
    await caller.close()
    call = next(span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT)
    assert call.attributes is not None
    assert call.attributes["error.type"] == "refused"
    assert not call.status.is_ok
    assert "top-secret" not in call.to_json()
