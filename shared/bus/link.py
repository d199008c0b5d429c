"""One connection to the broker, kept: opened, given to a session, and opened again whenever that ends."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from shared.bus.topology import TopologyMismatch

log = logging.getLogger(__name__)

T = TypeVar("T")

_RPC_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0  # back within 5 s of the broker's return, and no crowd at its door
_STEADY_SECONDS = 10.0


class Lost(Exception):
    """The connection, channel or consumer is gone; only starting over helps. Names no address."""


async def call(awaitable: Awaitable[T], timeout: float = _RPC_SECONDS) -> T:
    """Await an operation of the AMQP library; whatever it makes of a lost channel becomes ``Lost``.

    The library may raise ``CancelledError`` into a caller whom nobody cancelled.
    """
    try:
        async with asyncio.timeout(timeout):
            return await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Lost("the channel closed") from None
    except TimeoutError:
        raise Lost("no answer from the broker in time") from None
    except (AMQPError, OSError, RuntimeError) as error:
        raise Lost(type(error).__name__) from error


class Link:
    """Keeps one connection and runs *session* on it, again and again, until ``stop``."""

    def __init__(self, url: str, name: str, session: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        given = URL(url)
        self._url = given.update_query({"heartbeat": "20", "name": name, **given.query})
        self._name = name
        self._session = session
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        self.mismatch: TopologyMismatch | None = None
        """Why the first session could not start, when that is a matter of configuration."""
        self.last_error: str | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name=f"amqp {self._name}")

    async def settled(self, timeout: float) -> None:
        """Wait until the first session stands or has failed, at most *timeout* seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), timeout)

    def stands(self) -> None:
        """For the session to say that it is at work."""
        self._settled.set()

    async def stop(self, *, grace: float) -> None:
        """Let the session end by itself for *grace* seconds, then end it."""
        self._stopping.set()
        if self._task is None:
            return
        if grace > 0:
            await asyncio.wait({self._task}, timeout=grace)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            started = loop.time()
            try:
                await self._once()
            except TopologyMismatch as error:
                self._fail(str(error))
                self.mismatch = error
            except Lost as error:
                self._fail(str(error))
            except Exception as error:
                log.exception("amqp session %s failed", self._name)
                self._fail(type(error).__name__)
            self._settled.set()
            failures = 0 if loop.time() - started > _STEADY_SECONDS else failures + 1
            pause = min(_FIRST_PAUSE * 2 ** min(failures, 8), _LONGEST_PAUSE)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause * random.uniform(0.5, 1.0))

    def _fail(self, error: str) -> None:
        self.last_error = error
        log.warning("amqp connection %s: %s; starting over", self._name, error)

    async def _once(self) -> None:
        connection = await call(aiormq.connect(self._url))
        try:
            await self._session(connection)
        finally:
            with suppress(Lost):
                await call(connection.close(), timeout=5.0)
