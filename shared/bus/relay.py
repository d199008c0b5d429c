"""From the outbox to the bus: what a transaction announced is published until it is confirmed."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus import Bus, Outgoing
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.errors import Unavailable
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_GATHER_SECONDS = 0.02
_CLAIM = timedelta(seconds=30)
"""Longer than a publish may take, so that no other relay publishes the same rows meanwhile."""
_LONGEST_RETRY = timedelta(seconds=30)


class OutboxRelay:
    """Publishes due outbox rows; woken by whoever adds some, and looking once a second in any case.

    Any number of relays may share an outbox. A row whose confirm did not come is published again under the same id.
    """

    def __init__(self, database: Database, bus: Bus, clock: Clock, numbers: Metrics, *, service: str) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._numbers = numbers
        self._service = service
        self._owner = f"relay-{uuid.uuid4().hex[:12]}"
        self._signal = database.wakeups.listen(outbox.WAKEUP)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._published: list[str] = []
        self._failures: list[outbox.Failure] = []
        self._full = False

    async def take_over_orphans(self) -> None:
        """Publish at once what a relay that died had claimed; before ``start``, where no other can be alive."""
        async with self._database.write() as connection:
            await outbox.release(connection, self._clock.now())

    def start(self) -> None:
        """Begin to relay in the background."""
        self._task = asyncio.create_task(self._run(), name="outbox relay")

    async def close(self) -> None:
        """Finish the batch under way, then end."""
        self._stopping = True
        self._signal.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            wait = _POLL_SECONDS
            try:
                if await self.relay_once():
                    wait = 0.0 if self._full else _GATHER_SECONDS
            except Unavailable as error:
                log.warning("outbox relay: %s", error.reason)
            except Exception:  # a supervised loop outlives its bugs, and says so
                log.exception("outbox relay failed; going on")
            if wait == _GATHER_SECONDS:
                # More is on its way and nobody waits for it: one transaction for what gathers in a moment.
                await asyncio.sleep(wait)
            elif wait and not self._stopping:
                await self._signal.wait(wait)
        try:
            await self._settle()
        except (
            Unavailable
        ) as error:  # what was confirmed and not written is published once more, under its own id
            log.warning("outbox relay: %s", error.reason)

    async def relay_once(self) -> int:
        """Publish one batch of due rows; how many were confirmed (0: nothing is due, or the bus takes nothing).

        What became of it is written with the next claim, in one transaction.
        """
        claimed = await self._database.transact(self._turn)
        self._published, self._failures = [], []
        self._full = len(claimed) >= outbox.CLAIM_LIMIT
        if not claimed:
            return 0
        self._note(claimed, await self._bus.publish([_outgoing(row) for row in claimed]))
        return len(self._published)

    async def _settle(self) -> None:
        """Write what became of the last batch, when no further claim will."""
        if self._published or self._failures:
            await self._database.transact(self._write)
            self._published, self._failures = [], []

    async def _turn(self, connection: AsyncConnection) -> list[outbox.Claimed]:
        await self._write(connection)
        return await outbox.claim(connection, self._owner, self._clock.now(), _CLAIM)

    async def _write(self, connection: AsyncConnection) -> None:
        await outbox.mark_published(connection, self._published, self._clock.now())
        await outbox.mark_failed(connection, self._failures)

    def _note(self, claimed: Sequence[outbox.Claimed], answers: Sequence[Exception | None]) -> None:
        now = self._clock.now()
        for row, answer in zip(claimed, answers, strict=True):
            if answer is None:
                self._published.append(row.id)
            else:
                self._failures.append(
                    outbox.Failure(row.id, row.epoch, str(answer), now + _retry(row.attempts))
                )
        for outcome, rows in (("confirmed", self._published), ("failed", self._failures)):
            if rows:
                self._numbers.add(metrics.PUBLISH, len(rows), service=self._service, outcome=outcome)
        if self._failures:
            log.warning(
                "outbox relay: %d of %d not confirmed: %s",
                len(self._failures),
                len(claimed),
                self._failures[0].error,
            )


def _outgoing(row: outbox.Claimed) -> Outgoing:
    """The row as a message. The event's own id is in its headers: a row's may be another, unique over all stores."""
    return Outgoing(
        row.headers.get("cloudEvents:id", row.id), row.type, row.body, row.content_type, row.headers
    )


def _retry(attempts: int) -> timedelta:
    """Full jitter over a doubling span: 1 s at first, 30 s at most."""
    span = min(2.0 ** min(attempts, 10), _LONGEST_RETRY.total_seconds())
    return timedelta(seconds=random.uniform(span / 2, span))
