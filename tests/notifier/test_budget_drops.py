"""Budgets that drop: who is dropped when a message comes to go, and that nothing else is lost with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, embedded, eventually, seconds, user

POINTS = "member.points_changed"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier at noon in Shanghai, whose clock stands still."""
    await world.post("/sandbox/clock", set="2026-03-02T04:00:00Z", freeze=True)
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as made:
        await made.staff()
        yield made


async def say(reach: Reach, subject: policy_pb2.PolicySubject, **policy: object) -> None:
    """Set a policy in the store."""
    said = policy_pb2.Policy(**policy)
    await reach.notifier.SetPolicy(pb.SetPolicyRequest(store_id=STORE, subject=subject, policy=said))


def one_an_hour() -> policy_pb2.Budgets:
    """More than one in an hour is dropped."""
    return policy_pb2.Budgets(
        budgets=[policy_pb2.Budget(max_messages=1, period=seconds(3600), excess=policy_pb2.EXCESS_DROP)]
    )


async def gathers_in(reach: Reach, event_id: str) -> dv.Delivery:
    """The one delivery that an event ended in."""
    (found,) = (await reach.explain(event_id)).deliveries
    one: dv.Delivery = found
    return one


async def test_what_comes_after_a_digest_was_dropped_gathers_anew(reach: Reach, world: Sandbox) -> None:
    whose = policy_pb2.PolicySubject(role="member_manager")
    merging = policy_pb2.Merging(mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60))
    await say(reach, whose, budgets=one_an_hour(), merging=merging)
    await reach.push(POINTS, EXAMPLES[POINTS], event_id="points-0", wait=0)
    await world.advance(61)
    await world.arrived(1)
    await reach.push(POINTS, EXAMPLES[POINTS], event_id="points-1", wait=0)
    await world.advance(61)

    async def dropped() -> bool:
        return (await gathers_in(reach, "points-1")).status == dv.DELIVERY_STATUS_SUPPRESSED

    await eventually(dropped)
    await world.advance(3600)
    await reach.push(POINTS, EXAMPLES[POINTS], event_id="points-2", wait=0)
    first, second = await gathers_in(reach, "points-1"), await gathers_in(reach, "points-2")
    assert first.delivery_id != second.delivery_id
    await world.advance(61)
    await world.arrived(2)


async def test_of_several_who_were_held_only_those_without_room_are_dropped(
    reach: Reach, world: Sandbox
) -> None:
    holders = [user("anna"), user("bob")]
    await reach.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="manager", targets=holders))
    noon = policy_pb2.QuietHours(windows=[policy_pb2.QuietWindow(start="11:00", end="13:00")])
    await say(reach, policy_pb2.PolicySubject(role="manager"), quiet_hours=noon)
    await say(reach, policy_pb2.PolicySubject(target=user("anna")), budgets=one_an_hour())
    for number in (1, 2):
        data = EXAMPLES["order.completed"] | {"order_number": f"A{number}"}
        await reach.push("order.completed", data, event_id=f"order-{number}", wait=0)
    await world.advance(3600)
    await world.arrived(2, to="bob")
    (told,) = await world.arrived(1, to="anna")
    assert told["content"]["content"].count("A1") == 1

    async def recorded() -> bool:
        found = (await reach.explain("order-2")).deliveries
        return {one.status for one in found} == {
            dv.DELIVERY_STATUS_ACCEPTED,
            dv.DELIVERY_STATUS_SUPPRESSED,
        }

    await eventually(recorded)
    (over,) = [
        one
        for one in (await reach.explain("order-2")).deliveries
        if one.status == dv.DELIVERY_STATUS_SUPPRESSED
    ]
    assert over.reason.startswith("budget:1/1h:user:anna")
    await world.advance(2 * 3600)
    assert len(await world.messages(to="anna")) == 1
