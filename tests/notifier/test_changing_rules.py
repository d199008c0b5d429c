"""Rules as data: added, changed, tried, published, taken back, and what each change does to the next event."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import explain_pb2, rule_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import Publisher, Reach, Sandbox, codes, embedded, eventually, refused, struct

BIG = {"order_number": "A1", "table_number": "V01", "total": 1280, "order_time": "2026-02-20T12:30:00"}


def _spec(template: str = "大单 {order_number}", **fields: Any) -> rule_pb2.RuleSpec:
    spec = rule_pb2.RuleSpec(
        event_type="order.created",
        display_name="大单提醒",
        priority=rule_pb2.PRIORITY_URGENT,
        roles=["manager"],
        template=template,
        condition="total >= 1000.0",
    )
    spec.MergeFrom(rule_pb2.RuleSpec(**fields))
    return spec


async def _create(reach: Reach, rule_id: str = "big", **request: Any) -> Any:
    request.setdefault("spec", _spec())
    return await reach.notifier.CreateRule(pb.CreateRuleRequest(rule_id=rule_id, **request))


async def _update(reach: Reach, spec: rule_pb2.RuleSpec, **request: Any) -> Any:
    return await reach.notifier.UpdateRule(pb.UpdateRuleRequest(rule_id="big", spec=spec, **request))


async def _told(reach: Reach, data: dict[str, Any] | None = None, store: str = "s1") -> dict[str, str]:
    """Who is told by which rule; a preview sends nothing."""
    request = pb.PreviewPushRequest(
        event_type="order.created", event_data=struct(data or BIG), store_id=store
    )
    calls = (await reach.notifier.PreviewPush(request)).calls
    return {one.target.id: call.rule_id for call in calls for one in call.recipients}


async def test_a_new_rule_acts_beside_the_preset_when_its_condition_holds(reach: Reach) -> None:
    answer = await _create(reach, comment="店长要看")
    assert (answer.rule.version, answer.rule.preset, answer.rule.enabled) == (1, False, True)
    assert answer.check.example_text == "大单 ORD20260220001"
    assert answer.check.byte_count == len(answer.check.example_text.encode()) < answer.check.byte_limit
    assert await _told(reach) == {"manager": "big", "kitchen_staff": "order.created"}
    assert await _told(reach, BIG | {"total": 80}) == {"kitchen_staff": "order.created"}
    pushed = await reach.push("order.created", BIG | {"total": 80})
    explained = await reach.explain(pushed.event_id)
    unmet = next(step for step in explained.steps if step.code == "condition_unmet")
    assert "total = 80.00" in unmet.text_en


async def test_a_draft_does_nothing_until_it_is_published(reach: Reach) -> None:
    assert (await _create(reach, draft=True)).rule.version == 1
    assert "manager" not in await _told(reach)
    assert (await refused(reach.notifier.GetRule(pb.GetRuleRequest(rule_id="big"))))[
        0
    ] is grpc.StatusCode.NOT_FOUND
    await reach.notifier.PublishRule(pb.PublishRuleRequest(rule_id="big"))
    assert await _told(reach) == {"manager": "big", "kitchen_staff": "order.created"}
    await _update(reach, _spec("第二版 {order_number}"), draft=True)
    assert (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id="big"))).rule.version == 1
    published = await reach.notifier.PublishRule(pb.PublishRuleRequest(rule_id="big"))
    assert (published.rule.version, published.rule.template) == (2, "第二版 {order_number}")


async def test_a_version_can_be_taken_back_and_the_history_stays(reach: Reach) -> None:
    await _create(reach)
    await _update(reach, _spec("错的 {order_number}"), comment="typo")
    back = await reach.notifier.RollbackRule(pb.RollbackRuleRequest(rule_id="big"))
    assert (back.rule.version, back.rule.template) == (1, "大单 {order_number}")
    listed = await reach.notifier.ListRuleVersions(pb.ListRuleVersionsRequest(rule_id="big", page_size=1))
    rest = await reach.notifier.ListRuleVersions(
        pb.ListRuleVersionsRequest(rule_id="big", page_size=1, page_token=listed.next_page_token)
    )
    found = [*listed.versions, *rest.versions]
    assert [(one.rule.version, one.published, one.comment, one.created_by) for one in found] == [
        (2, False, "typo", "local"),
        (1, True, "", "local"),
    ]
    request = pb.RollbackRuleRequest(rule_id="big", version=3)
    assert (await refused(reach.notifier.RollbackRule(request)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    request = pb.RollbackRuleRequest(rule_id="order.created")
    assert (await refused(reach.notifier.RollbackRule(request)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_rollback_passes_over_what_never_acted_and_undoes_a_deletion(reach: Reach) -> None:
    await _create(reach)
    await _update(reach, _spec("草稿 {order_number}"), draft=True)
    await _update(reach, _spec("三 {order_number}"))
    back = pb.RollbackRuleRequest(rule_id="big")
    assert (await reach.notifier.RollbackRule(back)).rule.version == 1
    await reach.notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="big"))
    assert (await reach.notifier.RollbackRule(back)).rule.version == 1


async def test_a_rollback_asked_for_twice_goes_back_once(reach: Reach) -> None:
    await _create(reach)
    for words in ("二 {order_number}", "三 {order_number}"):
        await _update(reach, _spec(words))
    back = pb.RollbackRuleRequest(rule_id="big", idempotency_key="once")
    assert [(await reach.notifier.RollbackRule(back)).rule.version for _ in range(3)] == [2, 2, 2]


async def test_a_delivery_keeps_the_version_that_it_was_made_by(reach: Reach, world: Sandbox) -> None:
    await _create(reach)
    pushed = await reach.push("order.created", BIG)
    await world.arrived(2)
    await _update(reach, _spec("新词 {order_number}"))
    explained = await reach.explain(pushed.event_id)
    versions = {
        step.facts["rule_id"]: step.facts["rule_version"]
        for step in explained.steps
        if "rule_id" in step.facts and "rule_version" in step.facts
    }
    assert versions == {"big": "1", "order.created": "1"}


async def test_two_who_change_a_rule_at_once_do_not_overwrite_each_other(reach: Reach) -> None:
    await _create(reach)
    await _update(reach, _spec("甲 {order_number}"), expected_version=1)
    code, error = await refused(_update(reach, _spec("乙 {order_number}"), expected_version=1))
    assert (code, error.reason) == (grpc.StatusCode.ABORTED, "VERSION_CONFLICT")
    both = await asyncio.gather(
        *(_update(reach, _spec(f"{n} {{order_number}}"), expected_version=2) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(not isinstance(one, BaseException) for one in both) == 1


async def test_words_alone_can_be_changed(reach: Reach) -> None:
    await _create(reach)
    answer = await reach.notifier.UpdateTemplate(
        pb.UpdateTemplateRequest(rule_id="big", template="改 {total}", expected_version=1)
    )
    assert (answer.rule.version, answer.rule.condition) == (2, "total >= 1000.0")
    assert answer.check.example_text == "改 280.00"
    code, error = await refused(
        reach.notifier.UpdateTemplate(pb.UpdateTemplateRequest(rule_id="big", template="{discount}"))
    )
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "template")
    assert "discount" in error.message


async def test_a_deleted_rule_acts_no_more_and_can_come_back(reach: Reach) -> None:
    await _create(reach)
    await reach.notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="big"))
    assert "manager" not in await _told(reach)
    assert (await refused(_create(reach)))[1].reason == "STATE_INVALID"
    await reach.notifier.PublishRule(pb.PublishRuleRequest(rule_id="big"))
    assert (await _told(reach))["manager"] == "big"
    missing = await refused(reach.notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="nothing")))
    assert missing[0] is grpc.StatusCode.NOT_FOUND


async def test_presets_come_back_as_they_ship_and_only_those_that_changed(reach: Reach) -> None:
    changed = pb.UpdateTemplateRequest(rule_id="order.created", template="改了 {order_number}")
    assert (await reach.notifier.UpdateTemplate(changed)).rule.preset
    await reach.notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="guest.arrived"))
    restored = await reach.notifier.RestorePresets(pb.RestorePresetsRequest())
    assert [(one.rule_id, one.version) for one in restored.rules] == [
        ("order.created", 3),
        ("guest.arrived", 2),
    ]
    assert "【新订单】" in restored.rules[0].template
    assert not (await reach.notifier.RestorePresets(pb.RestorePresetsRequest())).rules
    unknown = await refused(reach.notifier.RestorePresets(pb.RestorePresetsRequest(rule_ids=["big"])))
    assert unknown[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_deleted_preset_stays_deleted_over_a_restart(world: Sandbox, tmp_path: Path) -> None:
    async with embedded(world.url, tmp_path / "home", default_store="s1") as reach:
        await reach.staff()
        await reach.notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="order.created"))
    async with embedded(world.url, tmp_path / "home", default_store="s1") as reach:
        assert await _told(reach) == {}


async def test_a_rule_is_tried_before_it_is_stored(reach: Reach, world: Sandbox) -> None:
    tried = await reach.notifier.TestRule(
        pb.TestRuleRequest(spec=_spec(), event_data=struct(BIG), store_id="s1")
    )
    assert tried.verdict == explain_pb2.VERDICT_PLANNED
    assert [one.target.id for call in tried.calls for one in call.recipients] == ["manager"]
    assert tried.calls[0].text.startswith("大单 A1\n#")
    small = await reach.notifier.TestRule(pb.TestRuleRequest(spec=_spec(), store_id="s1"))
    assert (small.verdict, codes(small)) == (explain_pb2.VERDICT_CONDITION_UNMET, ["condition_unmet"])
    assert "manager" not in await _told(reach)
    assert await world.messages() == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (_spec(condition="totl > 1.0"), "condition"),
        (_spec(template="{nothing}"), "template"),
        (_spec(event_type="notifier.delivery.failed", condition=""), "event_type"),
        (_spec(roles=["nobody"]), "spec.roles[1]"),
        (_spec(format=rule_pb2.FORMAT_TEXTCARD), "format"),
        (_spec(format=rule_pb2.FORMAT_MARKDOWN_V2), "format"),
        (rule_pb2.RuleSpec(event_type="x", template="x", roles=["manager"]), "spec.display_name"),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_the_field(
    reach: Reach, spec: rule_pb2.RuleSpec, field: str
) -> None:
    code, error = await refused(_create(reach, spec=spec))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in {one.field for one in error.violations}
    assert (await refused(reach.notifier.GetRule(pb.GetRuleRequest(rule_id="big"))))[
        0
    ] is grpc.StatusCode.NOT_FOUND


async def test_the_same_call_again_makes_no_second_version(reach: Reach) -> None:
    await _create(reach)
    for _ in range(3):
        await _update(reach, _spec("改 {order_number}"), idempotency_key="once")
    listed = await reach.notifier.ListRuleVersions(pb.ListRuleVersionsRequest(rule_id="big"))
    assert [one.rule.version for one in listed.versions] == [2, 1]


def _boiler() -> rule_pb2.RuleSpec:
    return rule_pb2.RuleSpec(
        event_type="boiler.hot",
        display_name="锅炉",
        roles=["tech_support"],
        template="锅炉 {degrees} 度",
        condition="degrees > 90.0",
        variables=[rule_pb2.Variable(name="degrees", kind=rule_pb2.VARIABLE_KIND_QUANTITY)],
    )


async def test_a_type_the_contract_does_not_know_is_heard_as_soon_as_a_rule_is_published(
    joined: Reach, till: Publisher, world: Sandbox
) -> None:
    await _create(joined, "boiler", spec=_boiler(), draft=True)
    await till.publish("boiler.hot", {"degrees": 95}, message_id="b0", headers={"store_id": "s1"})
    letters = await eventually(lambda: _letters(joined))
    assert [letter.reason for letter in letters] == ["unknown_type"]
    await joined.notifier.PublishRule(pb.PublishRuleRequest(rule_id="boiler"))
    await till.publish("boiler.hot", {"degrees": 95}, message_id="b1", headers={"store_id": "s1"})
    (arrived,) = await world.arrived(1, to="tech_support")
    assert "锅炉 95 度" in str(arrived)
    await till.publish("boiler.hot", {"degrees": "very"}, message_id="b2", headers={"store_id": "s1"})

    async def recorded() -> Any:
        told = await joined.explain("b2")
        return told if told.verdict != explain_pb2.VERDICT_NOT_FOUND else None

    assert (await eventually(recorded)).verdict == explain_pb2.VERDICT_TEMPLATE_FAILED


async def _letters(reach: Reach) -> list[Any]:
    from reach.ops.v1 import ops_service_pb2 as ops

    return list((await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters)


async def test_a_rule_for_some_stores_leaves_the_others_alone(reach: Reach) -> None:
    await _create(reach, spec=_spec(stores=["s2"]))
    assert "manager" not in await _told(reach, store="s1")
    assert (await _told(reach, store="s2"))["manager"] == "big"
    listed = await reach.notifier.ListRules(pb.ListRulesRequest(store_id="s1"))
    assert "big" not in {one.rule_id for one in listed.rules}
