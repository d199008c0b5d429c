"""One span per RPC, on both sides; trace context travels in metadata.

By hand, because the ready-made instrumentation for grpc.aio breaks cancellation on the client and
``context.write`` on the server.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

TRACE_KEYS = frozenset({"traceparent", "tracestate", "baggage"})

_tracer = trace.get_tracer("reach.grpc")
_NO_PARENT = Context()
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that say the server is at fault; the others leave a server span unset."""


def attributes(path: str) -> dict[str, str]:
    """The span attributes of ``package.Service/Method``."""
    service, _, name = path.partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def begin_server(path: str, facts: Mapping[str, str], carrier: Mapping[str, str]) -> Span:
    """Start the span of a call being served and make it current for the rest of this task."""
    parent = propagate.extract(carrier, context=_NO_PARENT) if carrier else _NO_PARENT
    span = _tracer.start_span(path, context=parent, kind=SpanKind.SERVER, attributes=facts)
    # Never detached: the task that serves a call ends with it, and its context too.
    otel_context.attach(trace.set_span_in_context(span, parent))
    return span


def begin_client(path: str) -> tuple[Span, dict[str, str]]:
    """Start the span of a call going out; the mapping goes into its metadata."""
    span = _tracer.start_span(path, kind=SpanKind.CLIENT, attributes=attributes(path))
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span, otel_context.get_current()))
    return span, carrier


def finish(
    span: Span, code: grpc.StatusCode, reason: str, *, server: bool, failure: BaseException | None = None
) -> None:
    """End *span* with the outcome; *failure* is recorded once."""
    if span.is_recording():
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if failure is not None:
            span.record_exception(failure)
        if code is not grpc.StatusCode.OK and (not server or code in _SERVER_FAULTS):
            span.set_status(Status(StatusCode.ERROR, reason))
    span.end()
