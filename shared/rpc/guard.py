"""What every RPC passes through, in one wrapper: identity, limits, deadline, validation, errors, log, span.

Each method is wrapped once, when it is registered; a call then costs one extra coroutine, not a stack of
interceptors. The order is fixed: nothing is read of a request before its caller is known, and nothing
is done before the request is valid and has time enough.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import field
from typing import Any, Final, Protocol

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from shared.errors import Denied, Invalid, ReachError, Throttled, Unauthenticated, Unavailable, Unsupported
from shared.rpc import calls, principal, tracing, validation
from shared.rpc.calls import CallClass
from shared.rpc.peers import PeerRules, names_of
from shared.rpc.principal import Principal
from shared.rpc.status import DeadlineExceeded, to_status
from shared.rpc.visit import Method, Visit
from shared.telemetry.metrics import Metrics
from shared.values import value_class

OPEN: Final = "open"
"""Access of health: everybody, unlogged, also under overload."""

CREDENTIALS: Final = "credentials"
"""Access of reflection: anybody we know, no scope needed."""

RECHECK: Final = 1.0
"""Seconds between two looks at the tokens of running streams."""

Behaviour = Callable[[Any, Any], Awaitable[Any]]
IDEMPOTENCY_METADATA: Final = "x-idempotency-key"


class Authenticates(Protocol):
    """Turns a bearer token into a caller."""

    async def authenticate(self, token: str | None) -> Principal:
        """The caller behind *token* (None: none was sent), or ``Unauthenticated``."""
        ...


@value_class
class GuardRules:
    """Who may call what, for how long, and how much at once."""

    scopes: Mapping[str, str]
    """``package.Service/Method`` → scope. What is missing here is denied."""

    special: Mapping[str, CallClass] = field(default_factory=dict)
    """Methods whose time is not what the contract suggests (synchronous generation)."""

    peers: PeerRules | None = None
    """Which client certificates may call what; None: any that the listener takes."""

    max_concurrent: int = 1000
    max_request_bytes: int = 1024 * 1024


class _TooLarge:
    """Stands in for a request that was not parsed because of its size."""


class Guard:
    """Wraps method handlers and knows every call in flight."""

    def __init__(
        self, rules: GuardRules, authenticator: Authenticates, metrics: Metrics | None = None
    ) -> None:
        self._rules = rules
        self._authenticator = authenticator
        self._metrics = metrics
        self._running: set[Visit] = set()
        self._closing = False

    def wrap(self, service: str, name: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
        """*handler* with everything around it; any of the four arities."""
        path = f"{service}/{name}"
        method = self._method(path, handler)
        arity = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        make = {
            "unary_unary": grpc.unary_unary_rpc_method_handler,
            "unary_stream": grpc.unary_stream_rpc_method_handler,
            "stream_unary": grpc.stream_unary_rpc_method_handler,
            "stream_stream": grpc.stream_stream_rpc_method_handler,
        }[arity]
        behaviour = _as_coroutine(getattr(handler, arity))
        read = handler.request_deserializer
        if read is not None and not handler.request_streaming:
            read = _bounded(read, self._rules.max_request_bytes)
        return make(self._guarded(method, behaviour), read, handler.response_serializer)

    def unknown(self, path: str) -> Any:
        """A handler that refuses a method nobody registered, without reading the request."""
        method = Method(path, CREDENTIALS, calls.READ, tracing.attributes("unknown/unknown"), is_known=False)

        async def refuse(_requests: object, _context: object) -> None:
            raise Unsupported("METHOD_UNKNOWN", "no such method here", method=path)

        return grpc.stream_stream_rpc_method_handler(self._guarded(method, refuse))

    async def recheck_streams(self) -> None:
        """For ever: end streams whose token was revoked or has expired since they began."""
        while True:
            await asyncio.sleep(RECHECK)
            for visit in [v for v in self._running if v.method.endless and v.principal is not None]:
                try:
                    await self._authenticator.authenticate(visit.token)
                except Unauthenticated as error:
                    visit.cut(error)
                except Unavailable:
                    break  # nobody new gets in meanwhile; those who are in stay

    def close(self) -> None:
        """Refuse new calls from now on and end the streams, which would not end by themselves."""
        self._closing = True
        for visit in tuple(self._running):
            if visit.method.endless:
                visit.cut(_shutting_down())

    def cut_all(self) -> None:
        """End what still runs; its callers learn that it was us."""
        for visit in tuple(self._running):
            visit.cut(_shutting_down())

    def _method(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Method:
        descriptor = calls.describe(path)
        fields = descriptor.input_type.fields_by_name if descriptor is not None else {}
        if descriptor is not None and not handler.request_streaming:
            validation.prepare(message_factory.GetMessageClass(descriptor.input_type))
        return Method(
            path=path,
            access=self._access(path),
            time=calls.class_of(path, self._rules.special),
            attributes=tracing.attributes(path),
            endless=handler.response_streaming,
            single_request=not handler.request_streaming,
            has_store="store_id" in fields,
            has_key="idempotency_key" in fields,
        )

    def _access(self, path: str) -> str | None:
        if path.startswith("grpc.health."):
            return OPEN
        if path.startswith("grpc.reflection."):
            return CREDENTIALS
        return self._rules.scopes.get(path)

    def _guarded(self, method: Method, behaviour: Behaviour) -> Behaviour:
        async def guarded(request: Any, context: Any) -> Any:
            visit = Visit(method)
            self._running.add(visit)
            try:
                await self._admit(visit, request, context)
                return await behaviour(request, context)
            except BaseException as failure:
                error = visit.explain(failure, context)
                if error is None:
                    raise
            finally:
                self._running.discard(visit)
                visit.end(self._metrics)
            return await context.abort_with_status(to_status(error))

        return guarded

    async def _admit(self, visit: Visit, request: Any, context: Any) -> None:
        """Let the call in, or raise what it is refused with."""
        method = visit.method
        token, key, carrier = _read(context.invocation_metadata())
        if method.access != OPEN:
            visit.begin_span(carrier)
        self._check_room(method)
        self._set_deadline(visit, context)
        if self._rules.peers is not None:
            common = method.access in (OPEN, CREDENTIALS)
            self._rules.peers.check(method.path, names_of(context), common=common)
        if method.access != OPEN:
            visit.token = token
            visit.principal = caller = await self._authenticator.authenticate(token)
            principal.enter(caller)
            _authorise(method, caller)
        if method.single_request:
            self._check_request(visit, request, key)

    def _check_room(self, method: Method) -> None:
        if self._closing:
            raise _shutting_down()
        if len(self._running) > self._rules.max_concurrent and method.access != OPEN:
            limit = self._rules.max_concurrent
            raise Throttled("OVERLOADED", f"more than {limit} calls at once", limit="concurrent_rpcs")

    @staticmethod
    def _set_deadline(visit: Visit, context: Any) -> None:
        left = context.time_remaining()
        if left is not None and left < calls.MINIMUM:
            raise DeadlineExceeded(
                "DEADLINE_TOO_SHORT",
                "too little time left to begin; nothing was done",
                minimum_ms=int(calls.MINIMUM * 1000),
            )
        calls.set_deadline(visit.limit(left))

    def _check_request(self, visit: Visit, request: Any, key: str | None) -> None:
        if isinstance(request, _TooLarge):
            most = self._rules.max_request_bytes
            raise Throttled("MESSAGE_TOO_LARGE", f"a request may have {most} bytes at most", max_bytes=most)
        if visit.method.has_store:
            visit.store_id = request.store_id
        if key is not None and visit.method.has_key:
            _take_key(request, key)
        if isinstance(request, Message):
            validation.check(request)


def _authorise(method: Method, caller: Principal) -> None:
    if method.access is None:
        raise Denied("METHOD_UNKNOWN", "nobody decided who may call this method", method=method.path)
    if method.access != CREDENTIALS and method.access not in caller.scopes:
        raise Denied("SCOPE_MISSING", f"this needs scope {method.access}", scope=method.access)


def _take_key(request: Any, key: str) -> None:
    """The key may come as metadata; what the request itself says must not differ."""
    if request.idempotency_key and request.idempotency_key != key:
        raise Invalid.field("idempotency_key", f"differs from the metadata {IDEMPOTENCY_METADATA}")
    request.idempotency_key = key


def _read(metadata: Any) -> tuple[str | None, str | None, dict[str, str]]:
    """Bearer token, idempotency key and trace context, in one pass."""
    token: str | None = None
    key: str | None = None
    carrier: dict[str, str] = {}
    for name, value in metadata or ():
        if name == "authorization":
            scheme, _, rest = str(value).partition(" ")
            token = rest.strip() if scheme.lower() == "bearer" else ""
        elif name in tracing.TRACE_KEYS:
            carrier[name] = str(value)
        elif name == IDEMPOTENCY_METADATA:
            key = str(value)
    return token, key, carrier


def _as_coroutine(behaviour: Any) -> Behaviour:
    """A streaming method written as a generator, in the ``context.write`` style; others unchanged."""
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour  # type: ignore[no-any-return]  # handlers carry no types

    async def write_all(request: Any, context: Any) -> None:
        items: AsyncIterator[Any]
        async with aclosing(behaviour(request, context)) as items:
            async for item in items:
                await context.write(item)

    return write_all


def _bounded(read: Callable[[bytes], Any], most: int) -> Callable[[bytes], Any]:
    """*read*, sparing itself what is too large; the guard then answers with a reason."""

    def parse(data: bytes) -> Any:
        return _TooLarge() if len(data) > most else read(data)

    return parse


def _shutting_down() -> ReachError:
    return Unavailable("SHUTTING_DOWN", "this process is stopping; try again")
