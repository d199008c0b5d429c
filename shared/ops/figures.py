"""Reads what stands in a process's databases into its metrics: how much waits, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from shared.bus import Bus
from shared.clock import Clock, DatabaseClock
from shared.db import outbox
from shared.ops.part import Part
from shared.supervise import Supervisor, Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

EVERY: Final = 10.0
"""Seconds between two readings: as often as anybody scrapes."""
UNKNOWN_COUNTED: Final = 1000
"""Of a service: more than so many are told as so many."""


class Figures:
    """One loop for all services of a process. Each reading is a few statements over partial indexes."""

    def __init__(
        self, parts: Sequence[Part], bus: Bus, supervisor: Supervisor, clock: Clock, numbers: Metrics
    ) -> None:
        self._parts = parts
        self._bus = bus
        self._supervisor = supervisor
        self._clock = clock
        self._numbers = numbers

    async def run(self, turn: Turn) -> None:
        """Read for ever."""
        while True:
            await self.read()
            turn()
            await asyncio.sleep(EVERY)

    async def read(self) -> None:
        """Read once. Raises Unavailable where a database does not answer."""
        if isinstance(self._clock, DatabaseClock):
            self._numbers.set(metrics.CLOCK_DISAGREEMENTS, self._clock.disagreements)
        status = self._bus.status()
        self._numbers.set(metrics.BROKER_CONNECTED, status.connected)
        self._numbers.set(metrics.BROKER_BLOCKED, status.blocked)
        for loop, age in self._supervisor.ages().items():
            self._numbers.set(metrics.LOOP_AGE, age.total_seconds(), loop=loop)
        for part in self._parts:
            await self._waiting(part)
            await self._unknown(part)

    async def _waiting(self, part: Part) -> None:
        now = self._clock.now()
        async with part.database.read() as conn:
            backlog = await outbox.backlog(conn)
            depths = {name: await queue.depth(conn) for name, queue in part.queues.items()}
        self._numbers.set(metrics.OUTBOX_PENDING, backlog.pending, service=part.service)
        oldest = _seconds(now, backlog.oldest_created_at)
        self._numbers.set(metrics.OUTBOX_OLDEST, oldest, service=part.service)
        for name, depth in depths.items():
            labels = {"service": part.service, "queue": name}
            counts: Mapping[str, int] = {
                "pending": depth.pending,
                "deferred": depth.deferred,
                "running": depth.running,
            }
            for state, count in counts.items():
                self._numbers.set(metrics.DUE_ROWS, count, state=state, **labels)
            self._numbers.set(metrics.DUE_OLDEST, _seconds(now, depth.oldest_due_at), **labels)

    async def _unknown(self, part: Part) -> None:
        found = await part.unknown.list_unknown(None, "", UNKNOWN_COUNTED)
        oldest = min((one.unknown_at for one in found), default=None)
        self._numbers.set(metrics.UNKNOWN_OPEN, len(found), service=part.service)
        age = _seconds(self._clock.now(), oldest)
        self._numbers.set(metrics.UNKNOWN_OLDEST, age, service=part.service)


def _seconds(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(timedelta(0), now - since).total_seconds()
