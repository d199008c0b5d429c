from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from shared.bus import Bus, Handler
from shared.bus.memory import MemoryBus
from shared.bus.rabbit import RabbitBus
from shared.bus.topology import Topology
from shared.clock import SystemClock
from tests.bus.support import Parked, remove


@dataclass
class Kit:
    """Makes buses of one kind that share one world, and closes what it made."""

    kind: str
    url: str
    topology: Topology
    parked: Parked = field(default_factory=Parked)
    unrouted: Parked = field(default_factory=Parked)
    services: set[str] = field(default_factory=set)
    made: list[MemoryBus | RabbitBus] = field(default_factory=list)

    def bus(self, **options: object) -> MemoryBus | RabbitBus:
        made: MemoryBus | RabbitBus
        if self.kind == "memory":
            timeout = options.get("publish_timeout", 10.0)
            made = MemoryBus(SystemClock(), self.parked, unrouted=self.unrouted, timeout=timeout)  # type: ignore[arg-type]
        else:
            made = RabbitBus(
                self.url,
                SystemClock(),
                self.parked,
                topology=self.topology,
                unrouted=self.unrouted,
                **options,  # type: ignore[arg-type]
            )
        self.made.append(made)
        return made

    async def started(
        self, handler: Handler, *types: str, batch: int = 100, **options: object
    ) -> MemoryBus | RabbitBus:
        bus = self.bus(**options)
        self.subscribe(bus, "svc", types or ("order.*",), handler, batch)
        await bus.start()
        return bus

    def subscribe(
        self, bus: Bus, service: str, types: tuple[str, ...], handler: Handler, batch: int = 100
    ) -> None:
        self.services.add(service)
        bus.subscribe(service, types, handler, batch=batch)


@pytest.fixture
def topology(unique: str) -> Topology:
    return Topology(unique, f"{unique}.events")


async def _close(kit: Kit) -> None:
    for bus in kit.made:
        await bus.close()
    if kit.kind == "rabbit":
        await remove(kit.url, kit.topology, kit.services)


@pytest.fixture(params=["memory", "rabbit"])
async def kit(request: pytest.FixtureRequest, topology: Topology) -> AsyncIterator[Kit]:
    """Once for each implementation."""
    url = request.getfixturevalue("amqp_url") if request.param == "rabbit" else ""
    made = Kit(request.param, url, topology)
    yield made
    await _close(made)


@pytest.fixture
async def rabbit(amqp_url: str, topology: Topology) -> AsyncIterator[Kit]:
    made = Kit("rabbit", amqp_url, topology)
    yield made
    await _close(made)
