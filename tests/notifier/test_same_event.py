"""The same event, however often and by whichever door, is one set of messages; other content under its id is not it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from reach.events.v1 import event_service_pb2, order_pb2
from reach.notifier.v1 import explain_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import (
    EXAMPLES,
    STORE,
    Publisher,
    Reach,
    Sandbox,
    codes,
    embedded,
    eventually,
    refused,
    struct,
)

ORDER = {
    "order_number": "ORD1",
    "table_number": "A01",
    "total": "280.00",
    "order_time": "2026-02-20T12:30:00",
}
AS_INTEGER = ORDER | {"total": 280}
AS_DOUBLE = ORDER | {"total": 280.0}
OTHER = ORDER | {"total": "281.00"}


async def _copies(reach: Reach, event_id: str, count: int) -> Any:
    """Its explanation, once *count* copies were recognised."""

    async def look() -> Any:
        told = await reach.explain(event_id)
        return told if told.duplicate_count >= count else None

    return await eventually(look)


async def _letters(reach: Reach, count: int = 1, **wanted: Any) -> list[Any]:
    async def look() -> list[Any] | None:
        answer = await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest(**wanted))
        return list(answer.dead_letters) if len(answer.dead_letters) >= count else None

    return await eventually(look) or []


async def test_three_copies_by_the_broker_and_by_every_other_door_are_one_message(
    joined: Reach, till: Publisher, world: Sandbox
) -> None:
    for data in (AS_INTEGER, ORDER, AS_DOUBLE):
        await till.event("order.created", data, "e1")
    await world.arrived(1)
    for data in (AS_DOUBLE, ORDER, AS_INTEGER):
        assert (await joined.push(data=data, event_id="e1", wait=0)).duplicate
    for _ in range(3):
        body = {"event_type": "order.created", "event_data": AS_INTEGER, "store_id": STORE}
        assert await joined.post_event(body, id="e1") == (202, {"event_id": "e1", "duplicate": True})
    answers = [
        await joined.events.PublishEvent(
            event_service_pb2.PublishEventRequest(
                type="order.created", id="e1", store_id=STORE, json=struct(AS_DOUBLE)
            )
        )
        for _ in range(3)
    ]
    assert [answer.deduplicated for answer in answers] == [False, True, True]
    # Two more from the broker, three and three by RPC and HTTP, and the one that the outbox published.
    told = await _copies(joined, "e1", 9)
    assert told.duplicate_count == 9
    assert codes(told).count("planned") == codes(told).count("attempt") == 1
    assert "duplicate" in codes(told)
    assert len(await world.sends()) == 1


async def test_json_binary_mode_and_protobuf_of_one_event_are_one(
    joined: Reach, till: Publisher, world: Sandbox
) -> None:
    await till.publish("order.created", AS_INTEGER | {"store_id": STORE}, message_id="e2")
    headers = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": "e2",
        "cloudEvents:type": "order.created",
        "cloudEvents:source": "till",
        "cloudEvents:storeid": STORE,
    }
    await till.publish("order.created", ORDER, headers=headers)
    raw = order_pb2.OrderCreated(**ORDER).SerializeToString()
    await till.publish("order.created", raw, headers=headers, content_type="application/protobuf")
    assert (await _copies(joined, "e2", 2)).duplicate_count == 2
    await world.arrived(1)
    assert len(await world.sends()) == 1


async def test_copies_that_arrive_at_once_are_one_message(reach: Reach, world: Sandbox) -> None:
    answers = await asyncio.gather(*(reach.push(event_id="e3") for _ in range(20)))
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19
    assert {answer.deliveries[0].delivery_id for answer in answers} == {answers[0].deliveries[0].delivery_id}
    assert len(await world.sends()) == 1


async def test_other_content_under_the_same_id_is_refused_by_rpc_and_the_first_stands(
    reach: Reach, world: Sandbox
) -> None:
    first = await reach.push(data=ORDER, event_id="e4")
    code, error = await refused(reach.push(data=OTHER, event_id="e4"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EVENT_ID_CONFLICT")
    assert error.facts["event_id"] == "e4"
    status, answer = await reach.post_event({"event_type": "order.created", "event_data": OTHER}, id="e4")
    assert (status, answer["code"]) == (409, "EVENT_ID_CONFLICT")
    told = await reach.explain("e4")
    assert told.deliveries[0].delivery_id == first.deliveries[0].delivery_id
    assert "¥280.00" in told.deliveries[0].text
    assert len(await world.sends()) == 1


async def test_other_content_under_the_same_id_is_parked_by_the_broker_and_the_first_stands(
    joined: Reach, till: Publisher, world: Sandbox
) -> None:
    await till.event("order.created", ORDER, "e5")
    await world.arrived(1)
    await till.event("order.created", OTHER, "e5")
    (letter,) = await _letters(joined, reason="conflict")
    assert (letter.event_id, letter.store_id, letter.door) == ("e5", STORE, "amqp")
    explanations = (await joined.notifier.Explain(_of("e5"))).explanations
    assert [one.verdict for one in explanations] == [
        explain_pb2.VERDICT_PLANNED,
        explain_pb2.VERDICT_PARKED,
    ]
    assert "¥280.00" in explanations[0].deliveries[0].text
    assert "conflict" in explanations[1].steps[0].text_zh
    # Replaying it cannot help: it stays, and says so.
    answer = await joined.ops.ReplayDeadLetter(
        ops.ReplayDeadLetterRequest(dead_letter_ids=[letter.dead_letter_id])
    )
    assert answer.dead_letters[0].state == ops.DEAD_LETTER_STATE_PARKED
    assert len(await world.sends()) == 1


async def test_two_contents_of_one_id_in_one_batch_are_told_apart(
    joined: Reach, till: Publisher, world: Sandbox
) -> None:
    await asyncio.gather(*(till.event("order.created", data, "e6") for data in (ORDER, OTHER, ORDER, OTHER)))
    letters = await _letters(joined, 2, reason="conflict")
    assert [letter.event_id for letter in letters] == ["e6", "e6"]
    first, *parked = (await joined.notifier.Explain(_of("e6"))).explanations
    assert first.duplicate_count == 1
    assert [one.verdict for one in parked] == [explain_pb2.VERDICT_PARKED] * 2
    await world.arrived(1)
    assert len(await world.sends()) == 1


async def test_the_same_id_in_another_store_is_another_event(reach: Reach, world: Sandbox) -> None:
    await reach.push(event_id="e7", store="s1")
    assert not (await reach.push(event_id="e7", store="s2")).duplicate
    assert len(await world.sends()) == 2
    answer = await reach.notifier.Explain(_of("e7"))
    assert sorted(one.store_id for one in answer.explanations) == ["s1", "s2"]


async def test_published_events_of_the_same_id_and_other_content_are_refused(reach: Reach) -> None:
    def publishing(data: dict[str, Any]) -> Any:
        return reach.events.PublishEvent(
            event_service_pb2.PublishEventRequest(
                type="order.created", id="e8", store_id=STORE, json=struct(data)
            )
        )

    await publishing(ORDER)
    code, error = await refused(publishing(OTHER))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EVENT_ID_CONFLICT")


async def test_a_body_without_an_id_is_recognised_and_explain_says_for_how_long(
    reach: Reach, world: Sandbox
) -> None:
    body = {"event_type": "order.created", "event_data": ORDER, "store_id": STORE}
    _, first = await reach.post_event(body)
    _, second = await reach.post_event(body | {"event_data": AS_INTEGER})
    assert first["event_id"] == second["event_id"]
    assert second["duplicate"]
    told = await reach.explain(first["event_id"])
    assert told.derived_id
    step = next(step for step in told.steps if step.code == "derived_id")
    assert "60" in step.text_zh
    assert "60" in step.text_en
    await world.arrived(1)
    assert len(await world.sends()) == 1


async def test_a_body_without_an_id_is_recognised_for_sixty_seconds_across_the_minute(
    world: Sandbox, tmp_path: Path
) -> None:
    await world.post("/sandbox/clock", set="2026-03-02T04:00:50Z", freeze=True)
    body = {"event_type": "order.created", "event_data": ORDER, "store_id": STORE}
    async with embedded(world.url, tmp_path / "home", clock="sandbox") as reach:
        await reach.staff()

        async def at(instant: str) -> Any:
            await world.post("/sandbox/clock", set=instant)
            await eventually(lambda: _reads(reach, instant))
            return (await reach.post_event(body))[1]

        first = await at("2026-03-02T04:00:50Z")
        assert await at("2026-03-02T04:01:49Z") == {"event_id": first["event_id"], "duplicate": True}
        later = await at("2026-03-02T04:01:51Z")
        assert not later["duplicate"]
        assert later["event_id"] != first["event_id"]


async def _reads(reach: Reach, instant: str) -> bool:
    """Whether the notifier's clock shows *instant*: it stamps what it records with it."""
    probe = await reach.push("clock.probe", {"at": instant}, wait=0)
    told = await reach.explain(probe.event_id)
    return bool(told.receive_time.ToJsonString() == instant)


async def test_whole_numbers_are_one_number_in_json_and_struct(reach: Reach) -> None:
    """Struct knows doubles only: what came as JSON integers must be the same event."""
    for event_type, data in EXAMPLES.items():
        body = {"event_type": event_type, "event_data": data, "store_id": STORE}
        status, answer = await reach.post_event(body, id=event_type)
        assert status == 202, answer
        assert (await reach.push(event_type, event_id=event_type, wait=0)).duplicate


def _of(event_id: str) -> Any:
    return pb.ExplainRequest(id=event_id)
