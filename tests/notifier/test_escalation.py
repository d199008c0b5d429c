"""An urgent card waits for an answer, climbs without one, and shows everybody who gave it; on both databases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from reach.notifier.v1 import delivery_pb2, rule_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import STORE, Reach, Sandbox, embedded, eventually, refused, robot, struct, user
from tests.notifier.escalating import AFTER, CALLBACK, RULE, Shop, shop, spec

BUTTONS = ["收到", "处理中", "转派"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def till(request: pytest.FixtureRequest, world: Sandbox, tmp_path: Path) -> AsyncIterator[Shop]:
    """The store, on each of the two databases."""
    more = {}
    if request.param == "postgresql":
        more["database_url"] = request.getfixturevalue("postgres_database")
    async with shop(world, tmp_path / "home", **more) as made:
        yield made


async def test_people_get_a_card_with_buttons(till: Shop) -> None:
    taken = await till.outage()
    card = await till.card("tom")
    assert card["msgtype"] == "template_card"
    assert card["content"]["main_title"] == {"title": "收银系统中断"}
    assert card["content"]["sub_title_text"].startswith("收银系统中断：三号机离线\n#")
    assert card["content"]["task_id"] == taken.deliveries[0].delivery_id
    assert await till.shows("tim") == BUTTONS
    assert await till.steps() == ["escalation_opened"]


async def test_what_nobody_answers_climbs_and_the_managers_answer_shows_on_all_copies(till: Shop) -> None:
    await till.outage()
    await till.card("tim")
    assert await till.told() == {"tom", "tim"}
    await till.pass_time()
    assert (await till.card("dora"))["msgtype"] == "template_card"
    assert await till.told() == {"tom", "tim", "dora"}
    await till.pass_time()
    await till.card("boss")
    assert await till.press("boss", "acknowledge") == [{"status": 200, "body": "success"}]
    for userid in ("tom", "tim", "dora", "boss"):
        await till.until_shown(userid, "王经理 已确认")
    await till.pass_time(10 * AFTER)
    # Time passes for everybody: an event after it is told, and nothing of this one is.
    await till.outage("e2")
    await till.world.arrived(2, "tom")
    assert await till.steps() == [
        "escalation_opened",
        "escalation_climbed",
        "escalation_climbed",
        "card_clicked",
        "escalation_acknowledged",
    ]
    assert len(await till.world.messages("boss")) == 1
    copies = await till.deliveries()
    assert {one.acknowledged_by for one in copies} == {"boss"}
    assert all(one.HasField("acknowledge_time") for one in copies)
    assert [one.HasField("click_time") for one in copies] == [False, False, True]


async def test_the_first_of_two_who_press_at_once_counts(till: Shop) -> None:
    await till.outage()
    card = await till.card("tom")
    clicks = [
        {"userid": who, "msgid": card["msgid"], "key": key}
        for who, key in (("tom", "acknowledge"), ("tim", "in_progress"))
    ]
    answer = await till.world.post("/sandbox/clicks", clicks=clicks, order="together")
    assert [one["tries"] for one in answer["clicks"]] == [[{"status": 200, "body": "success"}]] * 2
    steps = (await till.reach.explain("e1", STORE)).steps
    assert sum(one.code == "escalation_acknowledged" for one in steps) == 1
    pressed = {one.facts["by"]: one.facts["counted"] for one in steps if one.code == "card_clicked"}
    assert sorted(pressed.values()) == ["false", "true"]
    winner = next(who for who, counted in pressed.items() if counted == "true")
    assert {one.acknowledged_by for one in await till.deliveries()} == {winner}
    await till.until_shown("tim", {"tom": "张三 已确认", "tim": "tim 处理中"}[winner])


async def test_who_hands_over_lets_it_climb_at_once_and_by_one_level_only(till: Shop) -> None:
    await till.outage()
    await till.press("tom", "hand_over")
    await till.card("dora")
    await till.press("tim", "hand_over")
    assert "boss" not in await till.told()
    assert (await till.steps()).count("escalation_handed_over") == 1
    await till.press("dora", "hand_over")
    await till.card("boss")
    await till.press("boss", "in_progress")
    await till.until_shown("tom", "王经理 处理中")


async def test_when_everybody_was_told_and_nobody_answered_it_is_announced_and_may_still_be_answered(
    till: Shop,
) -> None:
    await till.outage()
    await till.card("tom")
    for waiting_for in ("dora", "boss"):
        await till.pass_time()
        await till.card(waiting_for)
    await till.pass_time()
    await till.until_told("escalation_exhausted")
    await till.press("tim", "acknowledge")
    await till.until_shown("boss", "tim 已确认")
    assert (await till.steps())[-2:] == ["card_clicked", "escalation_acknowledged"]


async def test_levels_without_anybody_new_are_passed_over(till: Shop) -> None:
    await till.hold("tech_support", ["tom"], ["TOM"])
    await till.hold("manager", ["boss", "tom"])
    await till.outage()
    await till.card("tom")
    await till.pass_time()
    await till.card("boss")
    assert [one["to"] for one in await till.world.messages()] == ["tom", "boss"]


async def test_a_press_of_somebody_who_was_not_sent_the_card_has_no_effect(till: Shop) -> None:
    await till.outage()
    card = await till.card("tom")
    stranger = {"userid": "eve", "msgid": card["msgid"], "key": "acknowledge", "anyway": True}
    answer = await till.world.post("/sandbox/clicks", **stranger)
    assert answer["clicks"][0]["tries"] == [{"status": 200, "body": "success"}]
    assert await till.steps() == ["escalation_opened"]
    assert not (await till.deliveries())[0].acknowledged_by
    assert await till.shows("tom") == BUTTONS


async def test_a_press_that_comes_again_counts_once(till: Shop) -> None:
    await till.outage()
    for resigned in (False, True):
        await till.press("tom", "hand_over", copies=5, resigned=resigned)
    await till.card("dora")
    # Each event was one press; the second came from a level that had climbed already.
    assert (await till.steps()).count("escalation_handed_over") == 1
    assert "boss" not in await till.told()


async def test_a_caller_answers_as_a_button_does(till: Shop) -> None:
    taken = await till.outage()
    await till.card("tim")
    delivery_id = taken.deliveries[0].delivery_id
    first = await till.acknowledge(
        delivery_id, action=pb.ACKNOWLEDGE_ACTION_IN_PROGRESS, comment="电话里说的"
    )
    assert first.escalation_state == "acknowledged"
    assert first.delivery.acknowledged_by
    later = await till.acknowledge(delivery_id)
    assert later.delivery.acknowledge_time == first.delivery.acknowledge_time
    await till.until_shown("tom", f"{first.delivery.acknowledged_by} 处理中")
    step = next(
        one for one in (await till.reach.explain("e1", STORE)).steps if one.code == "answered_by_call"
    )
    assert step.facts["comment"] == "电话里说的"
    assert "电话里说的" in step.text_zh
    assert "电话里说的" in step.text_en


async def test_one_that_is_still_to_be_sent_shows_the_answer_once_it_is_there(till: Shop) -> None:
    await till.world.fault(path="/cgi-bin/message/send", errcode=-1, count=2, body="dora")
    await till.outage()
    await till.card("tom")
    await till.press("tom", "hand_over")

    async def waits() -> bool:
        return delivery_pb2.DELIVERY_STATUS_DEFERRED in [one.status for one in await till.deliveries()]

    await eventually(waits)
    await till.press("tim", "acknowledge")
    await till.until_shown("tom", "tim 已确认")
    await till.pass_time(10)
    await till.until_shown("dora", "tim 已确认")


async def test_an_update_that_fails_is_made_again(till: Shop) -> None:
    path = "/cgi-bin/message/update_template_card"
    await till.world.fault(path=path, errcode=-1, count=1)
    await till.outage()
    await till.press("tom", "acknowledge")

    async def refused() -> bool:
        return bool(await till.world.requests(path))

    await eventually(refused)
    assert await till.shows("tim") == BUTTONS
    await till.pass_time(5)
    await till.until_shown("tim", "张三 已确认")
    assert len(await till.world.requests(path)) == 2


async def test_an_update_whose_answer_was_lost_is_not_made_twice(till: Shop) -> None:
    path = "/cgi-bin/message/update_template_card"
    await till.world.fault(path=path, drop="after-accept", count=1)
    await till.outage()
    await till.press("tom", "acknowledge")
    await till.until_shown("tim", "张三 已确认")
    await till.pass_time(5)

    async def repeated() -> bool:
        return len(await till.world.requests(path)) == 2

    await eventually(repeated)
    await till.pass_time(1000)
    await till.outage("e2")
    await till.world.arrived(2, "tom")
    assert len(await till.world.requests(path)) == 2


async def test_without_a_callback_people_get_words_and_it_climbs_all_the_same(
    world: Sandbox, tmp_path: Path
) -> None:
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as reach:
        made = Shop(reach, world)
        await _prepared(made)
        await made.outage()
        assert (await made.card("tom"))["msgtype"] == "text"
        await made.pass_time()
        assert (await made.card("dora"))["msgtype"] == "text"


async def _prepared(made: Shop) -> None:
    listen, made.listen = made.listen, _nobody  # type: ignore[method-assign]
    await made.prepare()
    made.listen = listen  # type: ignore[method-assign]


async def _nobody(reach: Reach) -> None:
    """There is nothing to listen with."""


async def test_what_was_due_while_nothing_ran_climbs_after_the_start(world: Sandbox, tmp_path: Path) -> None:
    async with shop(world, tmp_path / "home") as made:
        await made.outage()
        await made.card("tom")
    await world.advance(AFTER + 1)
    settings = {"default_store": STORE, "clock": "sandbox", **CALLBACK}
    async with embedded(world.url, tmp_path / "home", **settings) as reach:
        again = Shop(reach, world)
        await again.listen(reach)
        await again.card("dora")
        await again.press("tom", "acknowledge")
        await again.until_shown("dora", "张三 已确认")


async def test_a_keyed_answer_repeated_is_the_same_and_another_one_is_refused(till: Shop) -> None:
    taken = await till.outage()
    delivery_id = taken.deliveries[0].delivery_id
    for _ in range(2):
        answer = await till.acknowledge(
            delivery_id, action=pb.ACKNOWLEDGE_ACTION_HAND_OVER, idempotency_key="k1"
        )
        assert answer.escalation_state == "open"
    code, error = await refused(till.acknowledge(delivery_id, idempotency_key="k1"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED")
    await till.card("dora")
    assert (await till.steps()).count("answered_by_call") == 1


# --- What operators see and say; the databases make no difference ------------------------------------------


async def test_an_answer_to_what_wants_none_is_refused(reach: Reach) -> None:
    taken = await reach.push()
    request = pb.AcknowledgeDeliveryRequest(delivery_id=taken.deliveries[0].delivery_id)
    code, error = await refused(reach.notifier.AcknowledgeDelivery(request))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ESCALATED")


async def test_a_preview_shows_the_card_as_it_is_sent(world: Sandbox, tmp_path: Path) -> None:
    async with shop(world, tmp_path / "home") as made:
        preview = await made.reach.notifier.PreviewPush(
            pb.PreviewPushRequest(
                event_type="pos.down", event_data=struct({"what": "三号机离线"}), store_id=STORE
            )
        )
        payload = json.loads(preview.calls[0].payload_json)
        assert [one["text"] for one in payload["template_card"]["button_list"]] == BUTTONS
        assert preview.calls[0].text.startswith(payload["template_card"]["sub_title_text"][:10])
        assert await world.sends() == []


async def test_deputies_are_set_shown_and_stand_beside_holders_only(bare: Reach) -> None:
    request = pb.SetRoleTargetsRequest(role="cashier", targets=[user("ann")], deputies=[user("bob")])
    role = (await bare.notifier.SetRoleTargets(request)).role
    assert [one.id for one in role.deputies] == ["bob"]
    listed = (await bare.notifier.ListRoles(pb.ListRolesRequest(store_id=STORE))).roles
    assert {one.role: [two.id for two in one.deputies] for one in listed if one.deputies} == {
        "cashier": ["bob"]
    }
    lonely = pb.SetRoleTargetsRequest(role="cashier", store_id=STORE, deputies=[user("bob")])
    code, error = await refused(bare.notifier.SetRoleTargets(lonely))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "deputies")
    twice = pb.SetRoleTargetsRequest(role="cashier", targets=[user("a")], deputies=[user("b"), user("b")])
    code, error = await refused(bare.notifier.SetRoleTargets(twice))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "deputies[1]")


async def test_a_rule_keeps_what_it_says_of_escalation(bare: Reach) -> None:
    made = await bare.notifier.CreateRule(pb.CreateRuleRequest(rule_id=RULE, spec=spec()))
    assert made.rule.escalation.after.seconds == AFTER
    shown = await bare.notifier.GetRule(pb.GetRuleRequest(rule_id=RULE))
    assert shown.rule.escalation == made.rule.escalation
    calm = pb.CreateRuleRequest(rule_id="calm", spec=spec(priority=rule_pb2.PRIORITY_NORMAL))
    code, error = await refused(bare.notifier.CreateRule(calm))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "escalation")
    long = await bare.notifier.CreateRule(
        pb.CreateRuleRequest(
            rule_id="long", spec=spec(event_type="system.error", template="长" * 400, variables=[])
        )
    )
    assert long.check.byte_count == 1200
    assert long.check.byte_limit < 3 * 160
    plain = await bare.notifier.CreateRule(pb.CreateRuleRequest(rule_id="plain", spec=spec(escalation=None)))
    assert not plain.rule.HasField("escalation")


async def test_robots_get_the_words(world: Sandbox, tmp_path: Path) -> None:
    async with shop(world, tmp_path / "home") as made:
        await made.reach.ops.SetCredential(
            ops.SetCredentialRequest(
                kind=ops.CREDENTIAL_KIND_ROBOT, name="hall", secret="hall-robot-key-0123456789"
            )
        )
        targets = [user("tom"), robot("hall")]
        await made.reach.notifier.SetRoleTargets(
            pb.SetRoleTargetsRequest(role="tech_support", targets=targets)
        )
        await made.outage()
        found = await world.arrived(2)
        assert {one["kind"]: one["msgtype"] for one in found} == {"user": "template_card", "robot": "text"}
