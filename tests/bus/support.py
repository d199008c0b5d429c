"""What the tests of the bus share: messages, handlers that remember, and a look at the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiormq

from shared.bus import Incoming, Outgoing
from shared.bus.topology import Topology


def message(name: str, type_: str = "order.created", body: bytes | None = None) -> Outgoing:
    headers = {"cloudEvents:id": name, "cloudEvents:storeid": "s1"}
    return Outgoing(name, type_, body if body is not None else name.encode(), "application/json", headers)


def messages(count: int, start: int = 0) -> list[Outgoing]:
    return [message(f"m{i}") for i in range(start, start + count)]


@dataclass
class Inbox:
    """A handler that commits what it gets, after being made to fail as told."""

    seen: list[Incoming] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    before: Callable[[Sequence[Incoming]], object] = lambda _: None
    gate: asyncio.Event | None = None

    async def __call__(self, batch: Sequence[Incoming]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.before(batch)
        self.seen.extend(batch)
        self.sizes.append(len(batch))

    @property
    def ids(self) -> list[str | None]:
        return [one.message_id for one in self.seen]


@dataclass
class Parked:
    """A parking place that remembers."""

    kept: list[tuple[Incoming, str, str]] = field(default_factory=list)

    async def __call__(self, incoming: Incoming, reason: str, detail: str) -> None:
        self.kept.append((incoming, reason, detail))

    @property
    def reasons(self) -> dict[str | None, str]:
        return {incoming.message_id: reason for incoming, reason, _ in self.kept}


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for *condition*, at most *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # conditions of any kind, not an event's
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("it did not come to that in time") from None


@asynccontextmanager
async def channel(url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def remove(url: str, topology: Topology, services: Collection[str]) -> None:
    async with channel(url) as raw:
        for service in services:
            await raw.queue_delete(topology.queue(service))
            await raw.queue_delete(topology.parked_queue(service))
        await raw.queue_delete(topology.unrouted_queue)
        for exchange in (topology.events, topology.unrouted, topology.parked):
            await raw.exchange_delete(exchange)


async def ready(url: str, queue: str) -> int:
    """How many messages wait in *queue*."""
    async with channel(url) as raw:
        return (await raw.queue_declare(queue, passive=True)).message_count or 0
