"""The consuming side of one queue: takes what is there, acknowledges what was committed, notices when it is deaf."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from shared.bus import Handler, Incoming, Park
from shared.bus.batches import settle
from shared.bus.link import Lost, call
from shared.errors import Unavailable

log = logging.getLogger(__name__)

PROBATION = 50
"""Messages to commit one by one after an unclean stop, so that a poison among them takes no other along."""

SUSPECT = 3
"""Deliveries that failed before a message is handled alone."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_DRAIN_SECONDS = 5.0
_FRAMES = 4096


@dataclass(slots=True)
class Subscription:
    """What to consume, and how far probation has come; outlives connections."""

    queue: str
    handler: Handler
    park: Park
    batch: int
    abreast: int = 1
    """Batches handled side by side, as they would be by as many replicas."""
    probation: int = 0
    """Messages still to be committed one by one."""
    silence: float = 10.0
    """Seconds without a delivery after which to ask the broker whether there should have been one."""


@dataclass(slots=True)
class _Flight:
    """A batch that is being handled."""

    left: list[tuple[int, Incoming]]
    """Its messages that are not dealt with yet, under their tags."""
    alone: bool
    """Whether nothing else may be in flight beside it."""
    task: asyncio.Task[None] = field(init=False)


class Consumer:
    """Consumes one queue on one connection, until that breaks or ``stop`` is called."""

    def __init__(self, subscription: Subscription) -> None:
        self._sub = subscription
        self._channel: AbstractChannel | None = None
        self._tag: str | None = None
        self._buffer: deque[tuple[int, Incoming]] = deque()
        self._flights: deque[_Flight] = deque()
        self._unacked: deque[int] = deque()
        self._finished: set[int] = set()
        self._acking = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._broken: str | None = None
        self._stopping = False
        self._suspicions = 0

    @property
    def active(self) -> bool:
        """Whether messages are being taken: consuming, not paused, channel open."""
        return self._tag is not None and self._broken is None

    def stop(self) -> None:
        """Take nothing new; ``run`` returns once what is here has been handled, or after some seconds."""
        self._stopping = True
        self._stirred.set()

    def abandon(self) -> None:
        """Give up: ``run`` raises ``Lost`` as soon as the handler in flight has ended, unless it has returned."""
        self._break("the session ended")

    async def run(self, connection: AbstractConnection, on_active: Callable[[], None]) -> None:
        """Consume. Returns after ``stop``; raises ``Lost`` when the connection, channel or consumer is gone."""
        channel = await call(connection.channel(publisher_confirms=False, frame_buffer_size=_FRAMES))
        self._channel = channel
        channel.on_consumer_cancel_callbacks.add(lambda _: self._break("the broker cancelled the consumer"))
        closing = channel.closing
        closing.add_done_callback(lambda _: self._break("the consuming channel closed"))
        try:
            await self._consume(channel)
            on_active()
            await self._pump(connection, channel)
            await call(channel.close())  # after every acknowledgement sent before it
        finally:
            self._tag = None
            closing.cancel()
            for flight in self._flights:
                flight.task.cancel()
            await self._landed()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._stirred.set()

    async def _consume(self, channel: AbstractChannel) -> None:
        prefetch = 1 if self._sub.probation else (self._sub.abreast + 1) * self._sub.batch
        await call(channel.basic_qos(prefetch_count=prefetch))
        self._tag = (await call(channel.basic_consume(self._sub.queue, self._on_message))).consumer_tag

    async def _cancel(self, channel: AbstractChannel) -> None:
        tag, self._tag = self._tag, None
        if tag is not None:
            await call(channel.basic_cancel(tag))

    async def _on_message(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if tag is not None:
            self._buffer.append((tag, incoming(message)))
            self._unacked.append(tag)
            self._suspicions = 0
            self._stirred.set()

    async def _pump(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        loop, pause, drain_until = asyncio.get_running_loop(), _FIRST_PAUSE, float("inf")
        while True:
            self._stirred.clear()
            if self._broken is not None:
                await self._landed()  # handlers in flight may still commit
                raise Lost(self._broken)
            if self._stopping and drain_until == float("inf"):
                await self._cancel(channel)
                drain_until = loop.time() + _DRAIN_SECONDS
            if loop.time() < drain_until:
                while batch := self._next_batch():
                    self._start(batch)
            if not self._flights:
                if self._stopping:
                    return
                await self._wait(connection)
                continue
            try:
                if not await self._first_lands():
                    continue
            except Unavailable as error:
                await self._landed()
                if self._stopping:
                    return
                log.warning("%s: paused: %s", self._sub.queue, error.reason)
                await self._hold(channel, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                if self._tag is None and not self._stopping and self._broken is None:
                    await self._consume(channel)

    def _next_batch(self) -> list[tuple[int, Incoming]]:
        """The messages to be handled next; none when there are none, or too many in flight."""
        if not self._buffer or len(self._flights) >= self._sub.abreast:
            return []
        alone = self._sub.probation or _suspect(self._buffer[0]) or any(one.alone for one in self._flights)
        if alone and self._flights:
            return []  # so that it takes no other along
        limit = 1 if self._sub.probation else self._sub.batch
        batch: list[tuple[int, Incoming]] = []
        while self._buffer and len(batch) < limit:
            suspect = _suspect(self._buffer[0])
            if suspect and batch:
                break
            batch.append(self._buffer.popleft())
            if suspect:
                break
        return batch

    def _start(self, batch: list[tuple[int, Incoming]]) -> None:
        flight = _Flight(batch, alone=_suspect(batch[0]))
        messages = [message for _, message in batch]
        handled = settle(messages, self._sub.handler, self._sub.park, partial(self._done, flight))
        flight.task = asyncio.create_task(handled)
        flight.task.add_done_callback(lambda _: self._stirred.set())
        self._flights.append(flight)

    async def _first_lands(self) -> bool:
        """Wait until the oldest batch in flight is dealt with, or something else happened; raises what it raises."""
        flight = self._flights[0]
        if not flight.task.done():
            await self._stirred.wait()
            return False
        if flight.task.cancelled():
            raise Lost("a handler was cancelled")
        if flight.task.exception() is None:
            self._flights.popleft()
        flight.task.result()
        return True

    async def _landed(self) -> None:
        """Wait until no handler is in flight; what they did not deal with is in front of the buffer again."""
        await asyncio.gather(*(one.task for one in self._flights), return_exceptions=True)
        while self._flights:
            self._buffer.extendleft(reversed(self._flights.pop().left))

    async def _done(self, flight: _Flight, count: int) -> None:
        """Note that the *count* next messages of *flight* are dealt with; acknowledge all up to the first that is not.

        Tags belong to the channel: on a dead one they mean nothing.
        """
        dealt, flight.left = flight.left[:count], flight.left[count:]
        self._finished.update(tag for tag, _ in dealt)
        channel = self._channel
        if channel is None or self._broken is not None:
            return
        async with self._acking:  # a lower tag behind a higher one would be one the broker knows no more
            upto = 0
            while self._unacked and self._unacked[0] in self._finished:
                upto = self._unacked.popleft()
                self._finished.discard(upto)
            if not upto:
                return
            try:
                await call(channel.basic_ack(upto, multiple=True, wait=False))
            except Lost as error:
                self._break(str(error))
                return
        if self._sub.probation:
            self._sub.probation = max(0, self._sub.probation - count)
            if not self._sub.probation:
                await self._widen(channel)

    async def _widen(self, channel: AbstractChannel) -> None:
        """Leave probation: a consumer keeps the prefetch it was made with, so make another."""
        with suppress(Lost):  # seen by the pump, as the channel that closed
            await self._cancel(channel)
            if not self._stopping:
                await self._consume(channel)

    async def _hold(self, channel: AbstractChannel, pause: float) -> None:
        """Stop consuming and wait. What is here stays here, unacknowledged, so that no delivery count is burnt."""
        await self._cancel(channel)
        loop = asyncio.get_running_loop()
        until = loop.time() + pause
        while not self._stopping and self._broken is None and (left := until - loop.time()) > 0:
            await self._stir(left)

    async def _stir(self, timeout: float) -> bool:
        self._stirred.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True

    async def _wait(self, connection: AbstractConnection) -> None:
        if await self._stir(self._sub.silence) or self._stopping:
            return
        ready = await self._ready(connection)
        self._suspicions = self._suspicions + 1 if ready and not self._buffer else 0
        if self._suspicions >= 2:  # once may be a message that arrived just then
            raise Lost(f"{ready} messages are ready and none is delivered")

    async def _ready(self, connection: AbstractConnection) -> int:
        """How many messages the broker would deliver; raises ``Lost`` when it does not answer or has no such queue."""
        channel = await call(connection.channel(publisher_confirms=False))
        found = await call(channel.queue_declare(self._sub.queue, passive=True))
        await call(channel.close())
        return found.message_count or 0


def _suspect(message: tuple[int, Incoming]) -> bool:
    return message[1].delivery_count >= SUSPECT


def incoming(message: DeliveredMessage) -> Incoming:
    """A message of the library as one of ours."""
    properties = message.header.properties
    headers: Mapping[str, object] = properties.headers or {}
    count = headers.get("x-delivery-count", 0)
    return Incoming(
        body=message.body,
        content_type=properties.content_type or "",
        routing_key=message.routing_key or "",
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        headers=headers,
        redelivered=bool(message.redelivered),
        delivery_count=count if isinstance(count, int) else 0,
        door="amqp",
    )
