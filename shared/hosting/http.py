"""The HTTP listener of a process: callbacks and events, served by uvicorn inside our own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from shared.environment import ConfigurationError
from shared.settings import Address


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpDoor:
    """Serves *routes* on one address."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._app = Starlette(routes=list(routes))
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
            http="h11",  # httptools knows no bound for headers
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            limit_concurrency=200,
        )
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
