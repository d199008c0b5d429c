"""The platform's rates, kept by us: two replicas, one PostgreSQL, and a clock that moves when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import CORP, STORE, Reach, Sandbox, eventually, robot, user
from tests.e2e.replicas import (
    Replicas,
    add_app,
    add_robot,
    deliveries,
    instant,
    message,
    most_within,
    replicas,
    standing,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.server]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOURLY, DROPS_ABOVE = 40, 42
"""An hour's limit for members, low enough to be reached, and what the sandbox drops above."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(
    amqp_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    home: Path = tmp_path_factory.mktemp("rates")
    async with replicas(2, amqp_url, postgres_url, home, limit_member_per_hour=str(HOURLY)) as made:
        await made.sandbox.profile(member_per_hour=DROPS_ABOVE)
        await made.sandbox.freeze()
        yield made


async def posts(sandbox: Sandbox, key: str) -> list[dict[str, Any]]:
    """Every request that was made with the robot whose key begins with the four characters of *key*."""
    calls = await sandbox.requests("/cgi-bin/webhook/send")
    return [call for call in calls if call["query"]["key"].startswith(key[:4])]


async def all_stand(reach: Reach, ids: list[str], *wanted: int, timeout: float = 30) -> list[dv.Delivery]:
    """Wait until every delivery of these messages has one of the statuses *wanted*."""

    async def look() -> list[dv.Delivery] | None:
        found = await deliveries(reach, *ids)
        return found if found and all(one.status in wanted for one in found) else None

    return await eventually(look, timeout, every=0.2) or []


async def spend(two: Replicas, member: str, amount: int) -> None:
    """Use up *amount* of a member's rate, through both replicas in turn."""
    ids = [
        (await message(two.all[at % 2], f"{member} {at}", user(member))).message_id for at in range(amount)
    ]
    await all_stand(two.all[0], ids, dv.DELIVERY_STATUS_ACCEPTED)


async def dropped(sandbox: Sandbox, member: str) -> list[dict[str, Any]]:
    """What the platform swallowed although it had said ok."""
    return await sandbox.messages(member, dropped="only")


async def test_twenty_five_posts_at_once_never_exceed_a_robots_rate_and_arrive_in_order(
    two: Replicas,
) -> None:
    sandbox, key = two.sandbox, "rob1-0123456789abcdef"
    await add_robot(two.all[0], "busy", key)
    words = [f"第 {number} 条" for number in range(1, 26)]
    ids = [(await message(two.all[at % 2], text, robot("busy"))).message_id for at, text in enumerate(words)]

    early = await sandbox.arrived(19, key, timeout=30)
    held = await _held_head(two.all[1], ids)
    assert held.hold_reason == "rate:robot"
    assert instant(held.due_time) >= await sandbox.now() + timedelta(seconds=59)
    assert [one["content"]["content"] for one in early] == words[:19], "no 20th, while the clock stands still"

    await sandbox.advance(61)
    late = await sandbox.arrived(25, key, timeout=30)
    assert [one["content"]["content"] for one in late] == words
    calls = await posts(sandbox, key)
    assert [call["errcode"] for call in calls] == [0] * 25, "the platform never had to refuse"
    assert most_within(calls, MINUTE) <= 20
    owners = {
        attempt.owner
        for one in await all_stand(two.all[0], ids, dv.DELIVERY_STATUS_ACCEPTED)
        for attempt in (await standing(two.all[0], one.delivery_id, one.status)).attempts
    }
    assert len(owners) == 2, "both replicas had a part in it"


async def _held_head(reach: Reach, ids: list[str]) -> dv.Delivery:
    """The one delivery that stands first in line and is held; those behind it wait for it."""

    async def look() -> dv.Delivery | None:
        found = await deliveries(reach, *ids)
        late = [one for one in found if one.status != dv.DELIVERY_STATUS_ACCEPTED]
        return late[0] if len(late) == 6 and late[0].status == dv.DELIVERY_STATUS_DEFERRED else None

    held = await eventually(look)
    assert held is not None
    return held


async def test_a_report_of_many_pages_arrives_at_a_robot_in_order_and_within_its_rate(two: Replicas) -> None:
    sandbox, key = two.sandbox, "rob2-0123456789abcdef"
    await add_robot(two.all[1], "pages", key)
    body = "\n\n".join(f"第 {number} 段 " + "文" * 600 for number in range(1, 24))
    request = pb.SendReportRequest(store_id=STORE, targets=[robot("pages")], body=body)
    answer = await two.all[0].notifier.SendReport(request)
    assert answer.page_count > 20

    await sandbox.arrived(19, key, timeout=30)
    await eventually(lambda: _limit_full(two.all[1], "robot:pages"))
    assert len(await posts(sandbox, key)) == 19
    await sandbox.advance(61)
    arrived = await sandbox.arrived(answer.page_count, key, timeout=30)
    places = [body.index(one["content"]["content"].splitlines()[-1][:12]) for one in arrived]
    assert places == sorted(places)
    calls = await posts(sandbox, key)
    assert {call["errcode"] for call in calls} == {0}
    assert most_within(calls, MINUTE) <= 20


async def _limit_full(reach: Reach, prefix: str) -> ops.LimitUsage | None:
    answer = await reach.ops.ListLimits(ops.ListLimitsRequest(key_prefix=prefix))
    return next((one for one in answer.limits if one.used >= one.max), None)


async def test_a_members_surplus_is_held_by_us_and_said_so_and_never_dropped_by_the_platform(
    two: Replicas,
) -> None:
    sandbox, member = two.sandbox, "zhangsan"
    ids = [(await message(two.all[at % 2], f"消息 {at}", user(member))).message_id for at in range(31)]
    found = await all_stand(two.all[0], ids, dv.DELIVERY_STATUS_ACCEPTED, dv.DELIVERY_STATUS_DEFERRED)
    held = [one for one in found if one.status == dv.DELIVERY_STATUS_DEFERRED]
    now = await sandbox.now()
    assert len(held) == 3
    assert {one.hold_reason for one in held} == {"rate:member"}
    assert all(now + timedelta(seconds=59) <= instant(one.due_time) <= now + MINUTE * 1.1 for one in held)

    told = await two.all[1].explain(held[0].event_id)
    step = next(step for step in told.steps if step.code == "deferred")
    assert step.facts["hold_reason"] == "rate:member"
    assert step.facts["until"]
    assert "until" in step.text_en
    usage = await _limit_full(two.all[1], f"app:default:user:{member}")
    assert usage is not None
    assert (usage.window, usage.max, usage.used) == ("minute", 28, 28)
    assert instant(usage.free_time) == min(instant(one.due_time) for one in held)

    await sandbox.advance(61)
    await sandbox.arrived(31, member, timeout=30)
    assert await dropped(sandbox, member) == []


async def test_a_members_hour_holds_across_replicas_and_a_restart(two: Replicas) -> None:
    sandbox, member = two.sandbox, "lisi"
    await spend(two, member, 28)
    await sandbox.advance(61)
    await two.restart(0)
    ids = [(await message(two.all[at % 2], f"第二轮 {at}", user(member))).message_id for at in range(20)]
    found = await all_stand(two.all[1], ids, dv.DELIVERY_STATUS_ACCEPTED, dv.DELIVERY_STATUS_DEFERRED)
    held = [one for one in found if one.status == dv.DELIVERY_STATUS_DEFERRED]
    now = await sandbox.now()
    assert len(held) == 28 + 20 - HOURLY
    assert all(now + timedelta(minutes=55) <= instant(one.due_time) <= now + HOUR * 1.1 for one in held)
    usage = await two.all[0].ops.ListLimits(ops.ListLimitsRequest(key_prefix=f"app:default:user:{member}"))
    assert {one.window: (one.used, one.max) for one in usage.limits}["hour"] == (HOURLY, HOURLY)

    await sandbox.advance(3700)
    await sandbox.arrived(28 + 20, member, timeout=30)
    assert await dropped(sandbox, member) == []


async def test_people_over_their_limit_wait_in_a_sibling_and_hold_nobody_else_up(two: Replicas) -> None:
    """A report's pages are not split: whoever waited for one would be overtaken by the next."""
    sandbox, late, others = two.sandbox, "wangwu", ["zhaoliu", "sunqi"]
    await spend(two, late, 28)
    targets = [user(name) for name in (others[0], late, others[1])]
    ids = [(await message(two.all[1], "全员通知", *targets)).message_id]
    for name in others:
        await sandbox.arrived(1, name)

    found = await all_stand(two.all[0], ids, dv.DELIVERY_STATUS_ACCEPTED, dv.DELIVERY_STATUS_DEFERRED)
    by_status = {one.status: {r.target.id for r in one.recipients} for one in found}
    assert by_status == {dv.DELIVERY_STATUS_ACCEPTED: set(others), dv.DELIVERY_STATUS_DEFERRED: {late}}
    assert len(await sandbox.messages(late)) == 28

    await sandbox.advance(61)
    await sandbox.arrived(29, late)
    assert [len(await sandbox.messages(name)) for name in others] == [1, 1]
    assert await dropped(sandbox, late) == []


async def test_a_robot_that_was_too_fast_rests_for_a_minute_on_every_replica(two: Replicas) -> None:
    sandbox, key = two.sandbox, "rob3-0123456789abcdef"
    await add_robot(two.all[0], "tired", key)
    await sandbox.fault(path="/cgi-bin/webhook/send", to=key, errcode=45009, count=1)
    first = (await message(two.all[0], "先", robot("tired"), wait=0)).deliveries[0]
    held = await standing(two.all[1], first.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=1)
    now = await sandbox.now()
    assert held.hold_reason == "rate:robot"
    assert now + MINUTE <= instant(held.due_time) <= now + MINUTE * 1.2

    second = (await message(two.all[1], "后", robot("tired"))).deliveries[0]
    probe = (await message(two.all[1], "看一眼", user("probe-robot"), wait=5)).deliveries[0]
    assert probe.status == dv.DELIVERY_STATUS_ACCEPTED, "only the robot rests"
    await sandbox.advance(59)
    # A delivery that went through the same dispatcher after the jump shows that the line was looked at.
    request = pb.SendReportRequest(
        store_id=STORE, targets=[user("probe-robot")], body="看一眼", wait={"seconds": 5}
    )
    assert (await two.all[1].notifier.SendReport(request)).deliveries[0].status == dv.DELIVERY_STATUS_ACCEPTED
    assert len(await posts(sandbox, key)) == 1

    await sandbox.advance(15)
    arrived = await sandbox.arrived(2, key)
    assert [one["content"]["content"] for one in arrived] == ["先", "后"]
    for sent in (first, second):
        await standing(two.all[0], sent.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)


@pytest.mark.parametrize(("header", "least", "most"), [("40", 40, 48), ("", 5, 6), ("9999999", 3600, 4320)])
async def test_http_429_rests_the_whole_app_for_as_long_as_the_answer_asks(
    two: Replicas, header: str, least: int, most: int
) -> None:
    sandbox, name = two.sandbox, f"resting{least}"
    agent = 1000100 + least
    await add_app(two.all[0], name, agent, f"{name}-secret", CORP)
    headers = {"retry-after": header} if header else {}
    await sandbox.fault(
        path="/cgi-bin/message/send", agentid=agent, http_status=429, headers=headers, count=1
    )
    one, other = user("qianba"), user("zhoujiu")
    one.account = other.account = name
    first = (await message(two.all[0], "慢一点", one)).deliveries[0]
    held = await standing(two.all[0], first.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=1)
    now = await sandbox.now()
    assert held.hold_reason == "rate:app"
    assert held.attempts[0].http_status == 429
    assert now + timedelta(seconds=least) <= instant(held.due_time) <= now + timedelta(seconds=most)
    request = pb.SendReportRequest(store_id=STORE, targets=[other], body="也慢一点")
    second = (await two.all[1].notifier.SendReport(request)).deliveries[0]
    waiting = await standing(two.all[1], second.delivery_id, dv.DELIVERY_STATUS_DEFERRED)
    assert (waiting.hold_reason, waiting.attempt_count) == ("rate:app", 0)

    await sandbox.advance(most + 1)
    for sent in (first, second):
        await standing(two.all[1], sent.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
