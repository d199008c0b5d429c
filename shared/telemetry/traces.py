"""One trace from the publisher to WeCom, at no cost while nobody watches.

The W3C ``traceparent`` is what travels: in gRPC metadata, message headers, HTTP headers and, as
text, in the rows, so that a delivery sent an hour later still belongs to its event. It is carried on
whether or not anything is recorded here. Spans are exported only when the standard ``OTEL_*``
variables name an endpoint, and written after the fact: the hot path measures two instants, asks
``should_record`` and in most cases is done.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

from shared.telemetry.redaction import redact

TRACEPARENT: Final = "traceparent"

_FORMAT: Final = re.compile(r"(?!ff|00.{53}.)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED: Final = 0x01
_TEXT_MAX: Final = 2048
_URLS: Final = frozenset(("url.full", "http.url", "http.target"))

# Ids need to be unlike each other, not unpredictable; this needs no system call,
# and is seeded by one.
_random: Final = random.Random()


class _State:
    """What this process records; one per process, as OpenTelemetry's own provider is."""

    tracer: trace.Tracer | None = None
    sampler: Sampler | None = None


def start(
    service: str, environ: Mapping[str, str], *, exporter: SpanExporter | None = None
) -> Callable[[], None]:
    """Begin to export spans if *environ* names an endpoint (or *exporter* is given); else do nothing.

    The sampler is the standard ``OTEL_TRACES_SAMPLER``, by default everything whose parent is sampled
    and every root. Returns a function that flushes what is left and stops exporting; it blocks for a
    few seconds at most, so call it off the event loop.
    """
    if exporter is None and not _wanted(environ):
        return lambda: None
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # 0.2 s

        exporter = OTLPSpanExporter(timeout=5)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"reach-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(RedactingExporter(exporter)))
    _State.tracer, _State.sampler = provider.get_tracer("reach"), provider.sampler
    trace.set_tracer_provider(provider)

    def stop() -> None:
        _State.tracer = _State.sampler = None
        provider.force_flush(3000)
        provider.shutdown()

    return stop


def _wanted(environ: Mapping[str, str]) -> bool:
    if (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    ):
        return False
    return any(
        environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def parse(traceparent: str | None) -> SpanContext | None:
    """The context that *traceparent* names, or None for anything malformed (it comes from strangers)."""
    match = _FORMAT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    context = SpanContext(
        int(match[1], 16),
        int(match[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[3], 16) & _SAMPLED),
    )
    return context if context.is_valid else None


def continue_trace(traceparent: str | None) -> Context:
    """A context in which new spans are children of *traceparent*; an empty one if it is malformed."""
    parent = parse(traceparent)
    return trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()


def current_traceparent() -> str | None:
    """The span in force here, as it travels."""
    context = trace.get_current_span().get_span_context()
    return _written(context) if context.is_valid else None


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & _SAMPLED:02x}"


def new_traceparent() -> str:
    """A new root, in a few microseconds. Sampled if this process records and its sampler says so."""
    trace_id, span_id = _random.getrandbits(128) or 1, _random.getrandbits(64) or 1
    flags = 0
    if _State.sampler is not None:
        decision = _State.sampler.should_sample(None, trace_id, "root").decision
        flags = _SAMPLED if decision is Decision.RECORD_AND_SAMPLE else 0
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def traceparent_or_new(traceparent: str | None) -> str:
    """*traceparent*, in the form this version writes, if it is well-formed; else a new root."""
    context = parse(traceparent)
    return _written(context) if context else new_traceparent()


def should_record(traceparent: str | None) -> bool:
    """Whether a span under *traceparent* (as ``traceparent_or_new`` gave it) would be exported: the
    question to ask before measuring more."""
    return _State.tracer is not None and traceparent is not None and traceparent.endswith("-01")


def record(
    name: str,
    traceparent: str | None,
    start_ns: int,
    end_ns: int,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    links: Sequence[str] = (),
    error: str | None = None,
) -> str | None:
    """Write the span *name* that ran from *start_ns* to *end_ns* (``time.time_ns``) under *traceparent*.

    *links* are traceparents of what else caused it (the other events of a batch); *error* is why it
    failed. Returns the traceparent to hand on: the new span's, or the one given when nothing is
    recorded.
    """
    tracer = _State.tracer
    if tracer is None or not should_record(traceparent):
        return traceparent
    span = tracer.start_span(
        name,
        context=continue_trace(traceparent),
        kind=kind,
        attributes=attributes,
        links=[Link(context) for text in links if (context := parse(text))],
        start_time=start_ns,
    )
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, redact(error)[:200]))
    span.end(end_time=end_ns)
    return _written(span.get_span_context())


class RedactingExporter(SpanExporter):
    """Masks every text of a span on its way out, and drops the query of every URL.

    WeCom's credentials are query parameters, and instrumentation records whole URLs.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand on clean copies."""
        return self._inner.export([_clean(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter within."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the exporter within."""
        return self._inner.force_flush(timeout_millis)


def _clean(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    if status.description:
        status = Status(status.status_code, redact(status.description))
    return ReadableSpan(
        name=redact(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_clean_attributes(span.attributes),
        events=[
            Event(event.name, _clean_attributes(event.attributes), event.timestamp) for event in span.events
        ],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _clean_attributes(attributes: Attributes) -> Attributes:
    if not attributes:
        return attributes
    return {key: _clean_value(key, value) for key, value in attributes.items() if key != "url.query"}


def _clean_value(key: str, value: AttributeValue) -> AttributeValue:
    if isinstance(value, str):
        if key in _URLS:
            value = value.split("?", 1)[0]
        return redact(value)[:_TEXT_MAX]
    if isinstance(value, (list, tuple)):
        return [redact(item) if isinstance(item, str) else item for item in value]
    return value
