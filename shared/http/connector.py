"""aiohttp's connector, made to say when a connection stood and to distrust idle sockets."""

from __future__ import annotations

import select
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakSet

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


@dataclass(slots=True)
class Progress:
    """How far one call has come."""

    stood: bool = False
    """Whether a connection was handed out, after which bytes may have been written."""


progress_of_call: ContextVar[Progress] = ContextVar("progress_of_call")
"""Set around every call; aiohttp runs ``connect`` in the caller's own task."""


class Connector(aiohttp.TCPConnector):
    """A TCP connector that marks the call's :class:`Progress`.

    Where a failure happened is more honest than what it is called: everything raised inside
    ``connect`` (name, socket, TLS) precedes the first byte of the request, everything after may
    follow it, and one exception class can mean either.
    """

    def __init__(self, *, limit: int, idle: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=idle)
        self._known: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection fit for use: new, or idle and silent."""
        progress = progress_of_call.get()
        progress.stood = False
        connection = await super().connect(req, traces, timeout)
        while self._is_stale(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        progress.stood = True
        return connection

    def _is_stale(self, connection: Connection) -> bool:
        """Whether an idle socket has something to read, which can only be its end.

        A busy event loop learns of a closed socket late; asking the system narrows the time in
        which a request is written into the void (and its outcome lost) to microseconds.
        """
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            return True
        if protocol not in self._known:
            self._known.add(protocol)
            return False
        sock = transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))
