"""How commands reach the services: a channel with the caller's token, and each failure in words."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from cli.common import SERVICES, TOKEN_VARIABLE
from shared.errors import ReachError, Unauthenticated, Unavailable
from shared.hosting.callers import client_tls
from shared.rpc.address import is_loopback
from shared.rpc.client import channel
from shared.rpc.status import from_call
from shared.rpc.tls import ClientTls
from shared.settings import Settings
from shared.watched_files import watched_token

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

_LOOK = 2.0
"""Seconds to find out what a process serves."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@asynccontextmanager
async def calling(
    chosen: Settings, service: str, *contracts: ServiceDescriptor
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to *service* where the settings say it is, with the caller's token.

    A call that fails inside the block raises the ``ReachError`` it means.
    """
    place, tls = await place_of(chosen, service), client_tls(chosen.auth)
    async with calling_at(place, service, *contracts, token=token_of(chosen), tls=tls) as opened:
        yield opened


async def place_of(chosen: Settings, service: str) -> str:
    """host:port of *service*: as configured, else in the first service's process if that serves it too (``reach up``
    does), else its own port on this machine."""
    first = SERVICES[0]
    if service == first or getattr(chosen, f"{service}_target"):
        return chosen.target(service)
    shared = chosen.target(first)
    return shared if await _serves(shared, service, client_tls(chosen.auth)) else chosen.target(service)


async def asked(chosen: Settings) -> list[str]:
    """Whom to ask for what a process tells of all the services in it: one service of each process."""
    found: dict[str, str] = {}
    for service in SERVICES:
        found.setdefault(await place_of(chosen, service), service)
    return list(found.values())


async def _serves(place: str, service: str, tls: ClientTls | None) -> bool:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    if is_loopback(place):
        _past_the_proxy()
    words = "".join(part.title() for part in service.split("_"))
    request = health_pb2.HealthCheckRequest(service=f"reach.{service}.v1.{words}Service")
    opened = channel(place, tls=tls)
    try:
        stub: Any = health_pb2_grpc.HealthStub(opened)
        await stub.Check(request, timeout=_LOOK)
    except grpc.RpcError:
        return False
    finally:
        await opened.close()
    return True


@asynccontextmanager
async def calling_at(
    place: str,
    service: str,
    *contracts: ServiceDescriptor,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> AsyncIterator[grpc.aio.Channel]:
    """The same for a service at *place* (host:port)."""
    if is_loopback(place):
        _past_the_proxy()
    opened = channel(place, *contracts, token=token, tls=tls)
    try:
        yield opened
    except grpc.RpcError as error:
        raise _failure(error, service, place) from None
    finally:
        await opened.close()


def token_of(chosen: Settings) -> str | None:
    """The token commands show: ``REACH_TOKEN``, else what REACH_SERVICE_TOKEN_FILE holds."""
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if given:
        return given
    file = chosen.service_token_file
    return watched_token(file).current() if file is not None else None


def _failure(error: grpc.RpcError, service: str, place: str) -> ReachError:
    failure = from_call(error)
    if isinstance(failure, Unavailable) and not _was_answered(error):
        return Unavailable(
            failure.reason,
            f"the {service} cannot be reached at {place}: start it (reach up, or reach serve {service}), "
            f"or say where it is with REACH_{service.upper()}_TARGET",
        )
    if isinstance(failure, Unauthenticated):
        return Unauthenticated(
            failure.reason, f"{failure.message}; put a token into {TOKEN_VARIABLE} (reach token create)"
        )
    return failure


def _was_answered(error: grpc.RpcError) -> bool:
    """Whether the service itself spoke; what the library says of a dead target carries no details."""
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError of the library is one
    return any(key == "grpc-status-details-bin" for key, _ in call.trailing_metadata() or ())


def _past_the_proxy() -> None:
    """A proxy for the outside must not stand between a command and this machine; grpc asks for one."""
    for name in ("no_proxy", "NO_PROXY"):
        _extend(name, _LOOPBACK)


def _extend(name: str, hosts: Sequence[str]) -> None:
    listed = [host for host in os.environ.get(name, "").split(",") if host]
    os.environ[name] = ",".join([*listed, *(host for host in hosts if host not in listed)])
