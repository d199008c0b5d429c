"""What time it is, handed in: the only place that asks the host.

``SystemClock`` for one process on SQLite, ``DatabaseClock`` for replicas that share a PostgreSQL,
``SandboxClock`` for tests that play days across processes, ``ManualClock`` within a test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from shared.values import value_class

DISAGREEMENT = timedelta(seconds=5)
"""Clocks further apart than this are worth a warning and a count."""

_log = structlog.get_logger("reach.clock")


class Clock(Protocol):
    """Tells the shared time. Time-outs inside a process use ``time.monotonic`` instead."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC; never earlier than the answer before."""
        ...


class SystemClock:
    """The host's clock, held steady: a wall clock set back does not take time back with it."""

    def __init__(self) -> None:
        self._anchor = datetime.now(UTC)
        self._started = time.monotonic()

    def now(self) -> datetime:
        """The anchor plus what has passed since, by the monotonic clock."""
        return self._anchor + timedelta(seconds=time.monotonic() - self._started)


class ManualClock:
    """A clock that moves only when told to; for tests and previews."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The instant it was last moved to."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move forward by *by*."""
        self._now += by


class DatabaseClock:
    """The database's time, carried forward by the monotonic clock between looks.

    All replicas that share a database share its time, whatever their hosts believe. The answer never
    goes back: when the database's time does, by a little, this clock waits for it; by more than
    ``DISAGREEMENT``, it goes on by the monotonic clock from the last good point, and says so.
    A jump forward is followed at once.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[datetime]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._anchor: datetime | None = None
        self._anchored_at = 0.0
        self._last = datetime.min.replace(tzinfo=UTC)
        self.disagreements = 0
        """How often the database was more than ``DISAGREEMENT`` away from what was expected."""

    def now(self) -> datetime:
        """The database's time, as well as it is known. RuntimeError before the first ``sync``."""
        if self._anchor is None:
            raise RuntimeError("the clock has not been synchronised yet; await sync() first")
        carried = self._anchor + timedelta(0, self._monotonic() - self._anchored_at)
        if carried > self._last:
            self._last = carried
        return self._last

    async def sync(self) -> None:
        """Look at the database's time once. Raises what ``fetch`` raises, and keeps its course then."""
        before = self._monotonic()
        fetched = (await self._fetch()).astimezone(UTC)
        middle = before + (self._monotonic() - before) / 2
        if self._anchor is not None:
            ahead = fetched - (self._anchor + timedelta(seconds=middle - self._anchored_at))
            if abs(ahead) > DISAGREEMENT:
                self.disagreements += 1
                _log.warning("clock disagreement", database_ahead_seconds=ahead.total_seconds())
            if ahead < -DISAGREEMENT:
                return
        self._anchor, self._anchored_at = fetched, middle

    async def follow(self, turn: Callable[[], None], every: timedelta = timedelta(seconds=30)) -> None:
        """The background loop: look every 30 s."""
        while True:
            await self.sync()
            turn()
            await asyncio.sleep(every.total_seconds())


@value_class
class Reading:
    """What the sandbox's clock said."""

    now: datetime
    frozen: bool
    version: int
    """Grows with every change somebody made to the clock."""


class SandboxClock:
    """The sandbox's clock, so that days pass in a test, in all processes at once.

    It runs, stands still or jumps as the sandbox says. Between jumps it never goes back; a jump that
    somebody asked for (a new version) is followed wherever it leads.
    """

    def __init__(
        self,
        read: Callable[[int | None, float], Awaitable[Reading]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """*read(version, wait)* asks the sandbox (``sandbox_reader``): at once when *version* is None,
        else when the version is another one or *wait* seconds have passed."""
        self._read = read
        self._monotonic = monotonic
        self._reading: Reading | None = None
        self._read_at = 0.0
        self._last = datetime.min.replace(tzinfo=UTC)
        self._jumped = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next jump; take a new one after that. Who sleeps until an instant waits on it too."""
        return self._jumped

    def now(self) -> datetime:
        """The sandbox's time. RuntimeError before the first ``sync``."""
        reading = self._reading
        if reading is None:
            raise RuntimeError("the sandbox's clock has not been read yet; await sync() first")
        passed = 0.0 if reading.frozen else self._monotonic() - self._read_at
        self._last = max(self._last, reading.now + timedelta(seconds=passed))
        return self._last

    async def sync(self) -> None:
        """Read the clock once, now."""
        self._take(await self._read(None, 0.0))

    async def follow(self, turn: Callable[[], None], wait: float = 20.0) -> None:
        """The background loop: hear of every jump as it happens."""
        while True:
            version = None if self._reading is None else self._reading.version
            self._take(await self._read(version, wait))
            turn()

    def _take(self, reading: Reading) -> None:
        jumped = self._reading is not None and reading.version != self._reading.version
        self._reading, self._read_at = reading, self._monotonic()
        if jumped:
            self._last = reading.now
            woken, self._jumped = self._jumped, asyncio.Event()
            woken.set()


@asynccontextmanager
async def sandbox_reader(base_url: str) -> AsyncIterator[Callable[[int | None, float], Awaitable[Reading]]]:
    """Reads ``GET {base_url}/sandbox/clock`` for a ``SandboxClock``; holds one connection."""
    import aiohttp  # only processes that follow the sandbox need it here

    async with aiohttp.ClientSession(trust_env=False) as session:

        async def read(version: int | None, wait: float) -> Reading:
            query = {} if version is None else {"version": str(version), "wait": f"{wait:g}"}
            bound = aiohttp.ClientTimeout(total=wait + 5)
            async with session.get(f"{base_url}/sandbox/clock", params=query, timeout=bound) as reply:
                reply.raise_for_status()
                body = await reply.json()
            now = datetime.fromisoformat(body["now"]).astimezone(UTC)
            return Reading(now, bool(body["frozen"]), int(body["version"]))

        yield read
