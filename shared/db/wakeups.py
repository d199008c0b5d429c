"""Wake-ups: tell whoever waits for work that a transaction has just committed some.

A wake-up saves waiting for the next poll and nothing else: it may be lost (a connection was down)
or come for nothing, so every waiter polls too, only rarely.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import Any
from weakref import WeakSet

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.faults import first_line
from shared.values import value_class

log = logging.getLogger(__name__)

_NOTED = "reach.wakeups"
_NOTIFY = text(
    "SELECT pg_notify(:channel, :sender || ' ' || name) FROM unnest(CAST(:names AS text[])) AS name"
)
_ALIVE_EVERY = 15.0
_LONGEST_PAUSE = 5.0


class Signal:
    """A flag that one loop waits for. Setting it twice wakes once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the waiter, or let its next wait return at once."""
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds for the flag, and clear it. True: it was set."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


@value_class
class Noted:
    """The names one transaction will wake."""

    here: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)


class Wakeups:
    """The signals of one `Database`: local ones at once, other replicas' by LISTEN/NOTIFY."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.sender = uuid.uuid4().hex
        self._signals: defaultdict[str, WeakSet[Signal]] = defaultdict(WeakSet)

    def listen(self, name: str) -> Signal:
        """A signal of its own for the caller, set by every `notify` of *name* while it is referenced."""
        signal = Signal()
        self._signals[name].add(signal)
        return signal

    def notify(self, connection: AsyncConnection, *names: str, others: bool = True) -> None:
        """Wake the listeners of *names*, here and in other replicas, if this transaction commits.

        Without *others* only here: for work that this process takes up itself, which saves a round trip.
        """
        noted = connection.info.get(_NOTED)
        if noted is None:
            raise LookupError("wake-ups belong to a transaction begun with Database.write()")
        noted.here.update(names)
        if others:
            noted.elsewhere.update(names)

    def deliver(self, names: Collection[str]) -> None:
        """Set the local signals of *names*."""
        for name in names:
            for signal in tuple(self._signals.get(name, ())):
                signal.set()

    def deliver_all(self) -> None:
        """Set every local signal: something may have been missed."""
        self.deliver(tuple(self._signals))

    @contextmanager
    def noting(self, connection: AsyncConnection, noted: Noted) -> Iterator[None]:
        """Note in *noted* the names given during one transaction; `Database` calls this."""
        info = connection.info  # lives as long as the connection, and so longer than the transaction
        info[_NOTED] = noted
        try:
            yield
        finally:
            info.pop(_NOTED, None)

    async def announce(self, connection: AsyncConnection, names: Collection[str]) -> None:
        """Hand *names* to PostgreSQL, which passes them on when (and if) the transaction commits."""
        parameters = {"channel": self.channel, "sender": self.sender, "names": sorted(names)}
        await connection.execute(_NOTIFY, parameters)

    def receive(self, payload: str) -> None:
        """Take one notification as `announce` wrote it; our own were delivered at commit."""
        sender, _, name = payload.partition(" ")
        if sender != self.sender:
            self.deliver((name,))


class Listener:
    """Keeps one dedicated PostgreSQL connection listening, and comes back when it is lost."""

    def __init__(self, conninfo: Mapping[str, Any], wakeups: Wakeups) -> None:
        self._conninfo = conninfo
        self._wakeups = wakeups
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def start(self) -> None:
        """Begin to listen in the background; an unreachable server is tried again for ever."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wakeups")

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        pause = 0.1
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                log.warning("wake-ups interrupted, polling until the database is back: %s", first_line(error))
            except Exception:  # a supervised loop outlives its bugs, and says so
                log.exception("wake-ups failed")
            if self.connected.is_set():
                self.connected.clear()
                pause = 0.1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(**self._conninfo, autocommit=True)
        async with connection:
            await connection.execute(psycopg.sql.SQL("LISTEN {}").format(self._channel()))
            self.connected.set()
            self._wakeups.deliver_all()  # what was committed while nobody listened
            while True:
                async for notice in connection.notifies(timeout=_ALIVE_EVERY):
                    self._wakeups.receive(notice.payload)
                await connection.execute("SELECT 1")  # a half-open connection shows itself here

    def _channel(self) -> psycopg.sql.Identifier:
        return psycopg.sql.Identifier(self._wakeups.channel)
