"""Nobody gets more than their budget, and the platform's own limits are kept before it drops in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, embedded, eventually, heard, seconds

POINTS, OUT = "member.points_changed", "inventory.out_of_stock"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier that follows the sandbox's clock, which stands still at noon in Shanghai."""
    await world.post("/sandbox/clock", set="2026-03-02T04:00:00Z", freeze=True)
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as made:
        await made.staff()
        yield made


async def allow(reach: Reach, *budgets: policy_pb2.Budget, role: str = "member_manager") -> None:
    """Set the budgets of a role."""
    policy = policy_pb2.Policy(budgets=policy_pb2.Budgets(budgets=budgets))
    subject = policy_pb2.PolicySubject(role=role)
    await reach.notifier.SetPolicy(pb.SetPolicyRequest(subject=subject, policy=policy))


async def point(reach: Reach, number: int) -> dv.Delivery:
    """An event, and its only delivery once it stands still."""
    await reach.push(POINTS, {**EXAMPLES[POINTS], "change": number}, event_id=f"points-{number}", wait=0)
    return await only(reach, f"points-{number}")


async def only(reach: Reach, event_id: str) -> dv.Delivery:
    """The only delivery of an event, once it is sent, held or over."""

    async def settled() -> Any:
        # The first: what fails is handed on to somebody else.
        found = (await reach.explain(event_id)).deliveries[0]
        return found if found.status != dv.DELIVERY_STATUS_SENDING else None

    one: dv.Delivery = await eventually(settled)
    return one


async def test_what_is_over_the_budget_is_held_until_there_is_room(reach: Reach, world: Sandbox) -> None:
    await allow(reach, policy_pb2.Budget(max_messages=2, period=seconds(3600)))
    found = [await point(reach, number) for number in range(3)]
    assert [one.status for one in found] == [
        dv.DELIVERY_STATUS_ACCEPTED,
        dv.DELIVERY_STATUS_ACCEPTED,
        dv.DELIVERY_STATUS_DEFERRED,
    ]
    assert found[2].hold_reason == "budget:2/1h:role:member_manager"
    told = await reach.explain("points-2")
    held = next(step for step in told.steps if step.code == "deferred")
    assert "the budget 2/1h of role:member_manager" in held.text_en
    assert held.facts["until"].startswith("2026-03-02 05:0")
    await world.advance(3700)
    assert len(await world.arrived(3)) == 3


async def test_what_is_over_a_day_s_budget_goes_after_midnight(reach: Reach, world: Sandbox) -> None:
    await allow(reach, policy_pb2.Budget(max_messages=1))
    await point(reach, 1)
    held = await point(reach, 2)
    assert held.due_time.ToJsonString() == "2026-03-02T16:00:00Z"  # midnight in Shanghai
    await world.advance(12 * 3600 + 1)
    assert len(await world.arrived(2)) == 2


async def test_what_is_over_a_budget_that_drops_is_recorded_and_never_goes(
    reach: Reach, world: Sandbox
) -> None:
    drop = policy_pb2.EXCESS_DROP
    await allow(reach, policy_pb2.Budget(max_messages=1, period=seconds(3600), excess=drop))
    await point(reach, 1)
    dropped = await point(reach, 2)
    assert dropped.status == dv.DELIVERY_STATUS_SUPPRESSED
    assert dropped.reason == "budget:1/1h:role:member_manager"
    await world.advance(7200)
    await point(reach, 3)
    assert len(await world.messages()) == 2


async def test_urgent_messages_pass_a_budget_and_are_not_counted(reach: Reach, world: Sandbox) -> None:
    await allow(reach, policy_pb2.Budget(max_messages=1, period=seconds(3600)), role="inventory_manager")
    for number in range(3):
        await reach.push(OUT, event_id=f"out-{number}", wait=5)
    assert len(await world.arrived(3)) == 3
    low = await reach.push("inventory.low_stock", event_id="low-1", wait=5)
    assert low.deliveries[0].status == dv.DELIVERY_STATUS_ACCEPTED


async def test_what_was_refused_is_not_counted(reach: Reach, world: Sandbox) -> None:
    await allow(reach, policy_pb2.Budget(max_messages=1, period=seconds(3600)))
    await world.fault(path="/cgi-bin/message/send", errcode=40008, count=1)
    assert (await point(reach, 1)).status == dv.DELIVERY_STATUS_FAILED
    assert (await point(reach, 2)).status == dv.DELIVERY_STATUS_ACCEPTED


async def test_a_preview_says_what_a_budget_of_one_more_would_let_through(reach: Reach) -> None:
    await allow(reach, policy_pb2.Budget(max_messages=1, period=seconds(3600)))
    await point(reach, 1)
    shown = await reach.notifier.PreviewPush(pb.PreviewPushRequest(event_type=POINTS, store_id=STORE))
    gates = {gate.gate: gate for gate in shown.calls[0].gates}
    assert "raise the budget of role:member_manager from 1 to 2" in gates["budget"].change_en
    assert shown.calls[0].held_by == "budget"


async def test_the_last_of_more_than_the_platform_takes_in_an_hour_are_held_by_us(
    reach: Reach, world: Sandbox
) -> None:
    for minute in range(39):
        numbers = range(26 * minute, 26 * minute + 26)  # fewer than the platform takes in a minute
        await asyncio.gather(
            *(
                reach.push(
                    POINTS, {**EXAMPLES[POINTS], "change": number}, event_id=f"points-{number}", wait=0
                )
                for number in numbers
            )
        )
        await world.advance(61)
        await heard(reach, world)
    found = await reach.notifier.ListDeliveries(
        pb.ListDeliveriesRequest(statuses=[dv.DELIVERY_STATUS_DEFERRED], page_size=200)
    )
    assert [one.hold_reason for one in found.deliveries] == ["rate:member"] * (1014 - 950)
    told = await reach.explain("points-1013")
    step = next(step for step in told.steps if step.code == "deferred")
    assert "the rate limit of a member" in step.text_en
    assert step.facts["until"].startswith("2026-03-02 05:0")
    assert len(await world.arrived(950)) == 950
