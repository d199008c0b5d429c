"""The bus of a single process: the promises of the real one, without a broker.

``publish`` answers a message with None only after every subscriber's handler has committed it; until then the outbox
keeps the row, so a crash loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from shared.bus import BusStatus, Handler, Incoming, Outgoing, Park
from shared.bus.batches import settle
from shared.bus.topics import matches
from shared.clock import Clock
from shared.errors import Unavailable

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@dataclass(slots=True)
class _Parcel:
    """One message on its way to its queues."""

    message: Incoming
    waiting: int
    committed: asyncio.Future[None]

    def arrived(self) -> None:
        self.waiting -= 1
        if self.waiting <= 0 and not self.committed.done():
            self.committed.set_result(None)


@dataclass(slots=True)
class _Queue:
    """A queue and its subscriber."""

    name: str
    types: set[str]
    handler: Handler
    batch: int
    parcels: deque[_Parcel] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False


class MemoryBus:
    """Moves events between the services of one process; see ``shared.bus.Bus`` for the promises."""

    def __init__(
        self, clock: Clock, park: Park, *, unrouted: Park | None = None, timeout: float = 10.0
    ) -> None:
        """*park* keeps what a handler cannot handle, *unrouted* what nobody listens to (dropped when None).

        *timeout*: seconds until a publish that some subscriber has not committed is answered with ``Unavailable``.
        """
        self._clock = clock
        self._park = park
        self._unrouted = unrouted
        self._timeout = timeout
        self._queues: dict[str, _Queue] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._stop = asyncio.Event()
        self._last_error: str | None = None
        self._since = clock.now()

    def subscribe(
        self, queue: str, types: Sequence[str], handler: Handler, *, batch: int = 100, abreast: int = 1
    ) -> None:
        """See ``Bus``."""
        if self._started or queue in self._queues:
            raise RuntimeError(f"subscribe once for {queue!r}, and before start")
        self._queues[queue] = _Queue(queue, set(types), handler, batch)

    async def bind(self, queue: str, types: Sequence[str]) -> None:
        """See ``Bus``."""
        self._queues[queue].types.update(types)

    async def start(self) -> None:
        """See ``Bus``."""
        self._since, self._started = self._clock.now(), True
        self._tasks = [
            asyncio.create_task(self._work(queue), name=f"bus {queue.name}")
            for queue in self._queues.values()
        ]

    async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """See ``Bus``; returns at the latest after the time-out."""
        if self._stop.is_set():
            return [Unavailable("BUS_CLOSED", "the bus is closing") for _ in messages]
        return await asyncio.gather(*(self._deliver(message) for message in messages))

    async def _deliver(self, outgoing: Outgoing) -> Exception | None:
        message = Incoming(
            body=outgoing.body,
            content_type=outgoing.content_type,
            routing_key=outgoing.type,
            message_id=outgoing.id,
            headers=outgoing.headers,
        )
        hearing = [q for q in self._queues.values() if any(matches(t, outgoing.type) for t in q.types)]
        try:
            if not hearing:
                if self._unrouted is not None:
                    await self._unrouted(message, "unrouted", f"nobody listens to {outgoing.type}")
                return None
            parcel = _Parcel(message, len(hearing), asyncio.get_running_loop().create_future())
            for queue in hearing:
                queue.parcels.append(parcel)
                queue.filled.set()
            async with asyncio.timeout(self._timeout):
                await parcel.committed
        except TimeoutError:
            return Unavailable("BUS_TIMEOUT", "a subscriber has not committed in time; it still may")
        except Exception as error:
            return error
        return None

    async def _work(self, queue: _Queue) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            if not queue.parcels:
                queue.filled.clear()
                await queue.filled.wait()
                continue
            try:
                await self._take(queue)
            except (
                Exception
            ) as error:  # Unavailable, or a parking place that failed: the same batch again, later
                if not isinstance(error, Unavailable):
                    log.exception("a message could not be parked; trying again")
                self._move(queue, paused=True, error=type(error).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._move(queue, paused=False)
                pause = _FIRST_PAUSE

    async def _take(self, queue: _Queue) -> None:
        batch = [parcel.message for parcel, _ in zip(queue.parcels, range(queue.batch), strict=False)]

        async def done(count: int) -> None:
            for _ in range(count):
                queue.parcels.popleft().arrived()

        await settle(batch, queue.handler, self._park, done)

    def _move(self, queue: _Queue, *, paused: bool, error: str | None = None) -> None:
        if error is not None:
            self._last_error = error
        if queue.paused != paused:
            queue.paused = paused
            self._since = self._clock.now()

    async def stop_consuming(self) -> None:
        """See ``Bus``."""
        self._stop.set()
        for queue in self._queues.values():
            queue.filled.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for queue in self._queues.values():
            for parcel in queue.parcels:
                if not parcel.committed.done():
                    parcel.committed.set_exception(Unavailable("BUS_CLOSED", "the bus is closing"))

    async def close(self) -> None:
        """See ``Bus``."""
        await self.stop_consuming()
        self._tasks = []

    def status(self) -> BusStatus:
        """See ``Bus``."""
        running = self._started and not self._stop.is_set()
        consuming = running and not any(queue.paused for queue in self._queues.values())
        return BusStatus(running, consuming, last_error=self._last_error, since=self._since)
