"""Serving the sandbox inside whatever event loop is running, without touching its signal handlers."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.app import create_app
from sandbox.profile import Profile
from sandbox.wire import CONNECTION
from sandbox.world import World

Base: Any = H11Protocol
with contextlib.suppress(ImportError):  # the faster parser, where it is installed
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    Base = HttpToolsProtocol


class Connection(Base):  # type: ignore[misc]
    """A connection that calls can reach through the ASGI state, to end it beneath HTTP."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, {**app_state, CONNECTION: self}, _loop)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, world: World) -> None:
        super().__init__(config)
        self._world = world
        self.serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._world.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    """A sandbox that is serving."""

    def __init__(self, url: str, world: World, server: _Server, task: asyncio.Task[None]) -> None:
        self.url = url
        self.world = world
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """Stop serving: waiting calls are let go, answers under way get two seconds. May be called twice."""
        self._server.should_exit = True
        await asyncio.shield(self._task)


async def start(listen: str, profile: Profile | None = None) -> Running:
    """Serve on `host:port` (port 0: a free one) and return once calls are accepted.

    OSError when the address cannot be bound, ValueError when it cannot be read. Time-outs of the server itself run
    on the host's clock, never on the sandbox's.
    """
    app = create_app(profile)
    bound = _bind(listen)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,  # the gateway's answers bear the sandbox clock's, as a vendor's bear the vendor's
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, app.world)
    task = asyncio.create_task(server.serve([bound]), name="sandbox")
    ready = asyncio.create_task(server.serving.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if not server.serving.is_set():
        ready.cancel()
        await task
        raise OSError("the sandbox stopped before it served")
    host, port = bound.getsockname()[:2]
    return Running(f"http://{f'[{host}]' if ':' in host else host}:{port}", app.world, server, task)


def _bind(listen: str) -> socket.socket:
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{listen!r} is not host:port")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, int(port)))
    except BaseException as error:
        bound.close()
        if isinstance(error, OSError):
            error.filename = listen
        raise
    return bound
