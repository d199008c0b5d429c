"""RabbitMQ away or in alarm: what needs no broker goes on, what does waits, and all of it goes on by itself afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.load import AmqpDoor
from tests.chaos.storm import Servers, Storm
from tests.e2e.faults import (
    BACK_SECONDS,
    SERVICE,
    all_is_well,
    bring,
    counted,
    orders,
    recorded,
    serving,
    until_serving,
)
from tests.e2e.harness import Names, eventually
from tests.support.node import Broker

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

WAITING = "SELECT count(*) FROM outbox WHERE state = 'pending' AND type = 'order.created'"


@pytest.fixture
async def storm(tmp_path: Path, rabbit_node: Broker, postgres_database: str) -> AsyncIterator[Storm]:
    """One replica on a broker of its own."""
    async with Storm(tmp_path, servers=Servers(postgres_database, rabbit_node.url, Names("reach"))) as made:
        await made.members[0].doors.cast([])
        yield made


@pytest.fixture
async def till(storm: Storm, rabbit_node: Broker) -> AsyncIterator[AmqpDoor]:
    """A plain publisher."""
    door = AmqpDoor(rabbit_node.url, Names("reach").exchange)
    yield door
    await door.close()


async def test_a_broker_that_goes_and_comes_back_is_consumed_again_and_nothing_is_lost(
    storm: Storm, till: AmqpDoor, rabbit_node: Broker
) -> None:
    doors = storm.members[0].doors
    await bring(storm, till.publish, orders(60))
    await asyncio.to_thread(rabbit_node.stop)  # in the middle: what was read is not all sent
    storm.note("broker stopped")
    await until_serving(doors, "reach.amqp", wanted=False)
    assert not await serving(doors, "")
    assert await serving(doors, SERVICE), "what needs no broker is still served"
    meanwhile = orders(20)
    await bring(storm, doors.push, meanwhile)
    await recorded(storm, meanwhile)
    waiting = orders(20)
    await bring(storm, doors.publish, waiting)
    assert await counted(storm, WAITING) == len(waiting)
    await asyncio.to_thread(rabbit_node.start)
    storm.note("broker back")
    fresh = orders(5)
    loop = asyncio.get_running_loop()
    back = loop.time()
    await _insist(storm, till, fresh)
    await recorded(storm, [*fresh, *waiting], BACK_SECONDS - (loop.time() - back))
    await until_serving(doors, "", wanted=True)
    assert storm.members[0].starts == 1
    await all_is_well(storm)


async def _insist(storm: Storm, till: AmqpDoor, made: list[object]) -> None:
    """Publish until it is confirmed."""

    async def confirmed() -> bool:
        try:
            await bring(storm, till.publish, made)  # type: ignore[arg-type]
        except Exception:
            return False  # not yet
        return True

    await eventually(confirmed, BACK_SECONDS, every=0.3)


async def test_in_a_memory_alarm_calls_succeed_and_consuming_goes_on(
    storm: Storm, till: AmqpDoor, rabbit_node: Broker
) -> None:
    member = storm.members[0]
    assert member.program is not None
    member.program.freeze()
    queued = orders(30)
    await bring(storm, till.publish, queued)
    await asyncio.to_thread(rabbit_node.alarm, True)
    storm.note("memory alarm on")
    member.program.thaw()
    pushed, published = orders(20), orders(20)
    await bring(storm, member.doors.push, pushed)
    await bring(storm, member.doors.publish, published)
    await recorded(storm, [*queued, *pushed])

    async def acknowledged() -> bool:
        told = await asyncio.to_thread(rabbit_node.ctl, "list_queues", "name", "messages")
        return "reach.notifier.in\t0" in told

    await eventually(acknowledged, 15, every=0.5)
    assert await counted(storm, WAITING) == len(published)
    assert await serving(member.doors, SERVICE)
    await asyncio.to_thread(rabbit_node.alarm, False)
    storm.note("memory alarm off")
    await recorded(storm, published)
    await all_is_well(storm)
