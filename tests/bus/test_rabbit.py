"""What only a broker can do to us: refuse, forget, redeliver, give up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

import pytest
from pamqp.commands import Basic

from shared.bus import Incoming
from shared.bus.consumer import PROBATION
from shared.bus.rabbit import RabbitBus
from shared.bus.topology import DELIVERY_LIMIT, TopologyMismatch
from tests.bus.conftest import Kit
from tests.bus.support import Inbox, channel, message, messages, ready, until


async def _publish_raw(kit: Kit, *ids: str) -> None:
    async with channel(kit.url) as raw:
        for one in ids:
            await raw.basic_publish(
                one.encode(),
                exchange=kit.topology.events,
                routing_key="order.created",
                properties=Basic.Properties(message_id=one, delivery_mode=2),
            )


async def _fail_raw(kit: Kit, times: int) -> None:
    """Take the first message and give it back, *times* times, as a crashing consumer does."""
    async with channel(kit.url) as raw:
        for _ in range(times):
            got = await raw.basic_get(kit.topology.queue("svc"))
            assert got.delivery_tag is not None
            await raw.basic_reject(got.delivery_tag, requeue=True)


async def _declared(kit: Kit) -> None:
    bus = await kit.started(Inbox())
    await bus.close()


async def test_a_queue_with_other_arguments_stops_the_start_and_says_which(rabbit: Kit) -> None:
    await _declared(rabbit)
    queue = rabbit.topology.queue("svc")
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": rabbit.topology.parked,
        "x-dead-letter-routing-key": "svc",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length-bytes": 1 << 30,
        "x-delivery-limit": 5,
    }
    async with channel(rabbit.url) as raw:
        await raw.queue_delete(queue)
        await raw.queue_declare(queue, durable=True, arguments=arguments)
    with pytest.raises(TopologyMismatch) as caught:
        await rabbit.started(Inbox())
    said = str(caught.value)
    assert said.startswith(f"queue {queue}: argument x-delivery-limit: wanted ")
    assert "'20'" in said.partition("found")[0]
    assert "'5'" in said.partition("found")[2]


async def test_what_a_crashed_consumer_held_comes_again_with_its_count(rabbit: Kit) -> None:
    await _declared(rabbit)
    await _publish_raw(rabbit, "a")
    async with channel(rabbit.url) as raw:
        assert (await raw.basic_get(rabbit.topology.queue("svc"))).body == b"a"
    inbox = Inbox()
    await rabbit.started(inbox)
    await until(lambda: bool(inbox.seen))
    assert (inbox.seen[0].redelivered, inbox.seen[0].delivery_count) == (True, 1)


async def test_a_message_that_failed_often_is_handled_alone(rabbit: Kit) -> None:
    await _declared(rabbit)
    await _publish_raw(rabbit, "suspect")
    await _fail_raw(rabbit, 3)
    await _publish_raw(rabbit, *(f"m{i}" for i in range(20)))
    company: dict[str, int] = {}

    def look(batch: Sequence[Incoming]) -> None:
        company.update({str(one.message_id): len(batch) for one in batch})

    inbox = Inbox(before=look, gate=asyncio.Event())
    await rabbit.started(inbox)
    assert inbox.gate is not None
    inbox.gate.set()
    await until(lambda: len(inbox.seen) == 21)
    assert company["suspect"] == 1
    assert next(one for one in inbox.seen if one.message_id == "suspect").delivery_count == 3


async def test_what_the_broker_gives_up_on_ends_with_us_as_it_was_published(rabbit: Kit) -> None:
    await _declared(rabbit)
    await _publish_raw(rabbit, "poison")
    await _fail_raw(rabbit, DELIVERY_LIMIT + 1)
    await rabbit.started(Inbox())
    await until(lambda: bool(rabbit.parked.kept))
    incoming, reason, _ = rabbit.parked.kept[0]
    assert (incoming.message_id, incoming.routing_key, reason) == (
        "poison",
        "order.created",
        "delivery_limit",
    )
    assert not [name for name in incoming.headers if name.startswith(("x-death", "x-first-death"))]
    assert await ready(rabbit.url, rabbit.topology.parked_queue("svc")) == 0


async def test_after_an_unclean_stop_messages_are_committed_one_by_one_for_a_while(rabbit: Kit) -> None:
    await _declared(rabbit)
    await _publish_raw(rabbit, *(f"m{i}" for i in range(150)))
    inbox = Inbox()
    bus = await rabbit.started(inbox, probation=True)
    await until(lambda: len(inbox.seen) == 150)
    assert inbox.sizes[:PROBATION] == [1] * PROBATION
    assert max(inbox.sizes) > 1
    assert inbox.ids == [f"m{i}" for i in range(150)]
    assert bus.status().consuming


async def test_a_deleted_queue_is_made_again_and_consumed(rabbit: Kit) -> None:
    inbox = Inbox()
    bus = await rabbit.started(inbox)
    async with channel(rabbit.url) as raw:
        await raw.queue_delete(rabbit.topology.queue("svc"))
    await until(lambda: not bus.status().consuming)
    await until(lambda: bus.status().consuming, 6)
    assert await bus.publish([message("a")]) == [None]
    await until(lambda: "a" in inbox.ids)


async def test_a_channel_the_broker_closed_is_opened_again_and_nothing_is_lost(rabbit: Kit) -> None:
    inbox = Inbox(gate=asyncio.Event())
    bus = await rabbit.started(inbox)
    assert isinstance(bus, RabbitBus)
    assert await bus.publish(messages(3)) == [None] * 3
    raw = bus._consumers[0]._channel
    assert raw is not None
    await raw.basic_ack(999_999)  # a tag that was never given: the broker closes the channel
    await until(lambda: not bus.status().consuming)
    assert inbox.gate is not None
    inbox.gate.set()  # the handler ends on a dead channel: its acknowledgements are dropped, the messages come again
    await until(lambda: bus.status().consuming, 6)
    await until(lambda: {"m0", "m1", "m2"} <= set(inbox.ids[1:]))
    await bus.stop_consuming()
    assert await ready(rabbit.url, rabbit.topology.queue("svc")) == 0


async def test_two_buses_share_a_queue_and_every_message_is_handled_once(rabbit: Kit) -> None:
    one, two = Inbox(), Inbox()
    first = await rabbit.started(one, batch=5)
    await rabbit.started(two, batch=5)
    assert await first.publish(messages(300)) == [None] * 300
    await until(lambda: len(one.seen) + len(two.seen) == 300)
    assert sorted(map(str, one.ids + two.ids)) == sorted(f"m{i}" for i in range(300))


async def test_what_was_committed_is_acknowledged_when_stopping(rabbit: Kit) -> None:
    inbox = Inbox()
    bus = await rabbit.started(inbox)
    assert await bus.publish(messages(120)) == [None] * 120
    await until(lambda: len(inbox.seen) == 120)
    await bus.stop_consuming()
    assert await ready(rabbit.url, rabbit.topology.queue("svc")) == 0


async def test_a_message_says_when_it_was_published_and_by_what_name(rabbit: Kit) -> None:
    inbox = Inbox()
    bus = await rabbit.started(inbox)
    assert await bus.publish([message("a")]) == [None]
    await until(lambda: bool(inbox.seen))
    stamp = inbox.seen[0].timestamp
    assert stamp is not None
    assert stamp.tzinfo == UTC
    assert inbox.seen[0].door == "amqp"
