"""What every loop does alike that works on the due rows of one queue, several at once: begin, stop, take over, recall."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy import RowMapping, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue
from shared.db.recalling import CLOCKS_DIFFER, recall
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

POLL: Final = 1.0
"""Seconds after which a loop looks again, though nobody woke it."""
_REAP_EVERY: Final = 2.0
_RECALL_EVERY: Final = 30.0
"""And whenever the clock is seen to have gone back: it may have done so before we began, or in another process."""
_ANY_LEASE: Final = datetime(9000, 1, 1, tzinfo=UTC)
_log = structlog.get_logger("reach.due_worker")

Held = TypeVar("Held")
"""A row in hand, as its worker reads it."""


class DueWorker(ABC, Generic[Held]):
    """Works on the rows of *queue*, which lie in *table*; how it claims and what it does with them is the subclass's."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        table: Table,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        service: str,
        lease: timedelta,
        batch: int,
    ) -> None:
        """*service* is a metric's label; at most *batch* rows are taken over in one transaction."""
        self._database = database
        self._queue = queue
        self._table = table
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._service = service
        self._lease = lease
        self._batch = batch
        self._calls: set[asyncio.Task[None]] = set()
        self._reaped_at = self._recalled_at = float("-inf")
        self._seen_at = clock.now()
        self._closed = False
        self._claiming = asyncio.Lock()

    @abstractmethod
    def _read(self, row: RowMapping) -> Held:
        """A claimed row."""

    @abstractmethod
    async def _bury(self, one: Held) -> None:
        """Settle a row whose holder is gone; this replica holds it now."""

    async def drain(self, timeout: float) -> None:
        """Begin nothing more, and wait until what is under way is settled, at most *timeout* seconds."""
        self._closed = True
        async with self._claiming:  # a claim that was under way has begun its calls
            pass
        if self._calls:
            await asyncio.wait(self._calls, timeout=timeout)

    async def settled(self) -> None:
        """Wait until what is under way is settled; every call is bounded."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def take_over_orphans(self) -> None:
        """Take over everything that is under a lease, expired or not: this database has no other process."""
        await self._take_over(_ANY_LEASE)

    async def recall(self) -> None:
        """Bring back what a clock that has gone back since would keep waiting; what it waits for is judged anew."""
        seen, now = self._seen_at, self._clock.now()
        self._seen_at = now
        if seen - now < CLOCKS_DIFFER and time.monotonic() - self._recalled_at < _RECALL_EVERY:
            return
        self._recalled_at = time.monotonic()
        await self._database.transact(
            lambda conn: recall(conn, self._table, self._queue.running, now, self._lease)
        )

    async def _claim(self, conn: AsyncConnection, limit: int) -> list[Held]:
        now = self._clock.now()
        await self._queue.promote(conn, now)
        rows = await self._queue.claim(conn, self._owner, now, self._lease, limit)
        return [self._read(row) for row in rows]

    def _begin(self, call: Coroutine[Any, Any, None], name: str) -> None:
        """Have *call* run beside the loop; its row stays in hand until it ends."""
        task = asyncio.create_task(call, name=name)
        self._calls.add(task)
        task.add_done_callback(self._done)

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (failure := call.exception()) is not None:
            # Its row stays in hand until the lease runs out; then it is taken over.
            _log.error("settling failed", task=call.get_name(), exc_info=failure)

    async def _until_due(self) -> float:
        """Seconds until there is something to claim, as far as the rows tell."""
        async with self._database.read() as conn:
            due = await self._queue.next_due(conn)
        if due is None:
            return POLL
        return min(POLL, max(0.01, (due - self._clock.now()).total_seconds()))

    async def _reap(self) -> None:
        if time.monotonic() - self._reaped_at < _REAP_EVERY:
            return
        self._reaped_at = time.monotonic()
        await self.recall()
        await self._take_over(self._clock.now())

    async def _take_over(self, expired_by: datetime) -> None:
        while True:
            late = await self._database.transact(lambda conn: self._expired(conn, expired_by))
            for one in late:
                self._numbers.add(metrics.LEASES_LOST, service=self._service)
                await self._bury(one)
            if len(late) < self._batch:
                return

    async def _expired(self, conn: AsyncConnection, expired_by: datetime) -> list[Held]:
        rows = await self._queue.expired(conn, self._owner, expired_by, self._lease, self._batch)
        return [self._read(row) for row in rows]
