"""What a person does to a delivery: sent once more after a failure, taken back while it waits."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64decode
from contextlib import closing
from typing import Any

import grpc
from reach.events.v1 import notifier_events_pb2
from reach.notifier.v1 import delivery_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import STORE, Reach, Sandbox, eventually, refused, robot, seconds, user

KEY = "front-desk-robot-key"
SENDS = "/cgi-bin/message/send"


async def _send(reach: Reach, text: str, target: Any, wait: float = 0) -> Any:
    request = pb.SendMessageRequest(store_id=STORE, targets=[target], text=text, wait=seconds(wait))
    return (await reach.notifier.SendMessage(request)).deliveries[0]


async def _get(reach: Reach, delivery_id: str) -> Any:
    return (await reach.notifier.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery_id))).delivery


async def _replay(reach: Reach, delivery_id: str, key: str = "") -> Any:
    request = pb.ReplayDeliveryRequest(delivery_id=delivery_id, idempotency_key=key)
    return (await reach.notifier.ReplayDelivery(request)).delivery


async def _cancel(reach: Reach, delivery_id: str, key: str = "") -> Any:
    request = pb.CancelDeliveryRequest(delivery_id=delivery_id, idempotency_key=key)
    return (await reach.notifier.CancelDelivery(request)).delivery


async def _held(reach: Reach, world: Sandbox) -> Any:
    """A robot's post that waits for the rate, behind as many as the platform takes in a minute."""
    await reach.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret=KEY)
    )
    for at in range(19):
        await _send(reach, f"{at}", robot("front"))
    await world.arrived(19)
    held = await _send(reach, "late", robot("front"))

    async def deferred() -> Any:
        found = await _get(reach, held.delivery_id)
        return found if found.status == delivery_pb2.DELIVERY_STATUS_DEFERRED else None

    return await eventually(deferred)


def _announced(reach: Reach, delivery_id: str) -> list[str]:
    """The types of the events that told of a delivery, from the outbox of an embedded notifier."""
    assert reach.home is not None
    with closing(sqlite3.connect(reach.home / "notifier.db")) as database:
        found = database.execute("SELECT type, body FROM outbox ORDER BY id").fetchall()
    bodies = [
        (type_, notifier_events_pb2.DeliveryOutcome.FromString(b64decode(body))) for type_, body in found
    ]
    return [type_ for type_, outcome in bodies if outcome.delivery_id == delivery_id]


async def test_what_failed_goes_once_more_to_everybody_it_is_for(bare: Reach, world: Sandbox) -> None:
    await world.fault(path=SENDS, errcode=81013)
    failed = await _send(bare, "开会", user("anna"), wait=8)
    assert failed.status == delivery_pb2.DELIVERY_STATUS_FAILED
    await world.clear_faults()
    await _replay(bare, failed.delivery_id)

    async def accepted() -> Any:
        found = await _get(bare, failed.delivery_id)
        return found if found.status == delivery_pb2.DELIVERY_STATUS_ACCEPTED else None

    done = await eventually(accepted)
    assert [one.status for one in done.recipients] == [delivery_pb2.RECIPIENT_STATUS_ACCEPTED]
    assert [one.attempt_no for one in done.attempts] == [1, 2]
    assert len(await world.messages("anna")) == 1


async def test_a_repeat_of_the_call_sends_nothing_twice(bare: Reach, world: Sandbox) -> None:
    await world.fault(path=SENDS, errcode=81013, count=1)
    failed = await _send(bare, "开会", user("anna"), wait=8)
    await asyncio.gather(*(_replay(bare, failed.delivery_id, "once") for _ in range(4)))
    await world.arrived(1, to="anna")
    code, error = await refused(_replay(bare, failed.delivery_id))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
    assert (await _replay(bare, failed.delivery_id, "once")).status == delivery_pb2.DELIVERY_STATUS_ACCEPTED
    assert len(await world.sends()) == 2


async def test_what_waits_is_taken_back_and_says_by_whom(bare: Reach, world: Sandbox) -> None:
    held = await _held(bare, world)
    gone = await _cancel(bare, held.delivery_id, "once")
    assert gone.status == delivery_pb2.DELIVERY_STATUS_CANCELLED
    assert gone.reason == "cancelled_by:local"
    assert (await _cancel(bare, held.delivery_id, "once")).status == gone.status
    told = await bare.explain(held.delivery_id)
    assert any(step.code == "cancelled" or "撤回" in step.text_zh for step in told.steps)
    assert "late" not in str(await world.messages(KEY))
    assert _announced(bare, held.delivery_id) == ["notifier.delivery.cancelled"]
    assert (await _replay(bare, held.delivery_id)).status == delivery_pb2.DELIVERY_STATUS_PENDING


async def test_what_is_over_is_not_taken_back(bare: Reach, world: Sandbox) -> None:
    sent = await _send(bare, "早", user("anna"), wait=8)
    for change in (_cancel, _replay):
        code, error = await refused(change(bare, sent.delivery_id))
        assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
        assert (await refused(change(bare, "nothing")))[0] is grpc.StatusCode.NOT_FOUND


async def test_of_two_who_cancel_and_one_who_sends_one_wins(bare: Reach, world: Sandbox) -> None:
    sent = [await _send(bare, f"{n}", user(f"u{n}")) for n in range(10)]
    answers = await asyncio.gather(*(_cancel(bare, one.delivery_id) for one in sent), return_exceptions=True)
    cancelled = sum(not isinstance(one, BaseException) for one in answers)

    async def over() -> bool:
        found = [await _get(bare, one.delivery_id) for one in sent]
        ended = {delivery_pb2.DELIVERY_STATUS_ACCEPTED, delivery_pb2.DELIVERY_STATUS_CANCELLED}
        return {one.status for one in found} <= ended

    await eventually(over)
    assert len(await world.messages()) == 10 - cancelled
