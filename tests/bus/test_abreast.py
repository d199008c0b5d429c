"""Two batches side by side: what is acknowledged when they end in any order, or badly, or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from shared.bus import Incoming, Outgoing
from shared.bus.consumer import PROBATION, SUSPECT
from shared.bus.rabbit import RabbitBus
from shared.errors import Unavailable
from tests.bus.conftest import Kit
from tests.bus.support import message, messages, ready, until


@dataclass
class Stage:
    """A handler that holds a batch at the doors of its messages, and then does to it what it is told."""

    entered: list[list[str]] = field(default_factory=list)
    committed: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    inside: list[list[str]] = field(default_factory=list)
    doors: dict[str, asyncio.Event] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)

    def hold(self, *ids: str) -> None:
        self.doors.update({one: asyncio.Event() for one in ids})

    def let(self, *ids: str) -> None:
        for one in ids:
            self.doors[one].set()

    async def __call__(self, batch: Sequence[Incoming]) -> None:
        ids = [str(one.message_id) for one in batch]
        self.entered.append(ids)
        self.inside.append(ids)
        try:
            for one in ids:
                if one in self.doors:
                    await self.doors[one].wait()
            for one in ids:
                if one in self.faults:
                    raise self.faults[one]
            self.committed += ids
            self.counts += [one.delivery_count for one in batch]
        finally:
            self.inside.remove(ids)


async def _started(
    kit: Kit, stage: Stage, *first: Outgoing, batch: int = 1, probation: bool = False
) -> RabbitBus:
    """A bus whose queue held *first* before it consumed any of it."""
    before = await kit.started(Stage(), "order.*")
    await before.stop_consuming()
    assert await before.publish(first) == [None] * len(first)
    await before.close()
    bus = kit.bus(probation=probation)
    assert isinstance(bus, RabbitBus)
    bus.subscribe("svc", ("order.*",), stage, batch=batch, abreast=2)
    await bus.start()
    return bus


async def _lose(bus: RabbitBus, how: str) -> None:
    """Take the consumer's channel or connection away, with whatever it has not acknowledged."""
    if how == "connection":
        connection = bus._connection
        assert connection is not None
        await connection.close()
    else:
        raw = bus._consumers[0]._channel
        assert raw is not None
        await raw.basic_ack(999_999)  # a tag that was never given: the broker closes the channel
    await until(lambda: not bus.status().consuming)


async def _back(bus: RabbitBus) -> None:
    """Wait until the bus consumes again, and for a message behind all that may come again."""
    await until(lambda: bus.status().consuming, 10)
    assert await bus.publish([message("last")]) == [None]


async def _left(kit: Kit, bus: RabbitBus) -> int:
    await bus.stop_consuming()
    return await ready(kit.url, kit.topology.queue("svc"))


def _here(bus: RabbitBus) -> int:
    """How many messages wait inside the consumer for their turn."""
    return len(bus._consumers[0]._buffer)


def _suspect(name: str) -> Outgoing:
    one = message(name)
    return replace(one, headers={**one.headers, "x-delivery-count": SUSPECT})  # type: ignore[dict-item]


async def test_two_batches_are_handled_side_by_side_and_never_three(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0", "m1")
    bus = await _started(rabbit, stage, *messages(3))
    await until(lambda: len(stage.inside) == 2 and _here(bus) == 1)
    assert stage.entered == [["m0"], ["m1"]]
    stage.let("m0", "m1")
    await until(lambda: sorted(stage.committed) == ["m0", "m1", "m2"])
    assert await _left(rabbit, bus) == 0


async def test_the_second_done_first_is_not_acknowledged_before_the_first(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0")
    bus = await _started(rabbit, stage, *messages(2))
    await until(lambda: stage.committed == ["m1"] and not stage.inside[1:])
    await _lose(bus, "channel")
    stage.let("m0")
    await _back(bus)
    await until(lambda: "last" in stage.committed)
    await until(lambda: Counter(stage.committed) == {"m0": 2, "m1": 2, "last": 1})
    assert await _left(rabbit, bus) == 0


async def test_the_first_done_first_is_acknowledged_while_the_second_goes_on(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m1")
    bus = await _started(rabbit, stage, *messages(2))
    await until(lambda: stage.committed == ["m0"] and stage.inside == [["m1"]])
    await until(lambda: not bus._consumers[0]._finished and len(bus._consumers[0]._unacked) == 1)
    await _lose(bus, "channel")
    stage.let("m1")
    await _back(bus)
    await until(lambda: Counter(stage.committed) == {"m0": 1, "m1": 2, "last": 1})
    assert await _left(rabbit, bus) == 0


async def test_both_done_in_the_wrong_order_are_both_acknowledged(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0", "m1")
    bus = await _started(rabbit, stage, *messages(2))
    await until(lambda: len(stage.inside) == 2)
    stage.let("m1")
    await until(lambda: stage.committed == ["m1"])
    stage.let("m0")
    await until(lambda: stage.committed == ["m1", "m0"] and not bus._consumers[0]._unacked)
    await _lose(bus, "channel")
    await _back(bus)
    await until(lambda: "last" in stage.committed)
    assert stage.committed == ["m1", "m0", "last"]
    assert await _left(rabbit, bus) == 0


async def test_an_unavailable_first_is_repeated_and_the_second_is_not(rabbit: Kit) -> None:
    stage = Stage(faults={"m0": Unavailable("DEPENDENCY_DOWN", "no database")})
    stage.hold("m0")
    bus = await _started(rabbit, stage, *messages(2))
    stage.let("m0")
    await until(lambda: stage.entered.count(["m0"]) >= 3 and stage.committed == ["m1"])
    assert not bus.status().consuming
    stage.faults.clear()
    await until(lambda: stage.committed == ["m1", "m0"])
    await until(lambda: bus.status().consuming and not bus._consumers[0]._unacked)
    assert stage.entered.count(["m1"]) == 1
    assert max(stage.counts) == 0, "nothing was given back"
    assert await _left(rabbit, bus) == 0
    assert rabbit.parked.kept == []


async def test_while_the_first_is_unavailable_the_second_is_not_acknowledged(rabbit: Kit) -> None:
    stage = Stage(faults={"m0": Unavailable("DEPENDENCY_DOWN", "no database")})
    stage.hold("m0")
    bus = await _started(rabbit, stage, *messages(2))
    stage.let("m0")
    await until(lambda: stage.entered.count(["m0"]) >= 2 and stage.committed == ["m1"])
    await _lose(bus, "channel")
    stage.faults.clear()
    await _back(bus)
    await until(lambda: Counter(stage.committed) == {"m0": 1, "m1": 2, "last": 1})
    assert await _left(rabbit, bus) == 0


async def test_an_unavailable_second_waits_for_the_first_and_is_repeated(rabbit: Kit) -> None:
    stage = Stage(faults={"m1": Unavailable("DEPENDENCY_DOWN", "no database")})
    stage.hold("m0")
    bus = await _started(rabbit, stage, *messages(4))
    await until(lambda: ["m1"] in stage.entered and stage.inside == [["m0"]])
    stage.let("m0")
    await until(lambda: stage.entered.count(["m1"]) >= 2)
    stage.faults.clear()
    await until(lambda: sorted(stage.committed) == ["m0", "m1", "m2", "m3"])
    await until(lambda: not bus._consumers[0]._unacked)
    assert Counter(stage.committed).most_common(1)[0][1] == 1
    assert await _left(rabbit, bus) == 0


async def test_two_unavailable_batches_are_repeated_in_their_order(rabbit: Kit) -> None:
    down = Unavailable("DEPENDENCY_DOWN", "no database")
    stage = Stage(faults={"m0": down, "m1": down})
    stage.hold("m0", "m1")
    bus = await _started(rabbit, stage, *messages(2))
    await until(lambda: len(stage.inside) == 2)
    stage.let("m0", "m1")
    await until(lambda: len(stage.entered) >= 6)
    stage.faults.clear()
    await until(lambda: sorted(stage.committed) == ["m0", "m1"])
    assert stage.entered[:6] == [["m0"], ["m1"]] * 3
    await until(lambda: not bus._consumers[0]._unacked)
    assert await _left(rabbit, bus) == 0


@pytest.mark.parametrize("how", ["channel", "connection"])
async def test_what_was_in_flight_when_the_broker_was_lost_comes_again(rabbit: Kit, how: str) -> None:
    stage = Stage()
    stage.hold("m0", "m1")
    bus = await _started(rabbit, stage, *messages(3))
    await until(lambda: len(stage.inside) == 2)
    await _lose(bus, how)
    assert stage.inside == [["m0"], ["m1"]], "a handler that may still commit is waited for"
    stage.let("m0", "m1")
    await _back(bus)
    await until(lambda: Counter(stage.committed) == {"m0": 2, "m1": 2, "m2": 1, "last": 1})
    assert await _left(rabbit, bus) == 0


async def test_stopping_waits_for_both_and_loses_nothing(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0", "m1")
    bus = await _started(rabbit, stage, *messages(8))
    await until(lambda: len(stage.inside) == 2)
    stopping = asyncio.create_task(bus.stop_consuming())
    await until(lambda: not bus._consumers[0].active)
    stage.let("m1")
    await until(lambda: "m1" in stage.committed)
    assert not stopping.done()
    stage.let("m0")
    await stopping
    assert stage.inside == []
    assert {"m0", "m1"} <= set(stage.committed)
    assert len(stage.committed) + await ready(rabbit.url, rabbit.topology.queue("svc")) == 8


async def test_a_suspect_waits_until_nothing_is_in_flight(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0", "s")
    bus = await _started(rabbit, stage, message("m0"), _suspect("s"), batch=5)
    await until(lambda: bool(stage.inside) and (_here(bus) == 1 or len(stage.entered) > 1))
    assert stage.inside == [["m0"]]
    stage.let("m0")
    await until(lambda: stage.inside == [["s"]])
    stage.let("s")
    await until(lambda: stage.committed == ["m0", "s"])


async def test_nothing_is_begun_beside_a_suspect(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("s")
    bus = await _started(rabbit, stage, _suspect("s"), message("m0"), batch=5)
    await until(lambda: bool(stage.inside) and (_here(bus) == 1 or len(stage.entered) > 1))
    assert stage.inside == [["s"]], "should it kill the process, it takes the other along"
    assert stage.entered == [["s"]]
    stage.let("s")
    await until(lambda: stage.committed == ["s", "m0"])


async def test_on_probation_one_message_is_handled_at_a_time_and_afterwards_two_batches(rabbit: Kit) -> None:
    stage = Stage()
    total = PROBATION + 4
    stage.hold(*(f"m{i}" for i in range(total)))
    bus = await _started(rabbit, stage, *messages(total), probation=True)
    crowd: list[int] = []
    for i in range(PROBATION):
        await until(lambda i=i: [f"m{i}"] in stage.inside)  # type: ignore[misc]
        crowd.append(len(stage.inside) + _here(bus))
        stage.let(f"m{i}")
    assert crowd == [1] * PROBATION
    await until(lambda: len(stage.inside) == 2)
    stage.let(*stage.doors)
    await until(lambda: len(stage.committed) == total)
    assert await _left(rabbit, bus) == 0


async def test_stopping_just_when_probation_ends_takes_nothing_new(rabbit: Kit) -> None:
    stage = Stage()
    stage.hold("m0")
    bus = await _started(rabbit, stage, *messages(20), probation=True)
    bus._subscriptions[0].probation = 1
    consumer = bus._consumers[0]
    channel = consumer._channel
    assert channel is not None
    cancel = channel.basic_cancel
    stopping: list[asyncio.Task[None]] = []

    async def stop_meanwhile(tag: str) -> object:
        answer = await cancel(tag)
        stopping.append(asyncio.create_task(bus.stop_consuming()))
        await until(lambda: consumer._stopping)
        return answer

    channel.basic_cancel = stop_meanwhile  # type: ignore[method-assign,assignment]
    stage.let("m0")
    await until(lambda: bool(stopping))
    await stopping[0]
    assert len(stage.committed) <= 2, "one may have been on its way"
    assert len(stage.committed) + await ready(rabbit.url, rabbit.topology.queue("svc")) == 20


async def test_a_bug_in_one_batch_is_found_and_parked_and_the_other_is_not_touched(rabbit: Kit) -> None:
    stage = Stage(faults={"m4": ValueError("no such dish")})
    stage.hold("a", "b", "m7")
    bus = await _started(rabbit, stage, message("a"), batch=5)
    await until(lambda: stage.inside == [["a"]])
    assert await bus.publish([message("b")]) == [None]
    await until(lambda: stage.inside == [["a"], ["b"]])
    assert await bus.publish(messages(8)) == [None] * 8
    await until(lambda: _here(bus) == 8)
    stage.let("a")  # the oldest lands first: m0 to m4 take its place
    await until(lambda: "m4" in rabbit.parked.reasons)
    stage.let("b")
    await until(lambda: ["m5", "m6", "m7"] in stage.inside)
    stage.let("m7")
    await until(lambda: len(stage.committed) == 9)
    assert stage.entered.count(["m5", "m6", "m7"]) == 1
    assert rabbit.parked.reasons == {"m4": "handler_bug"}
    assert sorted(stage.committed) == ["a", "b", "m0", "m1", "m2", "m3", "m5", "m6", "m7"]
    await until(lambda: not bus._consumers[0]._unacked)
    assert await _left(rabbit, bus) == 0
