"""A gRPC server with everything a process of ours needs: guard, health, reflection, TLS, limits, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from shared.environment import ConfigurationError
from shared.rpc.address import as_bound, is_loopback
from shared.rpc.guard import Authenticates, Guard, GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.tls import TlsFiles
from shared.telemetry.metrics import Metrics

Registrar = Callable[[Any], None]
"""Adds one servicer to a server: ``partial(add_XServicer_to_server, servicer)``."""

MAX_REPLY: Final = 4 * 1024 * 1024
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"
_FORCED_END = 0.5
"""Seconds before the end of the grace in which calls that still run are told that we stop."""

_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.so_reuseport", 0),  # otherwise a second process on the port shares its calls, silently
    ("grpc.max_send_message_length", MAX_REPLY),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
)


class ListenError(ConfigurationError):
    """The address cannot be listened on; its one problem says what to do."""


class RpcServer:
    """Serves *services* on one address behind one guard."""

    def __init__(
        self,
        listen: str,
        services: Sequence[Registrar],
        *,
        rules: GuardRules,
        authenticator: Authenticates,
        health: HealthBoard,
        reflection: bool = True,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Raise ``ValueError`` when *listen* is not an address or a contract holds a wrong rule."""
        is_loopback(listen)  # raises for what is no address
        self._listen = listen
        self._health = health
        self._tls = tls
        self._guard = Guard(rules, authenticator, metrics)
        self._recheck: asyncio.Task[None] | None = None
        # The library's own limits stand behind the guard's, which answer with a reason.
        self._server = grpc.aio.server(
            options=[*_OPTIONS, ("grpc.max_receive_message_length", 4 * rules.max_request_bytes)],
            maximum_concurrent_rpcs=2 * rules.max_concurrent,
        )
        collected = _collect([*services, self._add_health])
        if reflection:
            collected.update(_reflection([*collected, _REFLECTION_ALPHA]))
        self._server.add_generic_rpc_handlers((_Routes(collected, self._guard),))

    async def start(self) -> str:
        """Listen, start the health board and serve; the address as bound.

        ``ListenError`` when the address is taken or not ours, or the TLS files are of no use.
        """
        try:
            port = self._bind()
        except RuntimeError as error:
            raise ListenError([_how_to_free(self._listen)]) from error
        except OSError as error:
            raise ListenError([f"cannot read {error.filename}: {error.strerror}"]) from error
        except ValueError as error:
            raise ListenError([f"{self._tls} cannot be served with: {error}"]) from error
        await self._server.start()
        self._recheck = asyncio.create_task(self._guard.recheck_streams(), name="recheck streams")
        await self._health.start()
        return as_bound(self._listen, port)

    async def stop(self, grace: float = 15.0) -> None:
        """Show NOT_SERVING, refuse new calls, let running ones finish for *grace* seconds, then end them.

        Streams end at once. Every caller that is cut off gets UNAVAILABLE, reason SHUTTING_DOWN.
        """
        await self._health.shut()
        self._guard.close()
        if self._recheck is not None:
            self._recheck.cancel()
        forced = asyncio.get_running_loop().call_later(max(0.0, grace - _FORCED_END), self._guard.cut_all)
        try:
            await self._server.stop(grace)
        finally:
            forced.cancel()

    async def wait(self) -> None:
        """Return once the server has stopped."""
        await self._server.wait_for_termination()

    def _bind(self) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(self._listen)
        return self._server.add_secure_port(self._listen, self._tls.credentials())

    def _add_health(self, server: Any) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)


class _Collector:
    """Stands where generated code expects a server, and keeps what it registers."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same handlers again, in a form that cannot be looked into."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        if service in self.services:
            raise ValueError(f"{service} is registered twice")
        self.services[service] = handlers


class _Routes(grpc.GenericRpcHandler):
    """Path → guarded handler: one dictionary look-up for each call, and an answer for unknown ones."""

    def __init__(
        self, services: Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]], guard: Guard
    ) -> None:
        self._guard = guard
        self._handlers = {
            f"/{service}/{name}": guard.wrap(service, name, handler)
            for service, handlers in services.items()
            for name, handler in handlers.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        return self._handlers.get(path) or self._guard.unknown(path.lstrip("/")[:200])


def _collect(registrars: Sequence[Registrar]) -> dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
    collector = _Collector()
    for register in registrars:
        register(collector)
    return collector.services


def _reflection(names: Sequence[str]) -> dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Reflection under both its names: v1 and v1alpha are the same bytes."""
    servicer = reflection.aio.ReflectionServicer(names)
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # untyped in its stubs
    found = _collect([partial(add, servicer)])
    return {**found, _REFLECTION_V1: found[_REFLECTION_ALPHA]}


def _how_to_free(listen: str) -> str:
    return (
        f"cannot listen on {listen}: another process has it, or it is not an address of this machine. "
        "Stop that process or set REACH_GRPC_LISTEN to another address (port 0 picks a free one)."
    )
