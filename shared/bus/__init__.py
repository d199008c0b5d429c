"""The bus between services and from publishers: what every implementation promises.

Delivery is at least once. A message is acknowledged only after the handler returned, which it does after its
transaction committed; a handler that raises has committed nothing. Publishing reports per message, and a message that
was not confirmed may still arrive: publish it again under the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Protocol

from shared.values import value_class


@value_class
class Incoming:
    """One message as it came, unread."""

    body: bytes
    content_type: str = ""
    routing_key: str = ""
    """The event's type, as far as the door knows it."""
    message_id: str | None = None
    timestamp: datetime | None = None
    headers: Mapping[str, object] = field(default_factory=dict)
    redelivered: bool = False
    delivery_count: int = 0
    """How often it was delivered before without being acknowledged."""
    door: str = "bus"
    """``amqp``, ``bus`` (in process), ``http`` or ``grpc``."""


@value_class
class Outgoing:
    """One event ready to leave: CloudEvents in binary mode."""

    id: str
    type: str
    """The routing key."""
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@value_class
class BusStatus:
    """What the bus is doing now."""

    connected: bool
    """Whether messages can be published."""
    consuming: bool
    """Whether every subscription is taking messages (or would, were there any)."""
    blocked: bool = False
    """Whether the broker refuses publishers because of an alarm."""
    last_error: str | None = None
    """What went wrong last, without addresses or credentials; None when nothing has since the start."""
    since: datetime | None = None
    """When this state began."""


Handler = Callable[[Sequence[Incoming]], Awaitable[None]]
"""Takes a batch and returns after its transaction committed. ``Unavailable`` stops consuming until it no longer
raises; any other exception is blamed on a message of the batch, which is found by bisection and parked."""

Park = Callable[[Incoming, str, str], Awaitable[None]]
"""Keeps a message that cannot be handled, with a stable reason and a detail for people; returns after its commit."""


class Bus(Protocol):
    """One way to move events."""

    def subscribe(
        self, queue: str, types: Sequence[str], handler: Handler, *, batch: int = 100, abreast: int = 1
    ) -> None:
        """Have *handler* take what *types* (topic patterns) bring to *queue*, up to *batch* at a time.

        Before ``start`` only. Queues of one name share the messages, of different names each get their own.
        Up to *abreast* batches are handled side by side; only within one does their order hold.
        """
        ...

    async def start(self) -> None:
        """Open, declare and consume. Returns while a broker that is away is still being waited for."""
        ...

    async def bind(self, queue: str, types: Sequence[str]) -> None:
        """Add *types* to what a subscribed queue hears; lasts, and adding a type twice is once.

        While the broker is away it is remembered and done on return.
        """
        ...

    async def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """Publish; one answer per message, None for safely taken. Raises nothing for a message's sake."""
        ...

    async def stop_consuming(self) -> None:
        """Take nothing new; returns when handlers in flight have ended and were acknowledged."""
        ...

    async def close(self) -> None:
        """Stop consuming, then let go of everything."""
        ...

    def status(self) -> BusStatus:
        """The state now; never blocks."""
        ...
