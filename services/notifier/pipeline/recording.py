"""Outcomes of many attempts, written in one transaction."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.announcing import announcement
from services.notifier.pipeline.books import Book
from services.notifier.pipeline.breakers import Breakers, Change
from services.notifier.pipeline.falling_back import Fallbacks
from services.notifier.pipeline.job import Finished
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.settling import Settled, late, settle
from services.notifier.store.work import Work
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.limits import release_many
from shared.errors import Invalid
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.outcome import Outcome, State

WAKEUP = "deliveries"
"""Given when deliveries become ready or change their due time."""

ALERTS = "alerts"
"""Given when a breaker opened or closed."""

_BLAMES_WHAT_IS_WRITTEN = (Invalid, DataError, TypeError, ValueError, OverflowError)
_UNWRITABLE = Outcome(
    State.UNKNOWN, cause="defect", detail="the answer could not be written down; see the log"
)

KeepCards = Callable[[AsyncConnection, Sequence[Settled]], Awaitable[None]]
"""Remembers the cards among what was settled, in the same transaction."""

BATCH = 200
_IDLE = 5.0
_log = structlog.get_logger("reach.notifier.attempts")


class Recorder:
    """Takes finished attempts off the queue and settles them."""

    def __init__(
        self,
        database: Database,
        work: Work,
        outcomes: asyncio.Queue[Finished],
        rates: Rates,
        rests: Rests,
        breakers: Breakers,
        fallbacks: Fallbacks,
        clock: Clock,
        numbers: Metrics,
        *,
        announce_accepted: bool = True,
        keep_cards: KeepCards | None = None,
        on_settled: Callable[[Sequence[str]], None] = lambda ids: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._work = work
        self._outcomes = outcomes
        self._rates = rates
        self._rests = rests
        self._breakers = breakers
        self._fallbacks = fallbacks
        self._clock = clock
        self._numbers = numbers
        self._announce_accepted = announce_accepted
        self._keep_cards = keep_cards
        self._on_settled = on_settled
        self._jitter = jitter
        self._batch: list[Finished] = []
        self._recorded = 0
        self._progress = asyncio.Event()

    async def caught_up(self, timeout: float) -> bool:
        """Wait until every outcome that is known now is recorded, at most *timeout* seconds; whether that is so."""
        known = self._recorded + len(self._batch) + self._outcomes.qsize()
        try:
            async with asyncio.timeout(timeout):
                while self._recorded < known:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, turn: Turn) -> None:
        """Record until cancelled. What could not be written stays in hand and is written first the next time."""
        while True:
            await self._gather()
            await self._empty_hands()
            turn()

    async def flush(self) -> None:
        """Record everything that is known now; for an orderly stop, after ``run`` has ended."""
        while self._batch or not self._outcomes.empty():
            await self._gather()
            await self._empty_hands()

    async def _empty_hands(self) -> None:
        while self._batch:
            done = await self._record_some()
            del self._batch[:done]
            self._recorded += done
            self._progress.set()

    async def _record_some(self) -> int:
        """Record from the front of what is in hand, as many together as can be; how many that was.

        An outcome that cannot be written must not keep the others from being written: it stands alone at last, and is
        recorded without what the platform said.
        """
        batch = self._batch
        while True:
            try:
                await self._record(batch)
            except _BLAMES_WHAT_IS_WRITTEN as error:
                batch = _smaller(batch, error)
            else:
                return len(batch)

    async def _gather(self) -> None:
        if self._batch:
            return
        try:
            async with asyncio.timeout(_IDLE):
                self._batch.append(await self._outcomes.get())
        except TimeoutError:
            return
        while len(self._batch) < BATCH and not self._outcomes.empty():
            self._batch.append(self._outcomes.get_nowait())

    async def _record(self, batch: Sequence[Finished]) -> None:
        now = self._clock.now()
        settled = [settle(one, now, self._jitter()) for one in batch]
        book = await self._fallbacks.book(settled)
        kept, changes = await self._database.transact(lambda conn: self._write(conn, settled, book))
        for one in settled:
            if one.next.rest_until is not None:
                self._rests.note(one.job.credential, one.next.rest_until)
        self._breakers.note(changes)
        self._measure(settled, kept)
        for finished in batch:
            if finished.outcome is not None:
                channel = finished.job.channel.partition(":")[0]
                seconds = (finished.finished_at - finished.started_at).total_seconds()
                self._numbers.observe(metrics.ATTEMPT_SECONDS, seconds, service="notifier", channel=channel)
        self._on_settled([one.job.delivery_id for one in settled])

    async def _write(
        self, conn: AsyncConnection, settled: Sequence[Settled], book: Book | None
    ) -> tuple[set[str], list[Change]]:
        kept = await self._work.settle(conn, [one.settlement for one in settled])
        await self._work.finish_attempts(
            conn, [one.attempt if one.job.delivery_id in kept else late(one.attempt) for one in settled]
        )
        if self._keep_cards is not None:
            await self._keep_cards(conn, settled)
        still_ours = [one for one in settled if one.job.delivery_id in kept]
        await self._work.mark_recipients(conn, [mark for one in still_ours for mark in one.marks])
        await self._release(conn, [one for one in still_ours if one.undelivered])
        await self._rests.save(conn, [one for one in still_ours if one.next.rest_until is not None])
        await self.announce(conn, still_ours)
        now = self._clock.now()
        more = await self._fallbacks.hand_on(conn, still_ours, book, now) if book is not None else []
        if more or any(not one.final or one.job.lane is not None for one in still_ours):
            self._database.wakeups.notify(conn, WAKEUP)
        changes = await self._breakers.record(conn, still_ours, now)
        if any(change.closed for change in changes):
            self._database.wakeups.notify(conn, WAKEUP)
        if any(change.opened or change.closed for change in changes):
            self._database.wakeups.notify(conn, outbox.WAKEUP, ALERTS, others=False)
        return kept, changes

    async def _release(self, conn: AsyncConnection, undelivered: Sequence[Settled]) -> None:
        # The platform counts what it refused, people do not.
        releases = [one for settled in undelivered for one in settled.job.counted]
        for settled in undelivered:
            if settled.unsent:
                releases += self._rates.releases(settled.job, settled.job.targets)
        await release_many(conn, releases, self._clock.now())

    async def announce(self, conn: AsyncConnection, settled: Sequence[Settled]) -> None:
        """Announce those of *settled* that are over, in the transaction that ends them."""
        ended = [one for one in settled if one.final and self._worth_announcing(one)]
        if ended:
            now = self._clock.now()
            await outbox.add(conn, [announcement(one, now) for one in ended])
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)

    def _worth_announcing(self, one: Settled) -> bool:
        return self._announce_accepted or one.next.status.value != "accepted"

    def _measure(self, settled: Sequence[Settled], kept: set[str]) -> None:
        ends = Counter((one.job.channel.partition(":")[0], one.attempt.state) for one in settled)
        for (channel, state), count in ends.items():
            self._numbers.add(metrics.ATTEMPTS, count, service="notifier", channel=channel, outcome=state)
        for one in settled:
            if one.attempt.state != "accepted":
                _log.warning("attempt", **_facts(one))
            if one.job.delivery_id not in kept:
                self._numbers.add(metrics.WRITES_FENCED, service="notifier")


def _smaller(batch: list[Finished], error: Exception) -> list[Finished]:
    """The first half of *batch*; a single one without its answer."""
    if len(batch) > 1:
        return batch[: len(batch) // 2]
    one = batch[0]
    if one.outcome is _UNWRITABLE:
        raise error
    _log.error("an outcome cannot be written as it is", delivery_id=one.job.delivery_id, exc_info=error)
    return [replace(one, outcome=_UNWRITABLE)]


def _facts(one: Settled) -> dict[str, object]:
    return {
        "delivery_id": one.job.delivery_id,
        "event_id": one.job.event_id,
        "store_id": one.job.store_id,
        "channel": one.job.channel,
        "attempt_no": one.job.attempt_no,
        "outcome": one.attempt.state,
        "errcode": one.errcode,
        "detail": one.attempt.detail,
        "then": one.next.status.value,
        "reason": one.next.reason or one.next.hold_reason,
    }
