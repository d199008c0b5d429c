"""A credential that fails ten times in a row, as operators and those who are told meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import STORE, Reach, Sandbox, codes, embedded, eventually, refused, robot, user
from tests.e2e.replicas import add_app, add_robot, delivery, message, standing

KEY = "kitchen-0123456789abcdef"
HOOK = "/cgi-bin/webhook/send"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A staffed notifier that follows the sandbox's clock, with a robot for the kitchen."""
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as made:
        await made.staff()
        await add_robot(made, "kitchen", KEY)
        yield made


async def breakers(reach: Reach, **fields: Any) -> list[ops.Breaker]:
    """ListBreakers."""
    answer = await reach.ops.ListBreakers(ops.ListBreakersRequest(**fields))
    return list(answer.breakers)


async def fail(reach: Reach, world: Sandbox, times: int = 10) -> None:
    """The kitchen's robot refuses so many posts."""
    await world.fault(path=HOOK, errcode=93000, errmsg="invalid webhook url")
    for number in range(times):
        sent = await message(reach, f"no. {number}", robot("kitchen"), wait=5)
        assert sent.deliveries[0].status == dv.DELIVERY_STATUS_FAILED


async def alerts(world: Sandbox, to: str = "tech_support") -> list[str]:
    """Texts that *to* was sent."""
    return [str(one["content"]) for one in await world.messages(to)]


async def told(world: Sandbox, to: str = "tech_support", count: int = 1) -> list[str]:
    """Wait for so many messages to *to*."""
    await world.arrived(count, to)
    return await alerts(world, to)


async def test_ten_failures_of_a_robot_reach_tech_support_over_the_app(reach: Reach, world: Sandbox) -> None:
    await fail(reach, world)
    (text,) = await told(world)
    for part in (
        "机器人 kitchen",
        "连续发送失败 10 次",
        "errcode 93000",
        "reach breakers reset robot:kitchen",
    ):
        assert part in text
    (one,) = await breakers(reach)
    assert (one.key, one.state, one.failures, one.errcode) == (
        "robot:kitchen", ops.BREAKER_STATE_OPEN, 10, 93000,
    )  # fmt: skip

    async def noted() -> bool:
        return (await breakers(reach))[0].alert == ops.BREAKER_ALERT_SENT

    await eventually(noted)
    waiting = await message(reach, "after", robot("kitchen"))
    held = await standing(reach, waiting.deliveries[0].delivery_id, dv.DELIVERY_STATUS_DEFERRED)
    assert (held.hold_reason, held.attempt_count) == ("breaker:open", 0)
    assert (await breakers(reach, open_only=True))[0].waiting == 1
    explained = (await reach.explain(waiting.message_id)).steps[-1]
    assert explained.facts["hold_reason"] == "breaker:open"
    assert "已暂停使用" in explained.text_zh
    assert "too often in a row" in explained.text_en
    checks = (await reach.ops.Doctor(ops.DoctorRequest())).checks
    found = next(check for check in checks if check.name == "breaker:robot:kitchen")
    assert found.status == ops.CHECK_STATUS_FAILED
    assert "reach breakers reset robot:kitchen" in found.fix


async def test_when_it_works_again_what_waited_goes_and_they_are_told(reach: Reach, world: Sandbox) -> None:
    await fail(reach, world)
    await told(world)
    waiting = [await message(reach, f"waits {n}", robot("kitchen")) for n in range(3)]
    await world.clear_faults()
    await world.advance(75)
    for one in waiting:
        await standing(reach, one.deliveries[0].delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
    texts = await told(world, count=2)
    assert "已恢复" in texts[-1]
    (one,) = await breakers(reach)
    assert (one.state, one.failures, one.openings) == (ops.BREAKER_STATE_CLOSED, 0, 1)
    assert await breakers(reach, open_only=True) == []


async def test_somebody_closes_it_by_hand_and_what_waits_goes_at_once(reach: Reach, world: Sandbox) -> None:
    await fail(reach, world)
    waiting = await message(reach, "waits", robot("kitchen"))
    held = waiting.deliveries[0].delivery_id
    await standing(reach, held, dv.DELIVERY_STATUS_DEFERRED)
    await world.clear_faults()
    request = ops.ResetBreakerRequest(key="robot:kitchen", idempotency_key="k1")
    closed = (await reach.ops.ResetBreaker(request)).breaker
    assert (closed.state, closed.reset_by) == (ops.BREAKER_STATE_CLOSED, "local")
    await standing(reach, held, dv.DELIVERY_STATUS_ACCEPTED)
    assert (await delivery(reach, held)).attempt_count == 1


async def test_a_repeated_reset_changes_nothing_and_another_key_is_another_request(
    reach: Reach, world: Sandbox
) -> None:
    await fail(reach, world)
    request = ops.ResetBreakerRequest(key="robot:kitchen", idempotency_key="k1")
    await reach.ops.ResetBreaker(request)
    await world.advance(61)  # past the robot's rate
    await fail(reach, world)
    again = (await reach.ops.ResetBreaker(request)).breaker
    assert (again.state, again.openings) == (ops.BREAKER_STATE_OPEN, 2)
    other = ops.ResetBreakerRequest(key="app:default", idempotency_key="k1")
    _, error = await refused(reach.ops.ResetBreaker(other))
    assert error.reason in ("IDEMPOTENCY_KEY_REUSED", "NOT_FOUND")
    other = ops.ResetBreakerRequest(key="robot:kitchen", service="notifier", idempotency_key="k1")
    _, error = await refused(reach.ops.ResetBreaker(other))
    assert error.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_what_never_failed_has_no_breaker(reach: Reach) -> None:
    assert await breakers(reach) == []
    _, error = await refused(reach.ops.ResetBreaker(ops.ResetBreakerRequest(key="app:default")))
    assert error.reason == "NOT_FOUND"


async def test_a_failing_app_is_told_of_by_another_app(reach: Reach, world: Sandbox) -> None:
    await world.declare(apps=[{"agentid": 1000009, "secret": "other-secret-0123456789"}])
    await add_app(reach, "ops", 1000009, "other-secret-0123456789", "ww0a1b2c3d4e5f6a7b")
    both = [user("tech_support"), user("tech_support")]
    both[1].account = "ops"
    await reach.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="tech_support", targets=both))
    await world.fault(agentid=1000002, errcode=60020, errmsg="not allow to access from your ip")
    for number in range(10):
        await message(reach, f"no. {number}", user("manager"), wait=5)
    (text,) = await told(world)
    assert "应用 default" in text
    assert "60020" in text


async def test_where_no_other_way_leads_to_anybody_the_row_says_so(reach: Reach, world: Sandbox) -> None:
    await world.fault(path="/cgi-bin/message/send", errcode=60020, errmsg="not allow to access from your ip")
    for number in range(10):
        await message(reach, f"no. {number}", user("manager"), wait=5)

    async def noted() -> bool:
        return (await breakers(reach))[0].alert == ops.BREAKER_ALERT_UNDELIVERABLE

    await eventually(noted)
    assert codes(await reach.explain("alert-app:default-1"))[:1] == ["received"]
    assert "no_recipient" in codes(await reach.explain("alert-app:default-1"))


async def test_where_tech_support_sits_in_the_failing_group_the_manager_is_told(
    reach: Reach, world: Sandbox
) -> None:
    request = pb.SetRoleTargetsRequest(role="tech_support", targets=[robot("kitchen")])
    await reach.notifier.SetRoleTargets(request)
    await fail(reach, world)
    (text,) = await told(world, "manager")
    assert "机器人 kitchen" in text
