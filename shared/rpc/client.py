"""Channels to our services: bearer token, deadlines by default, traces, retries where the contract allows.

A caller that names no time-out gets the default of the method's class, and never more than what is left
of the call it is itself serving.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from opentelemetry.trace import Span

from shared.environment import ConfigurationError
from shared.rpc import calls, tracing
from shared.rpc.calls import CallClass
from shared.rpc.rotating import RotatingChannel
from shared.rpc.server import MAX_REPLY
from shared.rpc.tls import ClientTls

RETRY: Final = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""gRPC's own retry, with its jitter."""


def service_config(*services: ServiceDescriptor) -> dict[str, Any]:
    """Retries for what *services* declare safe to repeat, for nothing else."""
    safe = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    ]
    return {"methodConfig": [{"name": safe, "retryPolicy": RETRY}]} if safe else {}


def options(*services: ServiceDescriptor) -> list[tuple[str, Any]]:
    """Channel options for *services*; the same for sync and async channels."""
    return [
        ("grpc.service_config", json.dumps(service_config(*services))),
        ("grpc.max_receive_message_length", MAX_REPLY),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]


def channel(
    target: str,
    *services: ServiceDescriptor,
    token: str | Callable[[], str] | None = None,
    tls: ClientTls | None = None,
    special: Mapping[str, CallClass] | None = None,
) -> grpc.aio.Channel:
    """A channel to *target*, to be closed by the caller; encrypted when there is *tls*, whose files may be replaced.

    *token* is asked for with each call where it is something to be asked. *special* gives methods another time class, as
    the server's rules do. Raises ``ConfigurationError`` for files that are of no use.
    """
    outgoing = _Outgoing(token, special or {})
    interceptors = [_UnaryUnary(outgoing), _UnaryStream(outgoing)]
    if tls is None:
        return grpc.aio.insecure_channel(target, options(*services), interceptors=interceptors)

    def opened(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, credentials, options(*services), interceptors=interceptors)

    try:
        return RotatingChannel(opened, tls.watched())
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"REACH_AUTH_TLS_…: others cannot be called with {tls}: {error}"]) from None


async def pages(
    call: Callable[..., Any], request: Any, *, timeout: float | None = None
) -> AsyncIterator[Any]:
    """Every page of a List method, in order; *request* is left as it was.

    Ends at the page without a ``next_page_token``.
    """
    request = _copy(request)
    while True:
        page = await call(request, timeout=timeout)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def pages_sync(
    call: Callable[..., Any], request: Any, *, timeout: float = calls.LIST.default
) -> Iterator[Any]:
    """The same for a blocking stub; *timeout* seconds for each page."""
    request = _copy(request)
    while True:
        page = call(request, timeout=timeout)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _copy(request: Any) -> Any:
    fresh = type(request)()
    fresh.CopyFrom(request)
    return fresh


class _Outgoing:
    """Deadline, token and span of every call on one channel."""

    def __init__(self, token: str | Callable[[], str] | None, special: Mapping[str, CallClass]) -> None:
        self._token = token
        self._special = special
        self._classes: dict[str, CallClass] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def send(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make the call. Nothing is awaited once it has begun, so that cancelling the caller cancels it."""
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        path = method.lstrip("/")
        span, carrier = tracing.begin_client(path)
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *carrier.items())
        token = self._token() if callable(self._token) else self._token
        if token:
            metadata["authorization"] = f"Bearer {token}"
        timeout = calls.remaining(
            self._class_of(path).default if details.timeout is None else details.timeout
        )
        call = await continuation(details._replace(metadata=metadata, timeout=timeout), request)
        call.add_done_callback(lambda done: self._finish(span, done))
        return call

    def _class_of(self, path: str) -> CallClass:
        if path not in self._classes:
            self._classes[path] = calls.class_of(path, self._special)
        return self._classes[path]

    def _finish(self, span: Span, call: Any) -> None:
        """End the span; the callback is sync and the code a coroutine, hence a task."""
        if not span.is_recording():
            return
        task = asyncio.get_running_loop().create_task(_record(span, call))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _record(span: Span, call: Any) -> None:
    code = await call.code()
    tracing.finish(span, code, code.name, server=False)


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, outgoing: _Outgoing) -> None:
        self._outgoing = outgoing

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._outgoing.send(continuation, client_call_details, request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, outgoing: _Outgoing) -> None:
        self._outgoing = outgoing

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._outgoing.send(continuation, client_call_details, request)
