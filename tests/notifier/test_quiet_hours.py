"""People are left alone in quiet hours, as their policies have it; what is urgent comes all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import explain_pb2, policy_pb2, rule_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, embedded, eventually, heard, seconds, user

POINTS, OUT = "member.points_changed", "inventory.out_of_stock"
NIGHT = policy_pb2.QuietWindow(start="22:00", end="08:00")
HOLD, DIGEST, DROP = policy_pb2.QUIET_MODE_HOLD, policy_pb2.QUIET_MODE_DIGEST, policy_pb2.QUIET_MODE_DROP


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier that follows the sandbox's clock, which stands still at noon in Shanghai."""
    await world.post("/sandbox/clock", set="2026-03-02T04:00:00Z", freeze=True)
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as made:
        await made.staff()
        yield made


async def quiet(
    reach: Reach, mode: Any = HOLD, *, subject: Any = None, store: str = "", zone: str = ""
) -> None:
    """Leave people alone at night."""
    hours = policy_pb2.QuietHours(windows=[NIGHT], mode=mode)
    policy = policy_pb2.Policy(quiet_hours=hours, time_zone=zone)
    await reach.notifier.SetPolicy(pb.SetPolicyRequest(store_id=store, subject=subject, policy=policy))


async def at(reach: Reach, world: Sandbox, instant: str) -> None:
    """Let it be *instant* for the sandbox and the notifier."""
    await world.post("/sandbox/clock", set=instant, freeze=True)

    await heard(reach, world)


async def low(reach: Reach, number: int, **changes: Any) -> None:
    """An event whose rule can wait."""
    await reach.push(POINTS, {**EXAMPLES[POINTS], **changes}, event_id=f"points-{number}", wait=0)


async def only(reach: Reach, event_id: str) -> dv.Delivery:
    """The one delivery of an event."""
    (found,) = (await reach.explain(event_id)).deliveries
    one: dv.Delivery = found
    return one


async def test_what_comes_at_night_goes_in_one_message_when_the_night_is_over(
    reach: Reach, world: Sandbox
) -> None:
    await quiet(reach, DIGEST)
    await at(reach, world, "2026-03-02T15:30:00Z")  # 23:30 in Shanghai
    for number, name in enumerate(("甲", "乙", "丙")):
        await low(reach, number, member_name=name)
    held = await only(reach, "points-0")
    assert (held.status, held.hold_reason) == (dv.DELIVERY_STATUS_DEFERRED, "quiet_hours")
    assert held.due_time.ToJsonString() == "2026-03-03T00:00:00Z"
    await at(reach, world, "2026-03-02T23:59:58Z")
    assert await world.messages() == []
    await at(reach, world, "2026-03-03T00:00:01Z")
    (message,) = await world.arrived(1)
    text = message["content"]["content"]
    assert text.startswith("免打扰期间的消息：共 3 条")
    assert "1. 【积分变动通知】" in text
    assert {(await only(reach, f"points-{number}")).delivery_id for number in range(3)} == {held.delivery_id}


async def test_what_is_urgent_goes_at_once_in_the_quiet_and_inside_a_merge_window(
    reach: Reach, world: Sandbox
) -> None:
    await quiet(reach, DIGEST)
    merging = policy_pb2.Merging(mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(3600))
    everybody = policy_pb2.Policy(
        quiet_hours=policy_pb2.QuietHours(windows=[NIGHT], mode=DIGEST), merging=merging
    )
    await reach.notifier.SetPolicy(pb.SetPolicyRequest(policy=everybody))
    await at(reach, world, "2026-03-02T15:30:00Z")
    await reach.push(OUT, event_id="out-1", wait=5)
    assert len(await world.arrived(1)) == 1
    told = await reach.explain("out-1")
    assert {step.code: step.facts["verdict"] for step in told.steps if "verdict" in step.facts} == {
        "quiet_hours": "go",
        "merging": "go",
    }


async def test_the_night_in_which_clocks_are_set_forward_is_an_hour_shorter(
    reach: Reach, world: Sandbox
) -> None:
    await quiet(reach, zone="Europe/Berlin")
    await at(reach, world, "2026-03-28T22:00:00Z")  # 23:00 in Berlin, the last night of winter time
    await low(reach, 1)
    assert (await only(reach, "points-1")).due_time.ToJsonString() == "2026-03-29T06:00:00Z"
    await at(reach, world, "2026-10-24T21:00:00Z")  # 23:00 in Berlin, the last night of summer time
    await low(reach, 2)
    assert (await only(reach, "points-2")).due_time.ToJsonString() == "2026-10-25T07:00:00Z"


async def test_what_is_dropped_is_recorded_as_not_sent_with_the_reason(reach: Reach, world: Sandbox) -> None:
    await quiet(reach, DROP)
    await at(reach, world, "2026-03-02T15:30:00Z")
    await low(reach, 1)
    dropped = await only(reach, "points-1")
    assert (dropped.status, dropped.reason) == (dv.DELIVERY_STATUS_SUPPRESSED, "quiet_hours")
    told = await reach.explain("points-1")
    (gate,) = [step for step in told.steps if step.code == "quiet_hours"]
    assert gate.facts["verdict"] == "drop"
    assert "leave 23:30 out of the quiet hours" in gate.change_en
    await at(reach, world, "2026-03-03T01:00:00Z")
    assert await world.messages() == []


async def test_each_is_left_alone_by_the_closest_policy(reach: Reach, world: Sandbox) -> None:
    await quiet(reach)
    role = policy_pb2.PolicySubject(role="member_manager")
    awake = policy_pb2.QuietHours(windows=[policy_pb2.QuietWindow(start="03:00", end="04:00")])
    await reach.notifier.SetPolicy(
        pb.SetPolicyRequest(subject=role, policy=policy_pb2.Policy(quiet_hours=awake))
    )
    await at(reach, world, "2026-03-02T15:30:00Z")
    await low(reach, 1)
    await world.arrived(1)
    him = policy_pb2.PolicySubject(target=user("member_manager"))
    await quiet(reach, subject=him)
    await low(reach, 2)
    assert (await only(reach, "points-2")).hold_reason == "quiet_hours"


async def test_what_somebody_writes_at_night_is_held_as_it_is(reach: Reach, world: Sandbox) -> None:
    await quiet(reach, DIGEST)
    await at(reach, world, "2026-03-02T15:30:00Z")
    request = pb.SendMessageRequest(store_id=STORE, targets=[user("ann")], text="明早开会")
    (held,) = (await reach.notifier.SendMessage(request)).deliveries
    assert held.hold_reason == "quiet_hours"
    request.priority = rule_pb2.PRIORITY_URGENT
    await reach.notifier.SendMessage(request)
    assert len(await world.arrived(1)) == 1
    await at(reach, world, "2026-03-03T00:00:01Z")
    assert len(await world.arrived(2)) == 2


async def test_what_was_held_up_into_the_night_waits_for_the_morning(reach: Reach, world: Sandbox) -> None:
    await at(reach, world, "2026-03-02T13:59:58Z")  # two seconds before the night
    await quiet(reach)
    await world.fault(path="/cgi-bin/message/send", errcode=-1, count=2)
    await low(reach, 1)

    async def tried() -> bool:
        return (await only(reach, "points-1")).hold_reason == "retry:busy"

    await eventually(tried)
    await at(reach, world, "2026-03-02T14:00:10Z")

    async def held() -> bool:
        found = await only(reach, "points-1")
        return found.hold_reason == "quiet_hours" and len(found.attempts) == 1

    await eventually(held)
    await world.clear_faults()
    await at(reach, world, "2026-03-03T00:00:01Z")
    await world.arrived(1)


async def test_a_preview_at_night_shows_each_gate_and_the_smallest_change(
    reach: Reach, world: Sandbox
) -> None:
    await quiet(reach)
    await at(reach, world, "2026-03-02T15:30:00Z")
    shown = await reach.notifier.PreviewPush(pb.PreviewPushRequest(event_type=POINTS, store_id=STORE))
    (call,) = shown.calls
    assert call.earliest_time.ToJsonString() == "2026-03-03T00:00:00Z"
    assert [(gate.gate, gate.way) for gate in call.gates] == [
        ("quiet_hours", explain_pb2.GATE_WAY_HOLD),
        ("rate", explain_pb2.GATE_WAY_GO),
    ]
    assert call.gates[0].policy == "everybody"
    assert "22:00–08:00" in call.gates[0].change_zh
