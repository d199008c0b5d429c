"""What the broker holds, declared in one place (reliability 5.1): names and arguments, and a clear word on mismatch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed

from shared.environment import ConfigurationError
from shared.values import value_class

DELIVERY_LIMIT = 20
"""Deliveries that may fail before the broker parks a message: high, since a crash counts for every prefetched one."""

ANNOUNCEMENTS = ("notifier.#", "ai.#", "campaign.#", "kf.#")
"""Topic patterns of what the suite itself announces."""

_MAX_BYTES = 1 << 30
_MAX_UNROUTED = 100_000
_NEVER = 1_000_000_000
"""A delivery limit that is none: brokers from 4.0 on would otherwise drop a message after their own twenty."""

_MISMATCH = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>\w+) '(?P<name>[^']+)'.*?: "
    r"received (?P<wanted>.+?) but current is (?P<found>[^\n]+)"
)


class TopologyMismatch(ConfigurationError):
    """The broker has a queue or exchange of that name with other arguments, which it never changes."""


@value_class
class Topology:
    """The names on one broker."""

    prefix: str = "reach"
    """In front of every name, so that suites can share a virtual host."""
    events: str = "reach.events"
    """The topic exchange that publishers use."""

    @property
    def unrouted(self) -> str:
        """The alternate exchange; its queue has ``.q`` behind."""
        return f"{self.prefix}.unrouted"

    @property
    def unrouted_queue(self) -> str:
        """Keeps what nobody bound."""
        return f"{self.prefix}.unrouted.q"

    @property
    def announced_queue(self) -> str:
        """Listens to the suite's announcements and keeps none."""
        return f"{self.prefix}.announced.q"

    @property
    def parked(self) -> str:
        """The exchange that the broker moves given-up messages to."""
        return f"{self.prefix}.parked"

    def queue(self, service: str) -> str:
        """The queue that *service* reads."""
        return f"{self.prefix}.{service}.in"

    def parked_queue(self, service: str) -> str:
        """Where the broker puts what *service* failed on too often."""
        return f"{self.prefix}.{service}.parked"

    async def declare_exchanges(self, channel: AbstractChannel) -> None:
        """Declare what publishing needs: the exchanges, and the queue for what nobody bound."""
        await _exchange(channel, self.unrouted, "fanout")
        await _queue(
            channel,
            self.unrouted_queue,
            {"x-max-length": _MAX_UNROUTED, "x-overflow": "reject-publish", "x-delivery-limit": _NEVER},
        )
        await channel.queue_bind(self.unrouted_queue, self.unrouted)
        await _exchange(channel, self.events, "topic", {"alternate-exchange": self.unrouted})
        # What the suite announces is for whoever cares: with nobody there it must not pile up as unrouted,
        # so it always has one listener that keeps nothing.
        await channel.queue_declare(
            self.announced_queue, durable=True, arguments={"x-max-length": 0, "x-overflow": "drop-head"}
        )
        for pattern in ANNOUNCEMENTS:
            await channel.queue_bind(self.announced_queue, self.events, pattern)

    async def declare_service(self, channel: AbstractChannel, service: str, types: Collection[str]) -> None:
        """Declare the queues of *service*, bound to *types*; bindings that are there already stay."""
        await _exchange(channel, self.parked, "direct")
        await _queue(channel, self.parked_queue(service), {"x-delivery-limit": _NEVER})
        await channel.queue_bind(self.parked_queue(service), self.parked, service)
        await _queue(
            channel,
            self.queue(service),
            {
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-dead-letter-exchange": self.parked,
                "x-dead-letter-routing-key": service,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-max-length-bytes": _MAX_BYTES,
            },
        )
        await self.bind(channel, service, types)

    async def bind(self, channel: AbstractChannel, service: str, types: Collection[str]) -> None:
        """Bind the queue of *service* to *types* (topic patterns)."""
        for pattern in sorted(types):
            await channel.queue_bind(self.queue(service), self.events, pattern)


async def _exchange(
    channel: AbstractChannel, name: str, kind: str, arguments: Mapping[str, str] | None = None
) -> None:
    try:
        await channel.exchange_declare(
            name, exchange_type=kind, durable=True, arguments=dict(arguments or {})
        )
    except ChannelPreconditionFailed as error:
        raise _mismatch(error) from None


async def _queue(channel: AbstractChannel, name: str, arguments: Mapping[str, str | int]) -> None:
    try:
        await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
    except ChannelPreconditionFailed as error:
        raise _mismatch(error) from None


def _mismatch(error: ChannelPreconditionFailed) -> TopologyMismatch:
    found = _MISMATCH.search(str(error))
    if found is None:
        return TopologyMismatch([f"the broker refused a declaration: {error}"])
    return TopologyMismatch(
        [
            "{kind} {name}: argument {argument}: wanted {wanted}, found {found}; delete the {kind} when it is empty, "
            "or choose another prefix".format(**found.groupdict())
        ]
    )
