"""A real server behind the real guard, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from shared.errors import Unauthenticated
from shared.rpc import client
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.principal import LOCAL_OPERATOR, Principal
from shared.rpc.server import RpcServer
from tests.rpc import contract


async def until(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds; the caller sets the bound."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0.005)


class Callers:
    """An authenticator with a fixed list; no token means the local operator unless ``closed``."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}
        self.closed = False

    async def authenticate(self, token: str | None) -> Principal:
        if token is None and not self.closed:
            return LOCAL_OPERATOR
        if token is None:
            raise Unauthenticated("TOKEN_MISSING", "send a token")
        if token not in self.known:
            raise Unauthenticated("TOKEN_INVALID", "unknown")
        return self.known[token]


@dataclass
class Served:
    server: RpcServer
    address: str
    health: HealthBoard
    channel: grpc.aio.Channel


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
async def serve(tmp_path: Path, callers: Callers) -> AsyncIterator[Serve]:
    running: list[Served] = []

    async def start(
        *,
        rules: dict[str, Any] | None = None,
        token: str | None = None,
        metrics: Any = None,
        **behaviours: Any,
    ) -> Served:
        health = HealthBoard([contract.NAME], period=0.05)
        server = RpcServer(
            f"unix:{tmp_path}/s{len(running)}",
            [contract.registrar(**behaviours)],
            rules=GuardRules(contract.SCOPES, **(rules or {})),
            authenticator=callers,
            health=health,
            metrics=metrics,
        )
        address = await server.start()
        channel = client.channel(address, contract.SERVICE, token=token)
        running.append(Served(server, address, health, channel))
        return running[-1]

    yield start
    for served in running:
        await served.channel.close()
        await served.server.stop(0)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The log lines of the RPCs made in the test."""
    with structlog.testing.capture_logs() as captured:
        yield captured
