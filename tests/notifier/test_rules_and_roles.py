"""Who hears of what: switches by store, timed mutes, and holders with their inheritance."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from reach.notifier.v1 import explain_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from services.notifier.assembly import presets
from tests.e2e.harness import ROLES, Reach, Sandbox, embedded, eventually, refused, robot, user


async def _verdict(reach: Reach, store: str, event_type: str = "order.created") -> str:
    return explain_pb2.Verdict.Name((await reach.push(event_type, store=store)).verdict)


async def _toggle(reach: Reach, enabled: bool, store: str = "", **fields: Any) -> Any:
    request = pb.ToggleRuleRequest(rule_id="order.created", enabled=enabled, store_id=store, **fields)
    return (await reach.notifier.ToggleRule(request)).rule


async def test_a_switch_for_one_store_leaves_the_others_alone(reach: Reach) -> None:
    rule = await _toggle(reach, False, "s1", comment="renovation")
    assert not rule.enabled
    assert rule.disabled_by == "local"
    assert await _verdict(reach, "s1") == "VERDICT_RULE_DISABLED"
    assert await _verdict(reach, "s2") == "VERDICT_PLANNED"
    for store, enabled in (("", True), ("s1", False), ("s2", True)):
        got = await reach.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created", store_id=store))
        assert got.rule.enabled == enabled
    assert (await _toggle(reach, True, "s1")).enabled
    assert await _verdict(reach, "s1") == "VERDICT_PLANNED"


async def test_a_switch_for_all_stores_ends_what_single_stores_decided(reach: Reach) -> None:
    await _toggle(reach, False)
    assert await _verdict(reach, "s1") == "VERDICT_RULE_DISABLED"
    await _toggle(reach, True, "s1")
    assert await _verdict(reach, "s1") == "VERDICT_PLANNED"
    assert await _verdict(reach, "s2") == "VERDICT_RULE_DISABLED"
    await _toggle(reach, False)
    assert await _verdict(reach, "s1") == "VERDICT_RULE_DISABLED"
    await _toggle(reach, True)
    assert await _verdict(reach, "s2") == "VERDICT_PLANNED"


async def test_a_timed_mute_wakes_by_itself(world: Sandbox, tmp_path: Path) -> None:
    await world.freeze()
    async with embedded(world.url, tmp_path / "home", clock="sandbox") as reach:
        await reach.staff()
        until = Timestamp()
        until.FromDatetime((await world.now()) + timedelta(hours=3))
        rule = await _toggle(reach, False, "s1", disabled_until_time=until)
        assert rule.disabled_until_time == until
        assert await _verdict(reach, "s1") == "VERDICT_RULE_DISABLED"
        await world.advance(3 * 3600 - 60)

        async def muted_until_the_end() -> bool:
            told = await reach.push("order.created", store="s1")
            recorded = await reach.explain(told.event_id)
            late = recorded.receive_time.ToDatetime() > until.ToDatetime() - timedelta(minutes=2)
            return late and told.verdict == explain_pb2.VERDICT_RULE_DISABLED

        await eventually(muted_until_the_end)
        await world.advance(61)
        await eventually(lambda: _awake(reach))
        got = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created", store_id="s1"))).rule
        assert got.enabled
        assert not got.disabled_by
        assert not got.HasField("disabled_until_time")


async def _awake(reach: Reach) -> bool:
    return await _verdict(reach, "s1") == "VERDICT_PLANNED"


async def test_a_mute_must_end_in_the_future_and_only_on_what_is_off(reach: Reach, world: Sandbox) -> None:
    past, future = Timestamp(), Timestamp()
    past.FromDatetime((await world.now()) - timedelta(minutes=1))
    future.FromDatetime((await world.now()) + timedelta(minutes=10))
    for enabled, until in ((False, past), (True, future)):
        code, error = await refused(_toggle(reach, enabled, "s1", disabled_until_time=until))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert [one.field for one in error.violations] == ["disabled_until_time"]
    assert await _verdict(reach, "s1") == "VERDICT_PLANNED"


async def test_a_rule_nobody_made_is_not_found(reach: Reach) -> None:
    for call in (
        reach.notifier.GetRule(pb.GetRuleRequest(rule_id="nothing")),
        reach.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="nothing")),
    ):
        code, error = await refused(call)
        assert (code, error.reason, error.facts["resource"]) == (
            grpc.StatusCode.NOT_FOUND,
            "NOT_FOUND",
            "rule",
        )


async def test_rules_are_listed_in_pages_by_id(bare: Reach) -> None:
    seen: list[str] = []
    token = ""
    while True:
        page = await bare.notifier.ListRules(pb.ListRulesRequest(page_size=4, page_token=token))
        assert page.total_size == len(presets())
        seen += [rule.rule_id for rule in page.rules]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == len(presets())
    only = await bare.notifier.ListRules(pb.ListRulesRequest(event_type="order.created"))
    assert [rule.rule_id for rule in only.rules] == ["order.created"]
    other = pb.ListRulesRequest(page_size=4, event_type="order.created", page_token="x")
    assert (await refused(bare.notifier.ListRules(other)))[1].reason == "PAGE_TOKEN_INVALID"


async def test_a_stores_own_holders_come_before_the_default(bare: Reach, world: Sandbox) -> None:
    async def hold(store: str, *names: str) -> Any:
        targets = [user(name) for name in names]
        request = pb.SetRoleTargetsRequest(role="kitchen_staff", store_id=store, targets=targets)
        return (await bare.notifier.SetRoleTargets(request)).role

    async def told(store: str) -> list[str]:
        taken = await bare.push(store=store)
        return [one.target.id for delivery in taken.deliveries for one in delivery.recipients]

    await hold("", "head")
    assert await told("s1") == ["head"]
    role = await hold("s1", "anna", "bob")
    assert (role.store_id, role.inherited, role.updated_by) == ("s1", False, "local")
    assert await told("s1") == ["anna", "bob"]
    assert await told("s2") == ["head"]
    role = await hold("s1")
    assert role.inherited
    assert [target.id for target in role.targets] == ["head"]
    assert await told("s1") == ["head"]
    await hold("")
    assert await told("s1") == []
    assert {message["to"] for message in await world.messages()} == {"head", "anna", "bob"}


async def test_roles_are_listed_in_a_fixed_order_with_their_names(bare: Reach) -> None:
    roles = (await bare.notifier.ListRoles(pb.ListRolesRequest())).roles
    assert [role.role for role in roles] == list(ROLES)
    assert [role.display_name for role in roles][:3] == ["后厨", "店长", "前台"]
    assert not any(role.targets or role.HasField("update_time") for role in roles)


@pytest.mark.parametrize(
    ("role", "target", "field"),
    [
        ("waiter", user("a"), "role"),
        ("manager", target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id="sales"), "targets[0].id"),
        ("manager", target_pb2.Target(kind=target_pb2.TARGET_KIND_UNSPECIFIED, id="a"), "targets[0].kind"),
        ("manager", target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=""), "targets[0].id"),
        ("manager", target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id="a|b"), "targets[0].id"),
    ],
)
async def test_a_wrong_holder_is_refused_by_its_field(
    bare: Reach, role: str, target: Any, field: str
) -> None:
    request = pb.SetRoleTargetsRequest(role=role, targets=[target])
    code, error = await refused(bare.notifier.SetRoleTargets(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in [one.field for one in error.violations]


async def test_the_same_holder_twice_is_refused(bare: Reach) -> None:
    request = pb.SetRoleTargetsRequest(role="manager", targets=[user("anna"), user("anna")])
    code, error = await refused(bare.notifier.SetRoleTargets(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.violations


async def test_a_holder_of_each_kind_is_told_by_its_channel(bare: Reach, world: Sandbox) -> None:
    from reach.ops.v1 import ops_service_pb2 as ops

    await bare.ops.SetCredential(
        ops.SetCredentialRequest(
            kind=ops.CREDENTIAL_KIND_ROBOT, name="kitchen", secret="robot-key-1234567890"
        )
    )
    targets = [
        user("anna"),
        target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id="7"),
        target_pb2.Target(kind=target_pb2.TARGET_KIND_TAG, id="9"),
        robot("kitchen"),
    ]
    await bare.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="kitchen_staff", targets=targets))
    taken = await bare.push()
    assert sorted(one.channel for one in taken.deliveries) == ["app:default", "robot:kitchen"]
    got = {(message["kind"], message["to"]) for message in await world.messages()}
    assert len(got) == 4
    sent = next(call["body"] for call in await world.sends() if "touser" in call["body"])
    assert (sent["touser"], sent["toparty"], sent["totag"]) == ("anna", "7", "9")
