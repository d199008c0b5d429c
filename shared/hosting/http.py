"""The HTTP listener of a process: callbacks and events, served by uvicorn inside our own loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.environment import ConfigurationError
from shared.settings import Address

HEADER_SECONDS = 5.0
"""How long a request's line and headers may take to arrive; uvicorn bounds what is idle, not what drips."""


class _Protocol(H11Protocol):
    """Ends a connection whose next request does not begin to be one in time: a few strangers who say nothing, or a byte
    now and then, would else hold every place there is."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEADER_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._in_time()
        elif self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpDoor:
    """Serves *routes* on one address, by *tls* where there is one."""

    def __init__(self, routes: Sequence[BaseRoute], tls: ssl.SSLContext | None = None) -> None:
        self._app = Starlette(routes=list(routes))
        self._tls = tls
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, listen: Address) -> Address:
        """Listen and serve; the address as bound. Raises ``ConfigurationError`` when it is taken."""
        try:
            listener = socket.create_server((listen.host, listen.port), backlog=128)
        except OSError as error:
            why = (error.strerror or str(error)).partition(" (")[0].lower()
            raise ConfigurationError(
                [
                    f"cannot listen on {listen}: {why}. Stop what uses it or set REACH_HTTP_LISTEN to another "
                    "address (port 0 picks a free one)."
                ]
            ) from None
        listener.setblocking(False)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,  # httptools knows no bound for headers
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            limit_concurrency=200,
        )
        config.load()
        config.ssl = self._tls  # made by us: uvicorn reads its files once and never again
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        while not self._server.started:
            await asyncio.wait([self._task], timeout=0.01)
            if self._task.done():
                raise OSError(f"HTTP on {listen} ended at once")
        return Address(listen.host, listener.getsockname()[1])

    async def close(self) -> None:
        """Take no new request, let running ones finish for five seconds."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = None
