"""Kept connections to one destination."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

from shared.http.connection import Connection
from shared.http.failures import Kind


class Unreachable(Exception):
    """There is no connection to write to; nothing was sent."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.detail = detail


class Pool:
    """Connections to one host and port; the one used last is used next, so that spare ones grow old and go."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        limit: int,
        wait: float,
        connect_timeout: float,
        idle: float,
        max_body: int,
    ) -> None:
        """At most *limit* are in use; one waits *wait* seconds for a place. The rest is as in ``Caller``."""
        self._host = host
        self._port = port
        self._tls = tls
        self._wait = wait
        self._connect_timeout = connect_timeout
        self._idle = idle
        self._max_body = max_body
        self._places = asyncio.Semaphore(limit)
        self._all: set[Connection] = set()
        self._spare: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._shut = False
        self._connecting: set[asyncio.Timeout] = set()

    @property
    def spare(self) -> int:
        """How many open connections wait for their next use."""
        return len(self._spare)

    async def take(self, until: float) -> Connection:
        """A connection to be given ``back``, had before *until* on the loop's clock. Raises ``Unreachable``."""
        if self._shut:
            raise Unreachable(Kind.SHUT)
        if self._places.locked():
            await self._wait_for_place(until)
        else:
            await self._places.acquire()
        try:
            if self._shut:
                raise Unreachable(Kind.SHUT)
            return self._take_spare() or await self._connect(until)
        except BaseException:
            self._places.release()
            raise

    def back(self, connection: Connection) -> None:
        """Take *connection* back after its exchange."""
        self._places.release()
        if not connection.open:
            connection.close()
            return
        self._spare.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle, self._sweep_out)

    def close(self) -> None:
        """Close every connection; exchanges under way are lost, and nothing is given out any more."""
        self._shut = True
        for bound in self._connecting:
            if not bound.expired():
                bound.reschedule(0)
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._all):
            connection.give_up(Kind.CLOSED)

    async def _wait_for_place(self, until: float) -> None:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._wait, left)):
                await self._places.acquire()
        except TimeoutError:
            raise Unreachable(Kind.POOL_TIMEOUT if self._wait < left else Kind.DEADLINE) from None

    def _take_spare(self) -> Connection | None:
        while self._spare:
            connection = self._spare.pop()
            if connection.open and self._young(connection) and connection.silent:
                return connection
            connection.close()
        return None

    def _young(self, connection: Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since < self._idle

    def _sweep_out(self) -> None:
        """Close what has been spare for too long; the oldest are in front."""
        self._sweep = None
        while self._spare and not self._young(self._spare[0]):
            self._spare.pop(0).close()
        if self._spare:
            self._sweep = asyncio.get_running_loop().call_later(self._idle, self._sweep_out)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._spare:
            self._spare.remove(connection)

    async def _connect(self, until: float) -> Connection:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._connect_timeout, left)) as bound:
                self._connecting.add(bound)
                try:
                    connection = await self._first_that_answers()
                finally:
                    self._connecting.discard(bound)
        except TimeoutError:
            if self._shut:
                raise Unreachable(Kind.SHUT) from None
            kind = Kind.CONNECT_TIMEOUT if self._connect_timeout < left else Kind.DEADLINE
            raise Unreachable(kind) from None
        if self._shut:
            connection.give_up(Kind.SHUT)
            raise Unreachable(Kind.SHUT)
        return connection

    async def _first_that_answers(self) -> Connection:
        """A connection to the first address of the host that takes one."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(Kind.DNS, _word(error)) from None
        failure = Unreachable(Kind.DNS)
        for address in dict.fromkeys(str(one[4][0]) for one in found):
            try:
                return await self._open(address)
            except OSError as error:
                failure = _failed(error)
        raise failure

    async def _open(self, address: str) -> Connection:
        connection = Connection(self._max_body, self._forget)
        self._all.add(connection)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                address,
                self._port,
                ssl=self._tls,
                server_hostname=self._host if self._tls else None,
            )
        except BaseException:
            connection.give_up(Kind.SHUT)
            self._all.discard(connection)
            raise
        return connection


def _failed(error: OSError) -> Unreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(Kind.CERTIFICATE, str(error.verify_message))
    if isinstance(error, ssl.SSLError):
        return Unreachable(Kind.TLS, str(error.reason or ""))
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(Kind.REFUSED, _word(error))
    return Unreachable(Kind.CONNECT, _word(error))


def _word(error: OSError) -> str:
    """The system's own word, which cannot hold a URL."""
    return errno.errorcode.get(error.errno or 0, "")
