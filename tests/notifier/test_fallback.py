"""Nobody holds the role, or the way to them fails: somebody else hears of it, once, and Explain says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import explain_pb2, rule_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import STORE, Reach, Sandbox, codes, embedded, refused, robot, seconds, user
from tests.e2e.replicas import add_robot, standing

KEY = "kitchen-0123456789abcdef"
HOOK, SEND = "/cgi-bin/webhook/send", "/cgi-bin/message/send"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier whose kitchen is a group."""
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as made:
        await made.staff(robots={"kitchen_staff": "kitchen"})
        await add_robot(made, "kitchen", KEY)
        yield made


def step(explanation: Any, code: str) -> Any:
    return next(one for one in explanation.steps if one.code == code)


async def chain(reach: Reach, *steps: str | target_pb2.Target, rule: str = "order.created") -> None:
    """Give the rule a fallback chain."""
    found = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id=rule))).rule
    wire = [
        rule_pb2.FallbackStep(role=one) if isinstance(one, str) else rule_pb2.FallbackStep(target=one)
        for one in steps
    ]
    spec = rule_pb2.RuleSpec(
        event_type=found.event_type,
        display_name=found.display_name,
        priority=found.priority,
        roles=found.roles,
        template=found.template,
        fallback=rule_pb2.Fallback(steps=wire),
    )
    await reach.notifier.UpdateRule(
        pb.UpdateRuleRequest(rule_id=rule, spec=spec, expected_version=found.version)
    )


async def test_a_role_without_a_target_is_said_and_the_manager_is_told_instead(
    bare: Reach, world: Sandbox
) -> None:
    request = pb.SetRoleTargetsRequest(role="manager", targets=[user("boss")])
    await bare.notifier.SetRoleTargets(request)
    taken = await bare.push(event_id="e1")
    assert taken.verdict == explain_pb2.VERDICT_PLANNED
    told = await bare.explain("e1")
    assert step(told, "no_recipient").facts["role"] == "kitchen_staff"
    used = step(told, "fallback_used")
    assert (used.facts["role"], used.facts["fallback"]) == ("kitchen_staff", "manager")
    assert "改为通知「店长」" in used.text_zh
    assert "manager is told instead of kitchen_staff" in used.text_en
    assert [one["to"] for one in await world.messages()] == ["boss"]
    assert taken.deliveries[0].fallback_of == ""


async def test_what_fails_for_good_goes_to_the_manager_with_a_note(reach: Reach, world: Sandbox) -> None:
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    taken = await reach.push(event_id="e1", wait=8)
    failed, instead = taken.deliveries
    assert (failed.channel, failed.status) == ("robot:kitchen", dv.DELIVERY_STATUS_FAILED)
    assert (instead.channel, instead.status) == ("app:default", dv.DELIVERY_STATUS_ACCEPTED)
    assert instead.fallback_of == failed.delivery_id
    (message,) = await world.messages("manager")
    assert message["content"]["content"].startswith(
        "【改送】原发送通道（机器人 kitchen）发送失败，请代为处理\n"
    )
    told = await reach.explain("e1")
    used = step(told, "fallback_used")
    assert (used.facts["fallback_of"], used.facts["channel"]) == (failed.delivery_id, "app:default")
    assert "经 robot:kitchen 发送失败" in used.text_zh
    assert codes(told).count("planned") == 1, "what was planned at first"
    replay = pb.ReplayDeliveryRequest(delivery_id=failed.delivery_id)
    await world.clear_faults()
    await reach.notifier.ReplayDelivery(replay)
    await standing(reach, failed.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)


async def test_a_chain_is_followed_from_app_to_robot_to_another_role(reach: Reach, world: Sandbox) -> None:
    await chain(reach, robot("kitchen"), "front_desk", rule="guest.arrived")
    request = pb.SetRoleTargetsRequest(role="front_desk", targets=[user("desk")])
    await reach.notifier.SetRoleTargets(request)
    await chain(reach, robot("kitchen"), "front_desk", "manager", rule="payment.completed")
    await world.fault(to="cashier", errcode=81013, errmsg="user & party & tag all invalid")
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    taken = await reach.push("payment.completed", event_id="e1", wait=8)
    assert [(one.channel, one.status) for one in taken.deliveries] == [
        ("app:default", dv.DELIVERY_STATUS_FAILED),
        ("robot:kitchen", dv.DELIVERY_STATUS_FAILED),
        ("app:default", dv.DELIVERY_STATUS_ACCEPTED),
    ]
    first, second, third = taken.deliveries
    assert [second.fallback_of, third.fallback_of] == [first.delivery_id, second.delivery_id]
    (message,) = await world.messages("desk")
    assert message["content"]["content"].count("【改送】") == 1
    assert "机器人 kitchen" in message["content"]["content"].partition("\n")[0]
    assert codes(await reach.explain("e1")).count("fallback_used") == 2
    assert await world.messages("manager") == [], "the chain ends where somebody is told"


async def test_a_failing_credential_is_not_asked_to_tell_of_its_own_failure(
    reach: Reach, world: Sandbox
) -> None:
    await chain(reach, "front_desk", robot("kitchen"), rule="payment.completed")
    await world.fault(path=SEND, errcode=60020, errmsg="not allow to access from your ip")
    taken = await reach.push("payment.completed", event_id="e1", wait=8)
    assert [one.channel for one in taken.deliveries] == ["app:default", "robot:kitchen"]
    assert taken.deliveries[1].status == dv.DELIVERY_STATUS_ACCEPTED


async def test_what_may_have_arrived_is_not_told_to_anybody_else(reach: Reach, world: Sandbox) -> None:
    await world.fault(path=HOOK, drop="after-accept")
    # A low priority is not sent again: the outcome stays unknown.
    found = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created"))).rule
    spec = rule_pb2.RuleSpec(
        event_type=found.event_type,
        display_name=found.display_name,
        priority=rule_pb2.PRIORITY_LOW,
        roles=found.roles,
        template=found.template,
    )
    await reach.notifier.UpdateRule(
        pb.UpdateRuleRequest(rule_id=found.rule_id, spec=spec, expected_version=found.version)
    )
    taken = await reach.push(event_id="e1", wait=8)
    assert [one.status for one in taken.deliveries] == [dv.DELIVERY_STATUS_UNKNOWN]
    assert await world.messages("manager") == []


async def test_two_ways_that_fail_tell_the_stand_in_once(reach: Reach, world: Sandbox) -> None:
    await add_robot(reach, "bar", "bar1-0123456789abcdef")
    request = pb.SetRoleTargetsRequest(role="kitchen_staff", targets=[robot("kitchen"), robot("bar")])
    await reach.notifier.SetRoleTargets(request)
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    taken = await reach.push(event_id="e1", wait=8)
    assert len(taken.deliveries) == 3
    assert len(await world.messages("manager")) == 1


async def test_a_rule_may_want_nobody_instead(reach: Reach, world: Sandbox) -> None:
    await chain(reach)
    found = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id="order.created"))).rule
    assert found.HasField("fallback")
    assert list(found.fallback.steps) == []
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    taken = await reach.push(event_id="e1", wait=8)
    assert [one.status for one in taken.deliveries] == [dv.DELIVERY_STATUS_FAILED]


async def test_what_somebody_wrote_has_no_stand_in(reach: Reach, world: Sandbox) -> None:
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    request = pb.SendMessageRequest(store_id=STORE, roles=["kitchen_staff"], text="by hand", wait=seconds(8))
    sent = await reach.notifier.SendMessage(request)
    assert [one.status for one in sent.deliveries] == [dv.DELIVERY_STATUS_FAILED]
    assert await world.messages("manager") == []


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([rule_pb2.FallbackStep(role="boss")], "spec.fallback.steps[0].role"),
        ([rule_pb2.FallbackStep()], "spec.fallback.steps[0].step"),
        ([rule_pb2.FallbackStep(target=user("a b"))], "spec.fallback.steps[0].target.id"),
        ([rule_pb2.FallbackStep(role="manager")] * 2, "fallback"),
        ([rule_pb2.FallbackStep(role="manager")] * 6, "spec.fallback.steps"),
    ],
)
async def test_a_chain_that_cannot_be_is_refused_when_it_is_saved(
    bare: Reach, steps: list[rule_pb2.FallbackStep], field: str
) -> None:
    spec = rule_pb2.RuleSpec(
        event_type="order.created",
        display_name="x",
        roles=["cashier"],
        template="x",
        fallback=rule_pb2.Fallback(steps=steps),
    )
    code, error = await refused(bare.notifier.CreateRule(pb.CreateRuleRequest(rule_id="mine", spec=spec)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [one.field for one in error.violations]


async def test_the_preview_shows_who_would_be_told_instead(bare: Reach) -> None:
    request = pb.SetRoleTargetsRequest(role="manager", targets=[user("boss")])
    await bare.notifier.SetRoleTargets(request)
    preview = await bare.notifier.PreviewPush(
        pb.PreviewPushRequest(event_type="order.created", store_id=STORE)
    )
    assert preview.verdict == explain_pb2.VERDICT_PLANNED
    assert "fallback_used" in codes(preview)
