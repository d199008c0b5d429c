"""The bus over RabbitMQ.

Publishing and consuming use a connection each: an alarm blocks publishers, and acknowledgements with them. On
aiormq, the layer beneath aio-pika, which costs a third less per message; what aio-pika would add (coming back after a
loss) is ``shared.bus.link``, since the liveness of consumers has to be watched here in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from aiormq.abc import AbstractConnection

from shared.bus import BusStatus, Handler, Incoming, Outgoing, Park
from shared.bus.consumer import PROBATION, Consumer, Subscription
from shared.bus.link import Link, Lost, call
from shared.bus.publisher import Publisher
from shared.bus.topology import Topology
from shared.clock import Clock
from shared.errors import Unavailable

_START_SECONDS = 10.0
_STOP_SECONDS = 15.0
_DRAIN_BATCH = 20


class RabbitBus:
    """See ``shared.bus.Bus`` for the promises."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        park: Park,
        *,
        topology: Topology | None = None,
        unrouted: Park | None = None,
        probation: bool = False,
        publish_timeout: float = 10.0,
        silence: float = 10.0,
    ) -> None:
        """*park* keeps what a handler cannot handle, and what the broker gave up on; *unrouted*, when given, what
        nobody listens to. *probation*: the last stop was unclean. *silence*: seconds without a message after which a
        consumer makes sure that it is alive.
        """
        self._clock = clock
        self._park = park
        self._unrouted = unrouted
        self._topology = topology or Topology()
        self._probation = PROBATION if probation else 0
        self._silence = silence
        self._types: dict[str, set[str]] = {}
        self._subscriptions: list[Subscription] = []
        self._consumers: list[Consumer] = []
        self._connection: AbstractConnection | None = None
        self._publisher = Publisher(url, self._topology, clock, timeout=publish_timeout)
        self._link = Link(url, "reach consume", self._session)
        self._started = False
        self._status = BusStatus(connected=False, consuming=False, since=clock.now())

    def subscribe(
        self, queue: str, types: Sequence[str], handler: Handler, *, batch: int = 100, abreast: int = 1
    ) -> None:
        """See ``Bus``; *queue* is the service's word, of which the topology makes the queue's name."""
        if self._started or queue in self._types:
            raise RuntimeError(f"subscribe once for {queue!r}, and before start")
        self._types[queue] = set(types)
        self._add(self._topology.queue(queue), handler, batch, abreast, self._probation)
        self._add(self._topology.parked_queue(queue), self._given_up, _DRAIN_BATCH)

    def _add(self, queue: str, handler: Handler, batch: int, abreast: int = 1, probation: int = 0) -> None:
        self._subscriptions.append(
            Subscription(queue, handler, self._park, batch, abreast, probation, self._silence)
        )

    async def bind(self, queue: str, types: Sequence[str]) -> None:
        """See ``Bus``. Raises ``Unavailable`` when the broker is there and does not do it."""
        self._types[queue].update(types)
        connection = self._connection
        if connection is None:
            return
        try:
            channel = await call(connection.channel(publisher_confirms=False))
            await call(self._topology.bind(channel, queue, types))
            await call(channel.close())
        except Lost as error:
            raise Unavailable("BROKER_UNAVAILABLE", f"the binding was not made: {error}") from None

    async def start(self) -> None:
        """See ``Bus``. Raises ``TopologyMismatch`` when the broker holds other queues under our names."""
        if self._unrouted is not None:
            self._add(self._topology.unrouted_queue, self._nobody, _DRAIN_BATCH)
        self._started = True
        links = [self._publisher.link, *([self._link] if self._subscriptions else [])]
        for link in links:
            link.start()
        await asyncio.gather(*(link.settled(_START_SECONDS) for link in links))
        mismatch = next((link.mismatch for link in links if link.mismatch is not None), None)
        if mismatch is not None:
            await self.close()
            raise mismatch

    async def _session(self, connection: AbstractConnection) -> None:
        channel = await call(connection.channel(publisher_confirms=False))
        await call(self._topology.declare_exchanges(channel))
        for service, types in self._types.items():
            await call(self._topology.declare_service(channel, service, types))
        await call(channel.close())
        self._connection = connection
        self._consumers = [Consumer(subscription) for subscription in self._subscriptions]
        tasks = [asyncio.create_task(one.run(connection, self._note_active)) for one in self._consumers]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for consumer in self._consumers:
                consumer.abandon()  # one is lost, or all have ended; handlers in flight may still commit
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            self._connection, self._consumers = None, []

    def _note_active(self) -> None:
        if all(consumer.active for consumer in self._consumers):
            self._link.stands()

    async def _given_up(self, batch: Sequence[Incoming]) -> None:
        """Move what the broker parked to where people look."""
        for message in batch:
            reason = str(message.headers.get("x-first-death-reason", "parked"))
            detail = f"the broker gave up: {reason}"
            await self._park(_as_published(message), reason, detail)

    async def _nobody(self, batch: Sequence[Incoming]) -> None:
        assert self._unrouted is not None
        for message in batch:
            await self._unrouted(message, "unrouted", f"nobody listens to {message.routing_key}")

    async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """See ``Bus``; returns at the latest after the time-out."""
        return await self._publisher.publish(messages)

    async def stop_consuming(self) -> None:
        """See ``Bus``."""
        for consumer in self._consumers:
            consumer.stop()
        await self._link.stop(grace=_STOP_SECONDS if self._consumers else 0)

    async def close(self) -> None:
        """See ``Bus``."""
        await self.stop_consuming()
        await self._publisher.link.stop(grace=0)

    def status(self) -> BusStatus:
        """See ``Bus``."""
        consumers = self._consumers
        now = BusStatus(
            connected=self._publisher.connected,
            consuming=all(c.active for c in consumers)
            if consumers
            else self._started and not self._subscriptions,
            blocked=self._publisher.blocked,
            last_error=self._link.last_error or self._publisher.link.last_error,
            since=self._status.since,
        )
        if now != self._status:
            changed = (now.connected, now.consuming, now.blocked) != (
                self._status.connected,
                self._status.consuming,
                self._status.blocked,
            )
            self._status = replace(now, since=self._clock.now()) if changed else now
        return self._status


def _as_published(message: Incoming) -> Incoming:
    """A dead-lettered message as it was before the broker moved it: its key back, the marks of its death off.

    A copy that is published again with those marks may vanish (dead-letter cycles, brokers up to 3.13).
    """
    key = message.routing_key
    deaths = message.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[-1], dict):
        keys = deaths[-1].get("routing-keys")
        if isinstance(keys, list) and keys:
            key = str(keys[0])
    marks = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")
    headers = {name: value for name, value in message.headers.items() if not name.startswith(marks)}
    return replace(message, routing_key=key, headers=headers)
