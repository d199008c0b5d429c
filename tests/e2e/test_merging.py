"""Merging survives what processes suffer: a kill in the middle of a window, and replicas that share it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2, rule_pb2

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, environment, sandbox_program, seconds
from tests.e2e.replicas import replicas, started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

POINTS = "member.points_changed"
EVENTS = 40


async def staffed(reach: Reach) -> None:
    """Let the points rule merge what comes within a minute."""
    await reach.staff()
    rule = (await reach.notifier.GetRule(pb.GetRuleRequest(rule_id=POINTS))).rule
    merging = policy_pb2.Merging(mode=policy_pb2.MERGE_MODE_WINDOW, length=seconds(60), line="{member_name}")
    spec = rule_pb2.RuleSpec(
        event_type=POINTS,
        display_name=rule.display_name,
        priority=rule.priority,
        roles=rule.roles,
        template=rule.template,
        merging=merging,
    )
    await reach.notifier.UpdateRule(pb.UpdateRuleRequest(rule_id=POINTS, spec=spec))


async def happen(reach: Reach, world: Sandbox, numbers: range) -> None:
    """Events of fifty seconds."""
    for number in numbers:
        data = {**EXAMPLES[POINTS], "member_name": f"会员{number:02}"}
        await reach.push(POINTS, data, event_id=f"points-{number}", wait=0)
        await world.advance(50 / EVENTS)


async def one_message_lists_them_all(reach: Reach, world: Sandbox) -> None:
    """Once the minute is over."""
    assert await world.messages() == []
    await world.advance(61)
    (message,) = await world.arrived(1, timeout=30)
    text = message["content"]["content"]
    assert f"共 {EVENTS} 条" in text
    assert sorted(re.findall(r"会员(\d\d)", text)) == [f"{number:02}" for number in range(EVENTS)]
    ended = [(await reach.explain(f"points-{number}", STORE)).deliveries for number in range(EVENTS)]
    assert {one.delivery_id for found in ended for one in found} == {ended[0][0].delivery_id}
    assert all(len(found) == 1 for found in ended)


async def test_a_kill_in_the_middle_of_a_window_loses_nothing_of_it(tmp_path: Path) -> None:
    async with sandbox_program() as world:
        await world.post("/sandbox/clock", set="2026-03-02T04:00:00Z", freeze=True)
        environ = environment(world.url, tmp_path, clock="sandbox", default_store=STORE)
        async with started(environ) as reach:
            await staffed(reach)
            await happen(reach, world, range(24))  # half a minute
            assert reach.program is not None
            reach.program.kill()
        async with started(environ, "after the kill") as reach:
            await happen(reach, world, range(24, EVENTS))
            await one_message_lists_them_all(reach, world)


async def test_two_replicas_fill_one_window_though_one_is_killed(
    tmp_path: Path, amqp_url: str, postgres_url: str
) -> None:
    async with replicas(2, amqp_url, postgres_url, tmp_path) as suite:
        world, (first, second) = suite.sandbox, suite.all
        await staffed(first)

        async def half(reach: Reach, numbers: list[int]) -> None:
            for number in numbers:
                data = {**EXAMPLES[POINTS], "member_name": f"会员{number:02}"}
                await reach.push(POINTS, data, event_id=f"points-{number}", wait=0)

        await asyncio.gather(half(first, list(range(0, 20, 2))), half(second, list(range(1, 20, 2))))
        await world.advance(30)
        assert second.program is not None
        second.program.kill()
        await half(first, list(range(20, 30)))
        await suite.restart(1)
        await half(suite.all[1], list(range(30, EVENTS)))
        assert await world.messages() == []
        await world.advance(61)
        (message,) = await world.arrived(1, timeout=30)
        text = message["content"]["content"]
        assert f"共 {EVENTS} 条" in text
        assert sorted(re.findall(r"会员(\d\d)", text)) == [f"{number:02}" for number in range(EVENTS)]
        ended = [(await first.explain(f"points-{number}", STORE)).deliveries for number in range(EVENTS)]
        assert len({one.delivery_id for found in ended for one in found}) == 1
        assert all(len(found) == 1 for found in ended)
