"""The job every contender does: ``order.created`` events on the broker, published the same way for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiormq
import orjson
from aiormq.abc import AbstractConnection
from pamqp.commands import Basic

EVENT_TYPE = "order.created"
IN_FLIGHT = 500
"""Confirms awaited together while a backlog is laid."""
PER_MEMBER = 25
"""Events for one member in a run: below what WeCom lets a member get in a minute, so that no limit bites."""


@dataclass(frozen=True, slots=True)
class Order:
    """One event; ``number`` names it everywhere: as the event's id, in the message's text, at the sink."""

    number: str
    store_id: str
    data: dict[str, object]

    @property
    def body(self) -> bytes:
        """The payload as plain JSON."""
        return orjson.dumps(self.data)


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to the broker."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


def stores(events: int) -> list[str]:
    """The stores a run of *events* is spread over: 400 at most, but more where a member would get too many."""
    return [f"store-{n:04}" for n in range(max(min(400, events), -(-events // PER_MEMBER)))]


def orders(count: int) -> list[Order]:
    """*count* orders, from one store after the other."""
    places = stores(count)
    return [_order(n, places[n % len(places)]) for n in range(count)]


def _order(number: int, store_id: str) -> Order:
    name = f"BENCH-{number}"
    data: dict[str, object] = {
        "order_number": name,
        "table_number": f"A{number % 40:02}",
        "total": 280.0 + number % 100,
        "order_time": "2026-02-20T12:30:00",
    }
    return Order(name, store_id, data)


async def publish(amqp: str, messages: Sequence[Message]) -> None:
    """Lay a backlog: every message confirmed by the broker; raises when one was not routed or not confirmed."""
    connection = await aiormq.connect(amqp)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for start in range(0, len(messages), IN_FLIGHT):
            batch = messages[start : start + IN_FLIGHT]
            confirmed = await asyncio.gather(*(_publish(channel, message) for message in batch))
            if not all(confirmed):
                raise RuntimeError("the broker refused a message of the backlog")
    finally:
        await connection.close()


async def publish_paced(amqp: str, messages: Iterable[Message], rate: float) -> list[float]:
    """Publish *rate* a second; the monotonic instant just before each went out."""
    connection = await aiormq.connect(amqp)
    stamps: list[float] = []
    try:
        channel = await connection.channel(publisher_confirms=True)
        begun = time.monotonic()
        async with asyncio.TaskGroup() as confirms:
            for number, message in enumerate(messages):
                # Each has its place in time; one that is late does not push the others back.
                await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
                stamps.append(time.monotonic())
                confirms.create_task(_publish(channel, message))
    finally:
        await connection.close()
    return stamps


async def _publish(channel: aiormq.abc.AbstractChannel, message: Message) -> bool:
    reply = await channel.basic_publish(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=message.properties,
        mandatory=True,
    )
    return isinstance(reply, Basic.Ack)


async def fresh_queue(amqp: str, queue: str) -> None:
    """Make the durable quorum queue of a contender that has no way of its own to do it, or empty it."""
    connection = await aiormq.connect(amqp)
    try:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.queue_purge(queue)
    finally:
        await connection.close()


async def depth(amqp: str, queue: str) -> int:
    """How many messages wait in *queue*. Those handed out and not acknowledged are not among them."""
    connection: AbstractConnection = await aiormq.connect(amqp)
    try:
        channel = await connection.channel()
        declared = await channel.queue_declare(queue, passive=True)
        return declared.message_count or 0
    finally:
        await connection.close()
