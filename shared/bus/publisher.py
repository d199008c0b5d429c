"""The publishing side: a connection of its own, confirms, and an answer for every message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from aiormq import Channel
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError, DeliveryError, PublishError
from pamqp.commands import Basic

from shared.bus import Outgoing
from shared.bus.link import Link, Lost, call
from shared.bus.topology import Topology
from shared.clock import Clock
from shared.errors import Unavailable

WINDOW = 200
"""Messages that may wait for their confirms at a time."""

_LOOK_SECONDS = 0.5
_PERSISTENT = 2


class Publisher:
    """Publishes to the events exchange over one channel, one call at a time, in order."""

    def __init__(self, url: str, topology: Topology, clock: Clock, *, timeout: float) -> None:
        """*timeout*: seconds for a whole ``publish``, waiting for its turn included."""
        self._topology = topology
        self._clock = clock
        self._timeout = timeout
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self.blocked = False
        """Whether the broker refuses publishers, as far as is known; looked at twice a second."""
        self.link = Link(url, "reach publish", self._session)

    @property
    def connected(self) -> bool:
        """Whether a publish has a channel to go to."""
        return self._channel is not None and not self._channel.is_closed

    async def _session(self, connection: AbstractConnection) -> None:
        channel = await call(connection.channel(publisher_confirms=True, frame_buffer_size=2 * WINDOW))
        assert isinstance(channel, Channel)  # the abstract one lacks publishing without a drain per message
        await call(self._topology.declare_exchanges(channel))
        self._channel = channel
        self.link.stands()
        closing = channel.closing
        try:
            while not closing.done():
                self.blocked = not await _flows(connection)
                await asyncio.wait({closing}, timeout=_LOOK_SECONDS)
        finally:
            closing.cancel()
            self._channel, self.blocked = None, False
        raise Lost("the publishing channel closed")

    async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """Publish all; the answers in the messages' order, None for confirmed."""
        answers: list[Exception | None] = [
            Unavailable(
                "PUBLISH_UNCONFIRMED", "the broker has not confirmed in time; the message may still arrive"
            )
        ] * len(messages)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout), self._turn:
                for window in _windows(messages):
                    await self._window(messages, window, answers)
        return answers

    async def _window(
        self, messages: Sequence[Outgoing], window: range, answers: list[Exception | None]
    ) -> None:
        channel = self._channel
        if channel is None or self.blocked:
            away = "the broker blocks publishers" if self.blocked else "no connection to the broker"
            for i in window:
                answers[i] = Unavailable("BROKER_UNAVAILABLE", away)
            return
        tasks = {asyncio.ensure_future(self._one(channel, messages[i])): i for i in window}
        try:
            await asyncio.wait(tasks)
        finally:
            for task, i in tasks.items():
                if task.done() and not task.cancelled():
                    answers[i] = task.result()
                task.cancel()

    async def _one(self, channel: Channel, message: Outgoing) -> Exception | None:
        properties = Basic.Properties(
            content_type=message.content_type,
            headers=dict(message.headers),
            delivery_mode=_PERSISTENT,
            message_id=message.id,
            message_type=message.type,
            timestamp=self._clock.now(),
            app_id="reach",
        )
        try:
            await channel.basic_publish(
                message.body,
                exchange=self._topology.events,
                routing_key=message.type,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        except asyncio.CancelledError:
            if channel.is_closed:  # the library cancels whoever waits on a channel that closes
                return _unconfirmed("the channel closed")
            raise
        except DeliveryError as error:
            return _refusal(error)
        except AMQPError as error:
            return _unconfirmed(type(error).__name__)
        except Exception as error:  # one message that cannot be encoded is no reason to hold up the others
            return error
        return None


def _refusal(error: DeliveryError) -> Unavailable:
    if isinstance(error, PublishError):
        return Unavailable("PUBLISH_RETURNED", "the broker has no queue for the message")
    return Unavailable("PUBLISH_REFUSED", "the broker refused the message; a queue is full")


def _unconfirmed(why: str) -> Unavailable:
    return Unavailable("PUBLISH_UNCONFIRMED", f"{why}; the message may still arrive")


def _windows(messages: Sequence[Outgoing]) -> Iterator[range]:
    """Runs of at most ``WINDOW`` messages in which no id comes twice: the library knows returned ones by their id."""
    start, seen = 0, set[str]()
    for i, message in enumerate(messages):
        if i - start == WINDOW or message.id in seen:
            yield range(start, i)
            start, seen = i, set()
        seen.add(message.id)
    yield range(start, len(messages))


async def _flows(connection: AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(_LOOK_SECONDS / 5):
            await connection.ready()
    except TimeoutError:
        return False
    return True
