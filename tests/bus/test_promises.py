"""The promises of shared.bus.Bus, for every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shared.bus import Incoming
from shared.errors import Throttled, Unavailable
from tests.bus.conftest import Kit
from tests.bus.support import Inbox, message, messages, until


async def test_what_is_published_reaches_the_handler_whole_and_in_order(kit: Kit) -> None:
    inbox = Inbox()
    bus = await kit.started(inbox)
    assert await bus.publish(messages(250)) == [None] * 250
    await until(lambda: len(inbox.seen) == 250)
    assert inbox.ids == [f"m{i}" for i in range(250)]
    first = inbox.seen[0]
    assert (first.body, first.content_type, first.routing_key) == (b"m0", "application/json", "order.created")
    assert first.headers["cloudEvents:storeid"] == "s1"
    assert not first.redelivered
    assert max(inbox.sizes) <= 100


async def test_every_service_gets_its_own_copy_of_what_it_listens_to(kit: Kit) -> None:
    one, two, other = Inbox(), Inbox(), Inbox()
    bus = kit.bus()
    kit.subscribe(bus, "one", ("order.created",), one)
    kit.subscribe(bus, "two", ("order.*", "#.created"), two)
    kit.subscribe(bus, "other", ("payment.#",), other)
    await bus.start()
    assert await bus.publish([message("a"), message("b", "payment.failed")]) == [None, None]
    await until(lambda: bool(one.seen and two.seen and other.seen))
    assert (one.ids, two.ids, other.ids) == (["a"], ["a"], ["b"])


async def test_what_nobody_listens_to_is_kept_with_its_key(kit: Kit) -> None:
    bus = await kit.started(Inbox())
    assert await bus.publish([message("lost", "weather.changed")]) == [None]
    await until(lambda: bool(kit.unrouted.kept))
    incoming, reason, _ = kit.unrouted.kept[0]
    assert (incoming.message_id, incoming.routing_key, reason) == ("lost", "weather.changed", "unrouted")
    assert kit.parked.kept == []


async def test_a_binding_can_be_added_while_it_runs(kit: Kit) -> None:
    inbox = Inbox()
    bus = await kit.started(inbox)
    await bus.bind("svc", ["custom.happened"])
    await bus.bind("svc", ["custom.happened"])
    assert await bus.publish([message("c", "custom.happened")]) == [None]
    await until(lambda: inbox.ids == ["c"])
    assert kit.unrouted.kept == []


async def test_a_poison_message_is_found_and_parked_and_the_others_are_handled(kit: Kit) -> None:
    def refuse(batch: Sequence[Incoming]) -> None:
        if any(one.message_id in ("m13", "m60") for one in batch):
            raise ValueError("card 6222 0000")

    inbox = Inbox(before=refuse, gate=asyncio.Event())
    bus = await kit.started(inbox)
    publishing = asyncio.create_task(bus.publish(messages(100)))
    assert inbox.gate is not None
    await asyncio.sleep(0.2)  # not for luck: lets a batch gather, whatever its size the result is the same
    inbox.gate.set()
    assert await publishing == [None] * 100
    await until(lambda: len(inbox.seen) == 98 and len(kit.parked.kept) == 2)
    assert kit.parked.reasons == {"m13": "handler_bug", "m60": "handler_bug"}
    assert "6222" not in kit.parked.kept[0][2]
    assert len(set(inbox.ids)) == 98


async def test_a_handler_that_failed_once_for_no_fault_of_the_message_gets_it_again(kit: Kit) -> None:
    failures = [RuntimeError("collision")]

    def once(_: Sequence[Incoming]) -> None:
        if failures:
            raise failures.pop()

    inbox = Inbox(before=once)
    bus = await kit.started(inbox)
    assert await bus.publish([message("a")]) == [None]
    await until(lambda: inbox.ids == ["a"])
    assert kit.parked.kept == []


async def test_an_unavailable_dependency_pauses_consuming_and_burns_no_delivery_count(kit: Kit) -> None:
    down, calls = [True], []

    def check(batch: Sequence[Incoming]) -> None:
        calls.append(len(batch))
        if down[0]:
            raise Unavailable("DEPENDENCY_DOWN", "no database")

    inbox = Inbox(before=check)
    bus = await kit.started(inbox)
    publishing = asyncio.create_task(bus.publish(messages(30)))
    await until(lambda: len(calls) >= 4)
    assert not bus.status().consuming
    down[0] = False
    await until(lambda: len(inbox.seen) == 30)
    await until(lambda: bus.status().consuming)
    assert await publishing == [None] * 30
    # Four probes and more, yet nothing was given back, but for what was on its way just when consuming stopped.
    assert max(one.delivery_count for one in inbox.seen) <= 1
    assert inbox.ids == [f"m{i}" for i in range(30)]
    assert kit.parked.kept == []
    assert await bus.publish(messages(1, 30)) == [None]
    await until(lambda: len(inbox.seen) == 31)


async def test_an_overload_that_passes_parks_nothing(kit: Kit) -> None:
    left = [12]

    def overloaded(batch: Sequence[Incoming]) -> None:
        if left[0]:
            left[0] -= 1
            raise Throttled("OVERLOADED", "the disk is full")

    inbox = Inbox(before=overloaded)
    bus = await kit.started(inbox)
    publishing = asyncio.create_task(bus.publish(messages(30)))
    await until(lambda: len(inbox.seen) == 30)
    assert await publishing == [None] * 30
    assert inbox.ids == [f"m{i}" for i in range(30)]
    assert kit.parked.kept == []


async def test_a_batch_takes_what_is_there_and_no_more_than_asked(kit: Kit) -> None:
    inbox = Inbox(gate=asyncio.Event())
    bus = await kit.started(inbox, batch=10)
    publishing = asyncio.create_task(bus.publish(messages(35)))
    await asyncio.sleep(0.3)  # not for luck: the more has gathered, the harder the check
    assert inbox.gate is not None
    inbox.gate.set()
    await until(lambda: len(inbox.seen) == 35)
    assert max(inbox.sizes) == 10
    await publishing


async def test_stopping_lets_the_handler_in_flight_finish_and_takes_nothing_new(kit: Kit) -> None:
    inbox = Inbox(gate=asyncio.Event())
    bus = await kit.started(inbox, publish_timeout=1.0)
    entered = asyncio.create_task(bus.publish([message("a")]))
    await asyncio.sleep(0.2)
    stopping = asyncio.create_task(bus.stop_consuming())
    done, _ = await asyncio.wait({stopping}, timeout=0.3)
    assert not done
    assert inbox.gate is not None
    inbox.gate.set()
    await stopping
    assert await entered == [None]
    assert inbox.ids == ["a"]
    assert not bus.status().consuming
    await bus.publish([message("b")])
    assert inbox.ids == ["a"]


async def test_publishing_the_same_message_twice_delivers_it_twice_for_the_inbox_to_see(kit: Kit) -> None:
    inbox = Inbox()
    bus = await kit.started(inbox)
    assert await bus.publish([message("a"), message("a")]) == [None, None]
    await until(lambda: inbox.ids == ["a", "a"])


async def test_one_message_that_cannot_be_sent_does_not_hold_up_the_others(rabbit: Kit) -> None:
    inbox = Inbox()
    bus = await rabbit.started(inbox)
    answers = await bus.publish([message("a"), message("bad", "k" * 300), message("b")])
    assert [type(answer) for answer in answers] == [type(None), ValueError, type(None)]
    await until(lambda: inbox.ids == ["a", "b"])


async def test_subscribing_twice_or_late_is_refused(kit: Kit) -> None:
    bus = await kit.started(Inbox())
    with pytest.raises(RuntimeError, match="before start"):
        bus.subscribe("late", ["x"], Inbox())
