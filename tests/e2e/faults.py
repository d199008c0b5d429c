"""What the fault tests share: orders for one department, told apart by number, and questions about health and rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.chaos.history import TOKEN
from tests.chaos.load import APP, Door, Doors, Made
from tests.chaos.storm import Storm
from tests.e2e.harness import EXAMPLES, STORE, eventually

SERVICE = "reach.notifier.v1.NotifierService"
BACK_SECONDS = 30.0
"""What may pass from a server's return until everything works again."""

_numbers = count(1)


def orders(amount: int) -> list[Made]:
    """New orders, each for one department, which no rate holds up."""
    tokens = [f"{TOKEN}f{next(_numbers):05d}" for _ in range(amount)]
    return [
        Made(
            token,
            "order.created",
            STORE,
            {**EXAMPLES["order.created"], "order_number": token},
            frozenset({(APP, "party", "2")}),
        )
        for token in tokens
    ]


async def bring(storm: Storm, door: Door, made: Iterable[Made]) -> None:
    """Bring all of *made* through *door*, at once; what was taken counts as accepted."""

    async def one(order: Made) -> None:
        await door(order)
        storm.history.accepted[order.id] = order.reaches

    await asyncio.gather(*(one(order) for order in made))


async def serving(doors: Doors, name: str) -> bool:
    """Whether the health service says that *name* is serving."""
    stub = HealthStub(doors.channel)  # type: ignore[no-untyped-call]
    try:
        answer = await stub.Check(HealthCheckRequest(service=name), timeout=3)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == HealthCheckResponse.SERVING)


async def until_serving(doors: Doors, name: str, wanted: bool, timeout: float = 20) -> None:
    """Wait until *name* is serving, or is not."""

    async def look() -> bool:
        return await serving(doors, name) is wanted

    await eventually(look, timeout, every=0.1)


async def recorded(storm: Storm, made: Iterable[Made], timeout: float = BACK_SECONDS) -> None:
    """Wait until every one of *made* is accepted by the platform."""
    wanted = {order.id for order in made}

    async def look() -> bool:
        found = await asyncio.to_thread(storm.ask, "SELECT event_id FROM delivery WHERE status = 'accepted'")
        return wanted <= {row[0] for row in found}

    await eventually(look, timeout, every=0.2)


async def counted(storm: Storm, query: str) -> int:
    """The one number *query* gives."""
    return int((await asyncio.to_thread(storm.ask, query))[0][0])


async def in_flight(storm: Storm, amount: int, timeout: float = 20) -> None:
    """Wait until at least *amount* sends have reached the platform and none of them is answered."""

    async def look() -> bool:
        return sum(call["http_status"] is None for call in await storm.sandbox.sends()) >= amount

    await eventually(look, timeout, every=0.05)


async def all_is_well(storm: Storm) -> None:
    """At rest, nothing is lost, doubled or stuck."""
    await storm.rest()
    violations = await storm.judge()
    assert not violations, "\n".join(map(str, violations[:10]))
