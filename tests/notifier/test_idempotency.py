"""A keyed call repeated is the same call; the key with another request is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from reach.events.v1 import event_service_pb2 as events
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2, rule_pb2, target_pb2
from reach.ops.v1 import ops_service_pb2 as ops

from shared.rpc.calls import describe
from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, eventually, refused, struct, user


def _spec(template: str) -> rule_pb2.RuleSpec:
    return rule_pb2.RuleSpec(
        event_type="order.created", display_name="大单", roles=["manager"], template=template
    )


def _budget(most: int) -> policy_pb2.Policy:
    return policy_pb2.Policy(budgets=policy_pb2.Budgets(budgets=[policy_pb2.Budget(max_messages=most)]))


ORDER = EXAMPLES["order.created"]
SERVICES = (
    "reach.notifier.v1.NotifierService",
    "reach.ops.v1.OpsService",
    "reach.events.v1.EventService",
)
Make = Callable[..., Message]
CASES: dict[str, tuple[Make, dict[str, Any]]] = {
    "reach.notifier.v1.NotifierService/TriggerPush": (
        lambda **more: pb.TriggerPushRequest(
            event_type="order.created", store_id=STORE, **{"event_data": struct(ORDER), **more}
        ),
        {"event_data": struct({**ORDER, "total": 1})},
    ),
    "reach.notifier.v1.NotifierService/ToggleRule": (
        lambda **more: pb.ToggleRuleRequest(**{"rule_id": "order.created", "store_id": STORE, **more}),
        {"enabled": True},
    ),
    "reach.notifier.v1.NotifierService/SetRoleTargets": (
        lambda **more: pb.SetRoleTargetsRequest(**{"role": "manager", "targets": [user("anna")], **more}),
        {"targets": [user("bob")]},
    ),
    "reach.notifier.v1.NotifierService/SetPolicy": (
        lambda **more: pb.SetPolicyRequest(store_id=STORE, **{"policy": _budget(1), **more}),
        {"policy": _budget(2)},
    ),
    "reach.notifier.v1.NotifierService/SendMessage": (
        lambda **more: pb.SendMessageRequest(
            store_id=STORE, **{"targets": [user("anna")], "text": "one", **more}
        ),
        {"text": "two"},
    ),
    "reach.notifier.v1.NotifierService/SendReport": (
        lambda **more: pb.SendReportRequest(
            store_id=STORE, **{"targets": [user("anna")], "body": "one", **more}
        ),
        {"body": "two"},
    ),
    "reach.ops.v1.OpsService/SetCredential": (
        lambda **more: ops.SetCredentialRequest(
            kind=ops.CREDENTIAL_KIND_ROBOT, name="k", **{"secret": "robot-key-1234567890", **more}
        ),
        {"secret": "robot-key-0987654321"},
    ),
    "reach.notifier.v1.NotifierService/CreateRule": (
        lambda **more: pb.CreateRuleRequest(rule_id="big", **{"spec": _spec("{total}"), **more}),
        {"spec": _spec("{table_number}")},
    ),
    "reach.notifier.v1.NotifierService/UpdateRule": (
        lambda **more: pb.UpdateRuleRequest(rule_id="order.created", **{"spec": _spec("{total}"), **more}),
        {"spec": _spec("{table_number}")},
    ),
    "reach.notifier.v1.NotifierService/UpdateTemplate": (
        lambda **more: pb.UpdateTemplateRequest(rule_id="order.created", **{"template": "{total}", **more}),
        {"template": "{table_number}"},
    ),
    "reach.notifier.v1.NotifierService/PublishRule": (
        lambda **more: pb.PublishRuleRequest(rule_id="order.created", **more),
        {"version": 1},
    ),
    "reach.notifier.v1.NotifierService/RollbackRule": (
        lambda **more: pb.RollbackRuleRequest(rule_id="order.created", **{"version": 1, **more}),
        {"version": 2},
    ),
    "reach.notifier.v1.NotifierService/DeleteRule": (
        lambda **more: pb.DeleteRuleRequest(**{"rule_id": "order.created", **more}),
        {"rule_id": "guest.arrived"},
    ),
    "reach.notifier.v1.NotifierService/RestorePresets": (
        lambda **more: pb.RestorePresetsRequest(**more),
        {"rule_ids": ["guest.arrived"]},
    ),
    "reach.ops.v1.OpsService/DeleteCredential": (
        lambda **more: ops.DeleteCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, **{"name": "k", **more}),
        {"name": "l"},
    ),
    "reach.events.v1.EventService/PublishEvent": (
        lambda **more: events.PublishEventRequest(
            type="order.created", store_id=STORE, **{"json": struct(ORDER), **more}
        ),
        {"json": struct({**ORDER, "total": 1})},
    ),
}
THEIR_OWN = {
    "reach.ops.v1.OpsService/ReplayDeadLetter",
    "reach.ops.v1.OpsService/ResolveUnknown",
    "reach.ops.v1.OpsService/ResetBreaker",
    "reach.notifier.v1.NotifierService/ReplayDelivery",
    "reach.notifier.v1.NotifierService/CancelDelivery",
    "reach.notifier.v1.NotifierService/AcknowledgeDelivery",
}
"""Tested in files of their own, test_delivery_changes.py, test_breakers.py and test_escalation.py, or below."""


def test_every_method_that_takes_a_key_is_tried() -> None:
    keyed = set()
    for service in SERVICES:
        name = service.rpartition(".")[2]
        for module in (pb, ops, events):
            found = module.DESCRIPTOR.services_by_name.get(name)
            for method in found.methods if found is not None else ():
                if "idempotency_key" in method.input_type.fields_by_name:
                    assert describe(f"{service}/{method.name}") is not None
                    keyed.add(f"{service}/{method.name}")
    assert keyed == set(CASES) | THEIR_OWN


def _call(reach: Reach, path: str, request: Message) -> Any:
    service, _, method = path.partition("/")
    stub = {"N": reach.notifier, "O": reach.ops, "E": reach.events}[service.rpartition(".")[2][0]]
    return getattr(stub, method)(request)


@pytest.mark.parametrize("path", sorted(CASES))
async def test_the_same_is_done_once_and_another_is_refused(reach: Reach, world: Sandbox, path: str) -> None:
    make, changed = CASES[path]
    if path.endswith("DeleteCredential"):
        await _call(
            reach,
            "reach.ops.v1.OpsService/SetCredential",
            CASES["reach.ops.v1.OpsService/SetCredential"][0](),
        )
    first = await _call(reach, path, make(idempotency_key="k1"))
    await asyncio.gather(*(_call(reach, path, make(idempotency_key="k1")) for _ in range(3)))
    code, error = await refused(_call(reach, path, make(idempotency_key="k1", **changed)))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED")
    again = await _call(reach, path, make(idempotency_key="k1"))
    for field in ("event_id", "message_id", "rule", "role", "credential", "stored"):
        if field in type(first).DESCRIPTOR.fields_by_name:
            assert getattr(again, field) == getattr(first, field)
    if any(path.endswith(one) for one in ("TriggerPush", "SendMessage", "SendReport", "PublishEvent")):
        await world.arrived(1)
        fresh = await _call(reach, path, make(idempotency_key="k2"))
        assert fresh != first
        await world.arrived(2)
        assert len(await world.sends()) == 2


async def test_a_repeat_does_not_undo_what_happened_since(reach: Reach) -> None:
    off = pb.ToggleRuleRequest(rule_id="order.created", store_id=STORE, idempotency_key="k1")
    await reach.notifier.ToggleRule(off)
    on = pb.ToggleRuleRequest(rule_id="order.created", store_id=STORE, enabled=True)
    await reach.notifier.ToggleRule(on)
    assert (await reach.notifier.ToggleRule(off)).rule.enabled


async def test_the_key_may_come_as_metadata_and_must_not_differ(reach: Reach, world: Sandbox) -> None:
    make, _ = CASES["reach.notifier.v1.NotifierService/SendMessage"]
    metadata = (("x-idempotency-key", "m1"),)
    first = await reach.notifier.SendMessage(make(), metadata=metadata)
    again = await reach.notifier.SendMessage(make(idempotency_key="m1"))
    assert first.message_id == again.message_id
    code, _ = await refused(reach.notifier.SendMessage(make(idempotency_key="m2"), metadata=metadata))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    await world.arrived(1)
    assert len(await world.sends()) == 1


async def test_a_key_is_its_stores_own(reach: Reach, world: Sandbox) -> None:
    first = await reach.push(store="s1", idempotency_key="k")
    second = await reach.push(store="s2", idempotency_key="k")
    assert not second.duplicate
    assert len({first.deliveries[0].delivery_id, second.deliveries[0].delivery_id}) == 2
    assert len(await world.sends()) == 2


async def test_a_replay_is_keyed_too(reach: Reach) -> None:
    for at in range(2):
        await reach.events.PublishEvent(
            events.PublishEventRequest(
                type="parking.full", id=f"u{at}", store_id=STORE, json=struct({"a": 1})
            )
        )

    async def both() -> Any:
        found = (await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters
        return found if len(found) == 2 else None

    one, two = [letter.dead_letter_id for letter in await eventually(both)]
    request = ops.ReplayDeadLetterRequest(dead_letter_ids=[one], idempotency_key="r1")
    assert await reach.ops.ReplayDeadLetter(request) == await reach.ops.ReplayDeadLetter(request)
    other = ops.ReplayDeadLetterRequest(dead_letter_ids=[two], idempotency_key="r1")
    assert (await refused(reach.ops.ReplayDeadLetter(other)))[1].reason == "IDEMPOTENCY_KEY_REUSED"
    (left,) = (await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters
    assert left.dead_letter_id == two


async def test_a_resolution_is_keyed_too(reach: Reach, world: Sandbox) -> None:
    await reach.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="k", secret="robot-key-1234567890")
    )
    await world.fault(path="/cgi-bin/webhook/send", drop="after-accept", count=1)
    robot = target_pb2.Target(kind=target_pb2.TARGET_KIND_ROBOT, id="k")
    await reach.notifier.SendMessage(
        pb.SendMessageRequest(store_id=STORE, targets=[robot], text="x", wait={"seconds": 5})
    )
    (unknown,) = (await reach.ops.ListUnknown(ops.ListUnknownRequest())).unknown_sends

    def resolving(resolution: int, key: str) -> Any:
        return reach.ops.ResolveUnknown(
            ops.ResolveUnknownRequest(id=unknown.id, resolution=resolution, idempotency_key=key)
        )

    assert (await resolving(ops.RESOLUTION_SENT, "k1")).status == "accepted"
    assert (await resolving(ops.RESOLUTION_SENT, "k1")).status == "accepted"
    code, error = await refused(resolving(ops.RESOLUTION_RESEND, "k1"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED")
    code, error = await refused(resolving(ops.RESOLUTION_SENT, "k2"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
