"""What a token may do: its scopes, and its stores. Every method is asked, as reflection lists them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from reach.events.v1 import event_service_pb2
from reach.notifier.v1 import explain_pb2, policy_pb2, rule_pb2, statistics_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from services.notifier.service import SCOPES as NOTIFIER_SCOPES
from shared.ops.events import SCOPES as EVENT_SCOPES
from shared.ops.servicer import SCOPES as OPS_SCOPES
from shared.rpc.principal import SCOPES
from tests.e2e.harness import (
    EXAMPLES,
    Reach,
    Sandbox,
    create_tokens,
    embedded,
    eventually,
    refused,
    struct,
    user,
)

NEEDED = {**NOTIFIER_SCOPES, **OPS_SCOPES, **EVENT_SCOPES}
OPEN = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


@dataclass
class Tenants:
    """One process, seen by the bearers of its tokens."""

    root: Reach
    a: Reach
    b: Reach
    tokens: dict[str, str]

    def __getitem__(self, subject: str) -> Reach:
        return self.root.bearing(self.tokens[subject])


@pytest.fixture
async def tenants(world: Sandbox, tmp_path: Path) -> AsyncIterator[Tenants]:
    grants = {
        "root": (SCOPES, ["*"]),
        "a": (SCOPES, ["A"]),
        "b": (SCOPES, ["B"]),
        **{f"only {scope}": ([scope], ["*"]) for scope in set(NEEDED.values())},
        **{f"without {scope}": (SCOPES - {scope}, ["*"]) for scope in {*NEEDED.values(), "notify.send_all"}},
    }
    tokens = await create_tokens(tmp_path / "home", grants)
    async with embedded(world.url, tmp_path / "home", default_store="A") as reach:
        root, a, b = (reach.bearing(tokens[name]) for name in ("root", "a", "b"))
        await root.staff()
        yield Tenants(root, a, b, tokens)
        await root.close()


async def _methods(reach: Reach, token: str) -> list[tuple[str, Any, bool]]:
    """(path, request class, whether it streams) of every method that reflection knows of."""

    def look() -> list[tuple[str, Any, bool]]:
        intercepted = grpc.intercept_channel(grpc.insecure_channel(reach.grpc), _Shows(token))
        database = ProtoReflectionDescriptorDatabase(intercepted)
        pool = DescriptorPool(database)
        found = [
            (
                f"{service}/{method.name}",
                GetMessageClass(method.input_type),
                method.server_streaming,
            )
            for service in database.get_services()
            if service not in OPEN
            for method in pool.FindServiceByName(service).methods
        ]
        intercepted.close()
        return found

    return await asyncio.to_thread(look)


class _Shows(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or ()), self._header]), requests)


async def _call(reach: Reach, path: str, request: Any, streams: bool) -> Any:
    """One raw call; what it is refused with, or None."""
    kind = reach.channel.unary_stream if streams else reach.channel.unary_unary
    call = kind(f"/{path}", request_serializer=type(request).SerializeToString)(request, timeout=2)
    try:
        await (call.read() if streams else call)
    except grpc.RpcError:
        return (await refused(_again(call)))[1]
    return None


async def _again(call: Any) -> Any:
    raise grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
    )


async def test_every_method_needs_exactly_its_scope(tenants: Tenants) -> None:
    methods = await _methods(tenants.root, tenants.tokens["root"])
    assert {path for path, _, _ in methods} == set(NEEDED)
    for path, request, streams in methods:
        scope = NEEDED[path]
        error = await _call(tenants[f"without {scope}"], path, request(), streams)
        assert error is not None, path
        assert (error.reason, error.facts.get("scope")) == ("SCOPE_MISSING", scope), path
        error = await _call(tenants[f"only {scope}"], path, request(), streams)
        assert error is None or error.reason != "SCOPE_MISSING", (path, error)


async def test_without_a_token_nothing_is_answered_once_tokens_exist(tenants: Tenants) -> None:
    nobody = tenants.root.bearing("reach_0123456789ab_wrong")
    code, error = await refused(nobody.push())
    assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    async with grpc.aio.insecure_channel(tenants.root.grpc) as channel:
        bare = Reach(tenants.root.grpc, tenants.root.http, channel, tenants.root.session)
        code, error = await refused(bare.push())
        assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    status, answer = await tenants.root.post_event({"event_type": "order.created", "event_data": {}})
    assert (status, answer["code"]) == (401, "TOKEN_MISSING")


async def test_naming_another_store_is_refused_by_every_method(tenants: Tenants, world: Sandbox) -> None:
    b, order = tenants.b, struct(EXAMPLES["order.created"])
    calls = [
        b.notifier.TriggerPush(
            pb.TriggerPushRequest(event_type="order.created", event_data=order, store_id="A")
        ),
        b.notifier.PreviewPush(pb.PreviewPushRequest(event_type="order.created", store_id="A")),
        b.notifier.ListRules(pb.ListRulesRequest(store_id="A")),
        b.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created", store_id="A")),
        b.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created", store_id="A")),
        b.notifier.ListRoles(pb.ListRolesRequest(store_id="A")),
        b.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="manager", store_id="A")),
        b.notifier.SetPolicy(pb.SetPolicyRequest(store_id="A")),
        b.notifier.GetPolicy(pb.GetPolicyRequest(store_id="A")),
        b.notifier.ListPolicies(pb.ListPoliciesRequest(store_id="A")),
        b.notifier.SendMessage(pb.SendMessageRequest(store_id="A", targets=[user("x")], text="x")),
        b.notifier.SendReport(pb.SendReportRequest(store_id="A", targets=[user("x")], body="x")),
        b.notifier.ListDeliveries(pb.ListDeliveriesRequest(store_id="A")),
        b.notifier.Explain(pb.ExplainRequest(id="e1", store_id="A")),
        b.notifier.GetStats(statistics_pb2.GetStatsRequest(store_id="A")),
        b.events.PublishEvent(
            event_service_pb2.PublishEventRequest(type="order.created", json=order, store_id="A")
        ),
        b.ops.ListUnknown(ops.ListUnknownRequest(store_id="A")),
        # What names no store falls to the default store, which is A; switches and holders for all are for all.
        b.notifier.TriggerPush(pb.TriggerPushRequest(event_type="order.created", event_data=order)),
        b.notifier.SendMessage(pb.SendMessageRequest(targets=[user("x")], text="x")),
        b.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created")),
        b.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="manager")),
        b.notifier.SetPolicy(pb.SetPolicyRequest()),
    ]
    for call in calls:
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN"), call
    watching = b.notifier.WatchDeliveries(pb.WatchDeliveriesRequest(store_id="A"))
    code, error = await refused(watching.read())
    assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")
    bearer = {"authorization": f"Bearer {tenants.tokens['b']}"}
    body = {"event_type": "order.created", "event_data": EXAMPLES["order.created"], "store_id": "A"}
    status, answer = await b.post_event(body, bearer)
    assert (status, answer["code"]) == (403, "STORE_FORBIDDEN")
    assert await world.sends() == []
    rule = await tenants.a.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created", store_id="A"))
    assert rule.rule.enabled


async def test_what_another_store_has_is_not_there(tenants: Tenants, world: Sandbox) -> None:
    a, b = tenants.a, tenants.b
    await world.fault(path="/cgi-bin/webhook/send", drop="after-accept")
    await tenants.root.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="k", secret="robot-key-1234567890")
    )
    taken = await a.push(store="A", event_id="e1")
    robot = target_pb2.Target(kind=target_pb2.TARGET_KIND_ROBOT, id="k")
    lost = await a.notifier.SendMessage(
        pb.SendMessageRequest(store_id="A", targets=[robot], text="x", wait={"seconds": 5})
    )
    await a.events.PublishEvent(
        event_service_pb2.PublishEventRequest(
            type="parking.full", id="u1", store_id="A", json=struct({"a": 1})
        )
    )

    async def letters() -> Any:
        return (await a.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters

    (letter,) = await eventually(letters)
    (unknown,) = (await a.ops.ListUnknown(ops.ListUnknownRequest())).unknown_sends
    assert unknown.id == lost.deliveries[0].delivery_id
    assert (await a.explain("e1")).verdict == explain_pb2.VERDICT_PLANNED

    delivery = pb.GetDeliveryRequest(delivery_id=taken.deliveries[0].delivery_id)
    hidden = [
        b.notifier.GetDelivery(delivery),
        b.notifier.ReplayDelivery(pb.ReplayDeliveryRequest(delivery_id=delivery.delivery_id)),
        b.notifier.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=delivery.delivery_id)),
        b.notifier.AcknowledgeDelivery(pb.AcknowledgeDeliveryRequest(delivery_id=delivery.delivery_id)),
        b.ops.GetDeadLetter(ops.GetDeadLetterRequest(dead_letter_id=letter.dead_letter_id)),
        b.ops.ReplayDeadLetter(ops.ReplayDeadLetterRequest(dead_letter_ids=[letter.dead_letter_id])),
        b.ops.ResolveUnknown(ops.ResolveUnknownRequest(id=unknown.id, resolution=ops.RESOLUTION_RESEND)),
    ]
    for call in hidden:
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    for asked in ("e1", "u1", taken.deliveries[0].delivery_id, lost.message_id, letter.dead_letter_id):
        assert (await b.explain(asked)).verdict == explain_pb2.VERDICT_NOT_FOUND
    person = pb.PersonPeriod(target=user("kitchen_staff"))
    assert len((await a.notifier.Explain(pb.ExplainRequest(person=person))).explanations) == 1
    assert not (await b.notifier.Explain(pb.ExplainRequest(person=person))).explanations
    assert not (await b.notifier.ListDeliveries(pb.ListDeliveriesRequest())).deliveries
    (figures,) = (await b.notifier.GetStats(statistics_pb2.GetStatsRequest())).rows
    assert figures.delivery_count == 0
    assert not (await b.ops.ListUnknown(ops.ListUnknownRequest())).unknown_sends
    assert not (await b.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters
    assert len((await a.notifier.ListDeliveries(pb.ListDeliveriesRequest())).deliveries) == 2
    assert (await a.notifier.GetDelivery(delivery)).delivery.store_id == "A"


async def test_a_watcher_sees_its_own_stores_only(tenants: Tenants) -> None:
    watching = tenants.b.notifier.WatchDeliveries(pb.WatchDeliveriesRequest())
    await watching.wait_for_connection()
    await tenants.a.push(store="A")
    await tenants.b.push(store="B")
    first = await asyncio.wait_for(watching.read(), 5)
    assert first.delivery.store_id == "B"
    watching.cancel()


async def test_pages_of_dead_letters_do_not_end_early_where_others_lie_between(tenants: Tenants) -> None:
    for at in range(6):
        store, reach = ("B", tenants.b) if at % 3 == 0 else ("A", tenants.a)
        await reach.events.PublishEvent(
            event_service_pb2.PublishEventRequest(
                type="parking.full", id=f"u{at}", store_id=store, json=struct({"at": at})
            )
        )

    async def all_there() -> bool:
        answer = await tenants.root.ops.ListDeadLetters(ops.ListDeadLettersRequest())
        return len(answer.dead_letters) == 6

    await eventually(all_there)
    seen, token = [], ""
    while True:
        page = await tenants.b.ops.ListDeadLetters(ops.ListDeadLettersRequest(page_size=1, page_token=token))
        seen += [letter.event_id for letter in page.dead_letters]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["u0", "u3"]


@pytest.mark.parametrize(
    "target",
    [
        target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id="1"),
        target_pb2.Target(kind=target_pb2.TARGET_KIND_TAG, id="1"),
        user("@all"),
        user("@ALL"),
    ],
)
async def test_many_at_once_need_a_scope_of_their_own(
    tenants: Tenants, world: Sandbox, target: target_pb2.Target
) -> None:
    narrow = tenants["without notify.send_all"]
    for call in (
        narrow.notifier.SendMessage(pb.SendMessageRequest(store_id="A", targets=[target], text="x")),
        narrow.notifier.SendReport(pb.SendReportRequest(store_id="A", targets=[target], body="x")),
    ):
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        assert error.facts["scope"] == "notify.send_all"
    assert await world.sends() == []
    await tenants.root.notifier.SendMessage(pb.SendMessageRequest(store_id="A", targets=[target], text="x"))
    await world.arrived(1)


def _rule(rule_id: str, *stores: str) -> pb.CreateRuleRequest:
    spec = rule_pb2.RuleSpec(
        event_type="order.created", display_name="大单", roles=["manager"], template="x", stores=stores
    )
    return pb.CreateRuleRequest(rule_id=rule_id, spec=spec)


async def test_a_rule_is_for_the_stores_of_whoever_makes_it_and_hidden_from_others(tenants: Tenants) -> None:
    a, b = tenants.a.notifier, tenants.b.notifier
    for foreign in (_rule("all"), _rule("b", "B"), _rule("both", "A", "B")):
        code, error = await refused(a.CreateRule(foreign))
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")
    await a.CreateRule(_rule("mine", "A"))
    for call in (
        b.GetRule(pb.GetRuleRequest(rule_id="mine")),
        b.ListRuleVersions(pb.ListRuleVersionsRequest(rule_id="mine")),
        b.DeleteRule(pb.DeleteRuleRequest(rule_id="mine")),
        b.UpdateTemplate(pb.UpdateTemplateRequest(rule_id="mine", template="y")),
        b.RollbackRule(pb.RollbackRuleRequest(rule_id="mine")),
    ):
        assert (await refused(call))[0] is grpc.StatusCode.NOT_FOUND
    assert "mine" not in {one.rule_id for one in (await b.ListRules(pb.ListRulesRequest())).rules}
    assert "mine" in {one.rule_id for one in (await a.ListRules(pb.ListRulesRequest())).rules}
    for call in (
        a.DeleteRule(pb.DeleteRuleRequest(rule_id="order.created")),
        a.RestorePresets(pb.RestorePresetsRequest()),
        a.UpdateTemplate(pb.UpdateTemplateRequest(rule_id="order.created", template="y")),
    ):
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")


async def test_a_policy_is_seen_by_its_store_and_one_for_all_stores_by_everybody(tenants: Tenants) -> None:
    never = policy_pb2.Policy(merging=policy_pb2.Merging(mode=policy_pb2.MERGE_MODE_OFF))
    for reach, store in ((tenants.a, "A"), (tenants.b, "B"), (tenants.root, "")):
        await reach.notifier.SetPolicy(pb.SetPolicyRequest(store_id=store, policy=never))
    for reach, seen in ((tenants.a, {"", "A"}), (tenants.b, {"", "B"}), (tenants.root, {"", "A", "B"})):
        listed = await reach.notifier.ListPolicies(pb.ListPoliciesRequest())
        assert {one.store_id for one in listed.policies} == seen
    found = (await tenants.b.notifier.GetPolicy(pb.GetPolicyRequest())).stored
    assert (found.store_id, found.updated_by) == ("", "root")
    assert (await tenants.b.notifier.GetPolicy(pb.GetPolicyRequest(store_id="B"))).stored.updated_by == "b"
