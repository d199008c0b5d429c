"""What operators do: resolve what is unclear, look at limits, keep credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import delivery_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import (
    CORP,
    SECRET,
    STORE,
    Reach,
    Sandbox,
    eventually,
    refused,
    robot,
    seconds,
    user,
)

KEY = "693a91f6-7d5e-4bc4-97a0-0ec2d1fa5aaa"


async def _add_robot(reach: Reach, name: str = "front", key: str = KEY) -> None:
    await reach.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name=name, secret=key)
    )


async def _lose(reach: Reach, world: Sandbox, text: str, accepted: bool = True) -> str:
    """A robot's post whose outcome nobody can tell; the delivery's id."""
    drop = "after-accept" if accepted else "before-accept"
    await world.fault(path="/cgi-bin/webhook/send", drop=drop, body=text, count=1)
    sent = await reach.notifier.SendMessage(
        pb.SendMessageRequest(store_id=STORE, targets=[robot("front")], text=text, wait=seconds(5))
    )
    (delivery,) = sent.deliveries
    assert delivery.status == delivery_pb2.DELIVERY_STATUS_UNKNOWN
    return str(delivery.delivery_id)


async def _status(reach: Reach, delivery_id: str) -> int:
    request = pb.GetDeliveryRequest(delivery_id=delivery_id)
    return int((await reach.notifier.GetDelivery(request)).delivery.status)


# --- Unknown sends --------------------------------------------------------------------------------------


async def test_unknown_sends_are_listed_oldest_first_and_resolved(bare: Reach, world: Sandbox) -> None:
    await _add_robot(bare)
    lost = [await _lose(bare, world, text, accepted=text != "three") for text in ("one", "two", "three")]
    seen, token = [], ""
    while True:
        page = await bare.ops.ListUnknown(ops.ListUnknownRequest(page_size=2, page_token=token))
        seen += list(page.unknown_sends)
        token = page.next_page_token
        if not token:
            break
    assert [one.id for one in seen] == lost
    assert {(one.service, one.kind, one.channel, one.store_id) for one in seen} == {
        ("notifier", "delivery", "robot:front", STORE)
    }
    assert all(one.detail and one.HasField("unknown_time") for one in seen)
    assert KEY not in str(seen)

    async def resolve(delivery_id: str, resolution: int) -> str:
        request = ops.ResolveUnknownRequest(id=delivery_id, resolution=resolution, comment="asked the group")
        return str((await bare.ops.ResolveUnknown(request)).status)

    assert await resolve(lost[0], ops.RESOLUTION_SENT) == "accepted"
    assert await _status(bare, lost[0]) == delivery_pb2.DELIVERY_STATUS_ACCEPTED
    assert await resolve(lost[1], ops.RESOLUTION_NOT_SENT) == "failed"
    assert await _status(bare, lost[1]) == delivery_pb2.DELIVERY_STATUS_FAILED
    assert await resolve(lost[2], ops.RESOLUTION_RESEND) == "pending"
    await eventually(lambda: _is(bare, lost[2], delivery_pb2.DELIVERY_STATUS_ACCEPTED))
    assert not (await bare.ops.ListUnknown(ops.ListUnknownRequest())).unknown_sends
    texts = [message["content"]["content"] for message in await world.messages(KEY)]
    assert texts == ["one", "two", "「可能重复」\nthree"]
    code, error = await refused(resolve(lost[0], ops.RESOLUTION_RESEND))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
    code, error = await refused(resolve("nothing", ops.RESOLUTION_SENT))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def _is(reach: Reach, delivery_id: str, status: int) -> bool:
    return await _status(reach, delivery_id) == status


# --- Limits ---------------------------------------------------------------------------------------------


async def test_limits_show_what_is_used_and_when_there_is_room(reach: Reach, world: Sandbox) -> None:
    await _add_robot(reach)
    await reach.push()
    for at in range(20):
        await reach.notifier.SendMessage(
            pb.SendMessageRequest(store_id=STORE, targets=[robot("front")], text=f"{at}")
        )
    await world.arrived(20)

    async def listed(**wanted: Any) -> list[Any]:
        found, token = [], ""
        while True:
            page = await reach.ops.ListLimits(ops.ListLimitsRequest(page_token=token, **wanted))
            found += list(page.limits)
            token = page.next_page_token
            if not token:
                return found

    lines = await listed()
    assert [line.key for line in lines] == sorted(line.key for line in lines)
    assert lines == await listed(page_size=1)
    (full,) = await listed(key_prefix="robot:")
    assert (full.key, full.window, full.max, full.used) == ("robot:front", "minute", 19, 19)
    assert full.HasField("free_time")
    member = {line.window: line for line in lines if line.key.startswith("app:")}
    assert {name: (line.max, line.used) for name, line in member.items()} == {
        "minute": (28, 1),
        "hour": (950, 1),
    }
    assert not any(line.HasField("free_time") for line in member.values())
    assert KEY not in str(lines)


# --- Credentials ----------------------------------------------------------------------------------------


async def test_a_secret_goes_in_and_never_comes_back(bare: Reach, world: Sandbox) -> None:
    other = "another-app-secret-0123456789"
    answer = await bare.ops.SetCredential(
        ops.SetCredentialRequest(
            kind=ops.CREDENTIAL_KIND_APP, name="night", corp_id=CORP, agent_id=1000009, secret=other
        )
    )
    await _add_robot(bare)
    listed = await bare.ops.ListCredentials(ops.ListCredentialsRequest())
    assert [(one.kind, one.name, one.updated_by) for one in listed.credentials] == [
        (ops.CREDENTIAL_KIND_APP, "default", "settings"),
        (ops.CREDENTIAL_KIND_APP, "night", "local"),
        (ops.CREDENTIAL_KIND_ROBOT, "front", "local"),
    ]
    doctor = await bare.ops.Doctor(ops.DoctorRequest())
    for shown in (answer, listed, doctor):
        assert not any(secret in str(shown) for secret in (other, SECRET, KEY))
    target = user("anna")
    target.account = "night"
    sent = await bare.notifier.SendMessage(
        pb.SendMessageRequest(store_id=STORE, targets=[target], text="x", wait=seconds(5))
    )
    assert sent.deliveries[0].channel == "app:night"
    assert (await world.messages())[0]["agentid"] == 1000009
    assert bare.home is not None
    for name, raw in _files(bare.home).items():
        assert not any(secret.encode() in raw for secret in (other, SECRET, KEY)), name


def _files(home: Path) -> dict[str, bytes]:
    """Every database file, as it lies on the disk."""
    return {one.name: one.read_bytes() for one in home.glob("*.db*")}


async def test_a_removed_credential_fails_what_needs_it_with_its_reason(bare: Reach, world: Sandbox) -> None:
    await _add_robot(bare)
    await bare.ops.DeleteCredential(ops.DeleteCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front"))
    sent = await bare.notifier.SendMessage(
        pb.SendMessageRequest(store_id=STORE, targets=[robot("front")], text="x", wait=seconds(5))
    )
    (delivery,) = sent.deliveries
    assert delivery.status == delivery_pb2.DELIVERY_STATUS_FAILED
    assert "credential_missing" in delivery.reason
    assert await world.sends() == []


async def test_a_replaced_key_is_the_one_that_is_used(bare: Reach, world: Sandbox) -> None:
    await _add_robot(bare, key="robot-key-0000000001")
    await _add_robot(bare, key="robot-key-0000000002")
    await bare.notifier.SendMessage(
        pb.SendMessageRequest(store_id=STORE, targets=[robot("front")], text="x", wait=seconds(5))
    )
    assert [message["to"] for message in await world.messages()] == ["robot-key-0000000002"]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": ops.CREDENTIAL_KIND_APP, "name": "a", "secret": "s" * 20},
        {"kind": ops.CREDENTIAL_KIND_ROBOT, "name": "a/b", "secret": "s" * 20},
        {"kind": ops.CREDENTIAL_KIND_ROBOT, "name": "a"},
        {"name": "a", "secret": "s" * 20},
    ],
)
async def test_an_incomplete_credential_is_refused_without_repeating_its_secret(
    bare: Reach, fields: dict[str, Any]
) -> None:
    code, error = await refused(bare.ops.SetCredential(ops.SetCredentialRequest(**fields)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.violations
    assert "s" * 20 not in str(error.violations) + error.message
