"""The trace goes on whether or not anyone watches, and nothing secret is in a span."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.telemetry import traces

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-2] + "00"


class Recorded:
    """Exports into memory; ``spans`` flushes first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # OpenTelemetry lets the global provider be set once per process; each test has its own.
        monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
        self._memory = InMemorySpanExporter()
        self.stop = traces.start("notifier", {}, exporter=self._memory)

    def spans(self) -> list[ReadableSpan]:
        self.stop()
        return list(self._memory.get_finished_spans())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    recorded = Recorded(monkeypatch)
    yield recorded
    recorded.stop()


def test_without_an_endpoint_nothing_is_recorded_and_the_trace_goes_on() -> None:
    stop = traces.start("notifier", {"OTEL_SERVICE_NAME": "x"})
    assert not traces.should_record(SAMPLED)
    assert traces.record("attempt", SAMPLED, 1, 2) == SAMPLED
    assert traces.new_traceparent().endswith("-00")
    stop()


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_switches_turn_it_off(off: dict[str, str]) -> None:
    traces.start("notifier", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **off})()
    assert not traces.should_record(SAMPLED)


def test_a_span_is_written_after_the_fact_under_its_parent(recorded: Recorded) -> None:
    handed_on = traces.record(
        "attempt",
        SAMPLED,
        1_000,
        2_500,
        kind=SpanKind.CLIENT,
        attributes={"delivery_id": "d1"},
        links=[UNSAMPLED, "garbage"],
        error="timed out",
    )
    (span,) = recorded.spans()
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in SAMPLED
    assert (span.start_time, span.end_time, span.kind) == (1_000, 2_500, SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {"delivery_id": "d1"}
    assert span.status.status_code is StatusCode.ERROR
    assert len(span.links) == 1
    assert span.context is not None
    assert handed_on == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert span.resource.attributes["service.name"] == "reach-notifier"


def test_what_the_parent_did_not_sample_costs_no_span(recorded: Recorded) -> None:
    assert not traces.should_record(UNSAMPLED)
    assert not traces.should_record(None)
    assert traces.record("attempt", UNSAMPLED, 1, 2) == UNSAMPLED
    assert recorded.spans() == []


def test_a_new_root_is_sampled_when_this_process_records(recorded: Recorded) -> None:
    root = traces.new_traceparent()
    assert traces.should_record(root)
    assert traces.parse(root) is not None


def test_secrets_and_queries_do_not_leave_in_a_span(recorded: Recorded) -> None:
    attributes = {
        "url.full": "https://h/cgi-bin/gettoken?corpsecret=s3cr3t&x=1",
        "url.query": "corpsecret=s3cr3t",
        "note": "key=s3cr3tkey",
        "phones": ["13800138000"],
    }
    traces.record(
        "GET access_token=s3cr3t", SAMPLED, 1, 2, attributes=attributes, error="access_token=s3cr3t"
    )
    (span,) = recorded.spans()
    assert "s3cr3t" not in span.to_json()
    assert "13800138000" not in span.to_json()
    assert (span.attributes or {})["url.full"] == "https://h/cgi-bin/gettoken"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        SAMPLED.upper(),
        SAMPLED + "\n",
        SAMPLED + "-extra",
        "access_token=x",
    ],
)
def test_a_malformed_traceparent_starts_afresh(text: str | None) -> None:
    assert traces.parse(text) is None
    assert not trace.get_current_span(traces.continue_trace(text)).get_span_context().is_valid
    fresh = traces.traceparent_or_new(text)
    assert traces.parse(fresh) is not None


def test_a_version_from_the_future_is_understood_as_ours() -> None:
    assert traces.parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more") is not None
    assert traces.traceparent_or_new(SAMPLED) == SAMPLED


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    traces.parse(text)
    traces.continue_trace(text)


def test_the_redacting_exporter_is_an_exporter() -> None:
    inner = InMemorySpanExporter()
    exporter: SpanExporter = traces.RedactingExporter(inner)
    assert exporter.force_flush()
    exporter.shutdown()
