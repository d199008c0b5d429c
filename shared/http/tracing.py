"""The client span of a call, opened only when somebody is recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""What a W3C ``traceparent`` looks like; anything else is dropped rather than sent on."""

_tracer = trace.get_tracer("reach.http")


class CallSpan:
    """A span around one call; it knows the path, never the query."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The header value that makes the server's span a child of this one."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def ended(self, result: int | str) -> None:
        """Note the answer's status, or the kind of failure."""
        if isinstance(result, int):
            self._span.set_attribute("http.response.status_code", result)
            failed = result >= 400
        else:
            self._span.set_attribute("error.type", str(result))
            failed = True
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, str(result)))


@contextmanager
def client_span(parent: Span, method: str, host: str, port: int | None, path: str) -> Iterator[CallSpan]:
    """A CLIENT span beneath *parent* for the length of the block."""
    span = _tracer.start_span(
        f"{method} {path}",
        context=trace.set_span_in_context(parent),
        kind=SpanKind.CLIENT,
        attributes={
            "http.request.method": method,
            "server.address": host,
            "server.port": port or 0,
            "url.path": path,
        },
    )
    try:
        yield CallSpan(span)
    finally:
        span.end()
