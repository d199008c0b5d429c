"""Many messages of one kind become one: windows, cool-downs, and what is said about each event in them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2, rule_pb2

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, codes, embedded, eventually, refused, seconds

POINTS = "member.points_changed"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier that follows the sandbox's clock, which stands still."""
    await world.post("/sandbox/clock", set="2026-03-02T04:00:00Z", freeze=True)
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as made:
        await made.staff()
        yield made


async def merge(reach: Reach, **merging: Any) -> None:
    """Have the points rule merge."""
    rule = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id=POINTS))).rule
    spec = rule_pb2.RuleSpec(
        event_type=POINTS,
        display_name=rule.display_name,
        priority=rule.priority,
        roles=rule.roles,
        template=rule.template,
        merging=policy_pb2.Merging(**merging),
    )
    await reach.notifier.UpdateRule(pb.UpdateRuleRequest(rule_id=POINTS, spec=spec))


async def points(reach: Reach, number: int, **changes: Any) -> None:
    """One event of changed points, with an id of its own."""
    await reach.push(POINTS, {**EXAMPLES[POINTS], **changes}, event_id=f"points-{number}", wait=0)


async def only_delivery(reach: Reach, event_id: str) -> dv.Delivery:
    """The one delivery that an event ended in."""
    (found,) = (await reach.explain(event_id)).deliveries
    one: dv.Delivery = found
    return one


async def test_forty_events_in_a_window_are_one_message_that_lists_forty(
    reach: Reach, world: Sandbox
) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60), line="{member_name}")
    for number in range(40):
        await points(reach, number, member_name=f"会员{number:02}")
        await world.advance(1.25)
    assert await world.messages() == []
    await world.advance(12)
    (message,) = await world.arrived(1)
    text = message["content"]["content"]
    assert "共 40 条（12:00:00–12:00:4" in text
    lines = re.findall(r"^(\d+)\. 会员(\d\d)$", text, re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, 41))
    assert sorted(int(name) for _, name in lines) == list(range(40))
    ended = {(await only_delivery(reach, f"points-{number}")).delivery_id for number in range(40)}
    assert len(ended) == 1
    told = await reach.explain("points-39")
    gates = [step for step in told.steps if step.code == "merging"]
    assert [step.facts["verdict"] for step in gates] == ["gather"]
    assert "urgent" in gates[0].change_en


async def test_a_window_with_one_event_sends_that_events_own_words(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    plain = (
        await reach.notifier.PreviewPush(pb.PreviewPushRequest(event_type=POINTS, store_id=STORE))
    ).calls[0]
    await points(reach, 1)
    await world.advance(61)
    (message,) = await world.arrived(1)
    assert message["content"]["content"].split("\n")[:-1] == plain.text.split("\n")[:-1]


async def test_the_next_window_opens_a_message_of_its_own(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    for round_ in range(3):
        for number in range(3):
            await points(reach, 10 * round_ + number)
        await world.advance(61)
        await world.arrived(round_ + 1)
    assert len(await world.messages()) == 3
    assert len({(await only_delivery(reach, f"points-{n}")).delivery_id for n in (0, 2, 10, 12, 22)}) == 3


async def test_a_cool_down_sends_the_first_at_once_and_gathers_the_rest(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_COOLDOWN, length=seconds(60))
    await points(reach, 1)
    await world.arrived(1)
    for number in (2, 3):
        await points(reach, number)
    await world.advance(61)
    first, second = await world.arrived(2)
    assert "共 2 条" not in first["content"]["content"]
    assert "共 2 条" in second["content"]["content"]
    await points(reach, 4)  # the digest cools anew
    await world.advance(30)
    assert (await only_delivery(reach, "points-4")).status == dv.DELIVERY_STATUS_DEFERRED
    await world.advance(31)
    third = (await world.arrived(3))[2]
    assert "共" not in third["content"]["content"]


async def test_only_what_agrees_in_the_key_is_merged(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60), key=["member_name"])
    for number, name in enumerate(["甲", "乙", "甲", "甲"]):
        await points(reach, number, member_name=name)
    await world.advance(61)
    texts = [message["content"]["content"] for message in await world.arrived(2)]
    assert sorted("共 3 条" in text for text in texts) == [False, True]


async def test_a_copy_of_an_event_is_not_counted_twice(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    for number in (1, 2, 2, 1, 2):
        await points(reach, number)
    await world.advance(61)
    (message,) = await world.arrived(1)
    assert "共 2 条" in message["content"]["content"]


async def test_a_digest_that_was_refused_is_tried_again_as_it_was_and_merges_with_nothing(
    reach: Reach, world: Sandbox
) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    await world.fault(path="/cgi-bin/message/send", errcode=-1, count=1)
    for number in (1, 2):
        await points(reach, number)
    await world.advance(61)

    async def tried() -> bool:
        return len((await only_delivery(reach, "points-1")).attempts) >= 1

    await eventually(tried)
    await points(reach, 3)
    await world.advance(5)
    (message,) = await world.arrived(1)
    assert "共 2 条" in message["content"]["content"]
    await world.advance(61)
    assert len(await world.arrived(2)) == 2
    assert (await only_delivery(reach, "points-3")).delivery_id != (
        await only_delivery(reach, "points-2")
    ).delivery_id


async def test_what_comes_after_a_digest_was_taken_back_gathers_anew(reach: Reach, world: Sandbox) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    await points(reach, 1)
    first = await only_delivery(reach, "points-1")
    await reach.notifier.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=first.delivery_id))
    await points(reach, 2)
    second = await only_delivery(reach, "points-2")
    assert second.delivery_id != first.delivery_id
    await world.advance(61)
    await world.arrived(1)
    await reach.notifier.ReplayDelivery(pb.ReplayDeliveryRequest(delivery_id=first.delivery_id))
    assert len(await world.arrived(2)) == 2


async def test_a_list_by_event_finds_the_digest_it_is_in(reach: Reach) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    for number in (1, 2):
        await points(reach, number)
    found = await reach.notifier.ListDeliveries(pb.ListDeliveriesRequest(event_id="points-2"))
    assert [one.event_id for one in found.deliveries] == ["points-1"]
    assert found.deliveries[0].hold_reason == "merging"


async def test_a_preview_says_that_it_would_gather_and_what_would_change_that(reach: Reach) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    shown = await reach.notifier.PreviewPush(pb.PreviewPushRequest(event_type=POINTS, store_id=STORE))
    (call,) = shown.calls
    gates = {gate.gate: gate for gate in call.gates}
    assert call.held_by == "merging"
    assert gates["merging"].change_en.startswith("make it urgent, or switch off the merging (window 1m)")
    assert "merging" in codes(shown)


async def test_a_merging_that_cannot_be_is_refused_at_save_with_its_field(reach: Reach) -> None:
    window = policy_pb2.MERGE_MODE_WINDOW
    for field, merging in {
        "merging.length": {"mode": window},
        "merging.key": {"mode": window, "length": seconds(60), "key": ["nobody"]},
        "merging.line": {"mode": window, "length": seconds(60), "line": "{nobody}"},
        "merging.mode": {"mode": policy_pb2.MERGE_MODE_OFF, "length": seconds(60)},
    }.items():
        _, refusal = await refused(merge(reach, **merging))
        assert [one.field for one in refusal.violations] == [field]


async def test_new_words_keep_how_a_rule_is_merged(reach: Reach) -> None:
    await merge(reach, mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60), key=["member_name"])
    before = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id=POINTS))).rule.merging
    changed = await reach.notifier.UpdateTemplate(
        pb.UpdateTemplateRequest(rule_id=POINTS, template="改 {member_name}")
    )
    assert changed.rule.merging == before
    assert list(before.key) == ["member_name"]
