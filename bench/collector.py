"""A trace collector that only counts: an OTLP endpoint, so that exporting costs Reach what it costs in life."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc


class Collector(rpc.TraceServiceServicer):
    """Serves on a free loopback port while it is a context."""

    url: str

    def __init__(self) -> None:
        self._spans = 0
        self._server = grpc.server(ThreadPoolExecutor(1))
        rpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        """Serve."""
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.stop(None).wait(5)

    def Export(
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        """Count what came."""
        self._spans += sum(
            len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans
        )
        return pb.ExportTraceServiceResponse()

    def take(self) -> int:
        """Spans since the last time this was asked."""
        spans, self._spans = self._spans, 0
        return spans
