"""A broker that is not there, goes away, comes back, or holds publishers off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from shared.bus.topology import Topology
from shared.errors import Unavailable
from tests.bus.conftest import Kit
from tests.bus.support import Inbox, message, messages, until
from tests.support.node import Broker

pytestmark = pytest.mark.fault


@pytest.fixture
async def kit(rabbit_node: Broker, topology: Topology) -> AsyncIterator[Kit]:
    made = Kit("rabbit", rabbit_node.url, topology)
    yield made
    for bus in made.made:
        await bus.close()


async def test_a_killed_broker_loses_nothing_confirmed_and_is_found_again_within_seconds(
    kit: Kit, rabbit_node: Broker
) -> None:
    inbox = Inbox()
    bus = await kit.started(inbox)
    # RabbitMQ 3.10 writes down that a quorum queue exists some seconds after it was declared, or when it is stopped in
    # good order: killed before, it comes back with a queue that nobody can consume.
    await asyncio.to_thread(rabbit_node.stop)
    await until(lambda: not bus.status().connected and not bus.status().consuming)
    await asyncio.to_thread(rabbit_node.start)
    await until(lambda: bus.status().connected and bus.status().consuming, 30)
    assert await bus.publish(messages(100)) == [None] * 100
    await asyncio.to_thread(rabbit_node.kill)
    await until(lambda: not bus.status().connected and not bus.status().consuming)
    answers = await bus.publish([message("early")])
    assert isinstance(answers[0], Unavailable)
    await asyncio.to_thread(rabbit_node.start)
    back = time.monotonic()
    await until(lambda: bus.status().connected and bus.status().consuming, 30)
    assert time.monotonic() - back < 10
    assert await bus.publish([message("late")]) == [None]
    await until(lambda: "late" in inbox.ids)
    assert {f"m{i}" for i in range(100)} <= set(inbox.ids)


async def test_a_bus_starts_without_its_broker_and_works_when_it_comes(kit: Kit, rabbit_node: Broker) -> None:
    await asyncio.to_thread(rabbit_node.stop)
    inbox = Inbox()
    bus = await kit.started(inbox)
    assert not bus.status().connected
    assert bus.status().last_error
    assert "127.0.0.1" not in str(bus.status())
    assert isinstance((await bus.publish([message("a")]))[0], Unavailable)
    await bus.bind("svc", ["custom.type"])
    await asyncio.to_thread(rabbit_node.start)
    await until(lambda: bus.status().connected and bus.status().consuming, 30)
    assert await bus.publish([message("b"), message("c", "custom.type")]) == [None, None]
    await until(lambda: {"b", "c"} <= set(inbox.ids))


async def test_an_alarm_shows_as_blocked_and_consuming_goes_on(kit: Kit, rabbit_node: Broker) -> None:
    inbox = Inbox()
    bus = await kit.started(inbox, publish_timeout=1.0)
    assert await bus.publish([message("before")]) == [None]
    await asyncio.to_thread(rabbit_node.alarm, True)
    began = time.monotonic()
    while not bus.status().blocked:
        assert time.monotonic() - began < 30
        answers = await bus.publish([message("during")])
        assert answers == [None] or isinstance(answers[0], Unavailable)
    began = time.monotonic()
    answers = await bus.publish([message("refused at once")])
    assert isinstance(answers[0], Unavailable)
    assert time.monotonic() - began < 0.5
    assert bus.status().consuming
    await asyncio.to_thread(rabbit_node.alarm, False)
    await until(lambda: not bus.status().blocked, 30)
    assert await bus.publish([message("after")]) == [None]
    await until(lambda: "after" in inbox.ids)
