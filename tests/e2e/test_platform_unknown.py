"""Calls that may have been accepted: recorded as unknown, handled by policy, visible, and never called accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import rule_pb2
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import STORE, Reach, Sandbox, embedded, refused, robot, sandbox, user
from tests.e2e.replicas import add_robot, deliveries, delivery, instant, message, standing, states

SENDS, POSTS = "/cgi-bin/message/send", "/cgi-bin/webhook/send"
MARK = "「可能重复」"

# A fault after which nobody can tell, and a word that its detail must hold.
UNCLEAR: dict[str, tuple[dict[str, Any], str]] = {
    "accepted-then-dropped": ({"drop": "after-accept"}, "closed the connection"),
    "dropped-before-accept": ({"drop": "before-accept"}, "closed the connection"),
    "reset": ({"drop": "after-accept", "reset": True}, "broke"),
    "http-500": ({"http_status": 500}, "500"),
    "http-502-accepted": ({"http_status": 502, "accepted": True}, "502"),
    "http-504": ({"http_status": 504}, "504"),
    "truncated": ({"malformed": "truncated"}, "understood"),
    "html": ({"malformed": "html"}, "understood"),
    "wrong-types": ({"malformed": "wrong_types"}, "understood"),
    "non-utf8": ({"malformed": "non_utf8"}, "understood"),
    "empty": ({"malformed": "empty"}, "understood"),
    "array": ({"malformed": "array"}, "understood"),
    "no-errcode": ({"malformed": "no_errcode"}, "understood"),
    "huge": ({"malformed": "huge"}, "large"),
    "short": ({"short": True}, "ended early"),
}


@pytest.fixture
async def platform() -> AsyncIterator[Sandbox]:
    async with sandbox() as made:
        yield made


@pytest.fixture
async def reach(platform: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """One process on SQLite that follows the sandbox's clock, with a robot; so many faults open no breaker."""
    async with embedded(platform.url, tmp_path, clock="sandbox", limit_breaker_threshold="1000") as made:
        await add_robot(made, "front", "rob7-0123456789abcdef")
        yield made


async def bodies(platform: Sandbox, path: str, to: str) -> list[tuple[Any, int]]:
    """The bodies sent to somebody, with their sizes in bytes."""
    return [
        (call["body"], call["body_bytes"])
        for call in await platform.requests(path)
        if call["body"].get("touser") == to or path == POSTS
    ]


async def unknowns(reach: Reach) -> dict[str, ops.UnknownSend]:
    """What the operators' desk shows, by id."""
    answer = await reach.ops.ListUnknown(ops.ListUnknownRequest())
    return {one.id: one for one in answer.unknown_sends}


async def test_an_app_message_of_unclear_outcome_is_repeated_byte_by_byte_and_seen_once(
    platform: Sandbox, reach: Reach
) -> None:
    """The platform swallows the repeat where it had taken the first, and takes it where it had not."""
    sent: dict[str, str] = {}
    for name, (fault, _) in UNCLEAR.items():
        await platform.fault(path=SENDS, to=f"u-{name}", count=1, **fault)
        sent[name] = (await message(reach, f"订单 {name}", user(f"u-{name}"))).deliveries[0].delivery_id
    for name, (_, word) in UNCLEAR.items():
        done = await standing(reach, sent[name], dv.DELIVERY_STATUS_ACCEPTED)
        assert states(done) == ["unknown", "accepted"], name
        assert word in done.attempts[0].detail.lower(), (name, done.attempts[0].detail)
        paused = instant(done.attempts[1].start_time) - instant(done.attempts[0].finish_time)
        assert timedelta(seconds=1) <= paused
        first, second = await bodies(platform, SENDS, f"u-{name}")
        assert first == second, name
        assert first[0]["enable_duplicate_check"] == 1
        assert len(await platform.messages(f"u-{name}")) == 1, name
    assert await unknowns(reach) == {}


async def test_an_answer_that_never_comes_or_never_ends_is_given_ten_seconds_in_all(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.fault(path=SENDS, to="hang", count=1, hang=True, accepted=True)
    await platform.fault(path=SENDS, to="drip", count=1, drip_ms=2000)
    sent = {
        name: (await message(reach, "在吗", user(name))).deliveries[0].delivery_id
        for name in ("hang", "drip")
    }
    for name, delivery_id in sent.items():
        done = await standing(reach, delivery_id, dv.DELIVERY_STATUS_ACCEPTED, timeout=25)
        assert states(done) == ["unknown", "accepted"]
        took = instant(done.attempts[0].finish_time) - instant(done.attempts[0].start_time)
        assert timedelta(seconds=9) <= took <= timedelta(seconds=12)
        assert len(await platform.messages(name)) == 1


async def test_an_app_message_that_stays_unclear_ends_unknown_never_accepted_nor_failed(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.freeze()
    await platform.fault(path=SENDS, to="zhangsan", drop="after-accept")
    sent = (await message(reach, "在吗", user("zhangsan"))).deliveries[0]
    for tried in (1, 2, 3):
        held = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=tried)
        assert held.hold_reason == "retry:unknown"
        await platform.advance((instant(held.due_time) - await platform.now()).total_seconds())
    done = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_UNKNOWN)
    assert states(done) == ["unknown"] * 4
    assert done.reason == "outcome_unknown"
    assert len(await platform.messages("zhangsan")) == 1
    assert set(await unknowns(reach)) == {sent.delivery_id}


async def test_a_refusal_after_an_unclear_try_does_not_make_it_known(platform: Sandbox, reach: Reach) -> None:
    """Somebody may have read the first one: to call it failed would invite a second."""
    await platform.fault(path=SENDS, to="zhangsan", drop="after-accept", count=1)
    await platform.fault(path=SENDS, to="zhangsan", errcode=60011)
    sent = (await message(reach, "在吗", user("zhangsan"), wait=8)).deliveries[0]
    done = await delivery(reach, sent.delivery_id)
    assert done.status == dv.DELIVERY_STATUS_UNKNOWN
    assert states(done) == ["unknown", "rejected_permanent"]


@pytest.mark.parametrize("priority", [rule_pb2.PRIORITY_URGENT, rule_pb2.PRIORITY_HIGH])
@pytest.mark.parametrize("accepted", [True, False])
async def test_an_urgent_post_of_unclear_outcome_goes_once_more_and_says_so(
    platform: Sandbox, reach: Reach, priority: int, accepted: bool
) -> None:
    await platform.fault(path=POSTS, drop="after-accept" if accepted else "before-accept", count=1)
    answer = await message(reach, "后厨断电", robot("front"), priority=priority, wait=8)
    done = await delivery(reach, answer.deliveries[0].delivery_id)
    assert done.status == dv.DELIVERY_STATUS_ACCEPTED
    assert states(done) == ["unknown", "accepted"]
    seen = [one["content"]["content"] for one in await platform.messages("rob7-0123456789abcdef")]
    assert seen == (["后厨断电"] if accepted else []) + [f"{MARK}\n后厨断电"]


async def test_an_urgent_post_is_repeated_no_more_than_once(platform: Sandbox, reach: Reach) -> None:
    await platform.fault(path=POSTS, malformed="html")
    answer = await message(reach, "后厨断电", robot("front"), priority=rule_pb2.PRIORITY_URGENT, wait=8)
    done = await delivery(reach, answer.deliveries[0].delivery_id)
    assert done.status == dv.DELIVERY_STATUS_UNKNOWN
    assert states(done) == ["unknown", "unknown"]
    assert len(await platform.messages("rob7-0123456789abcdef")) == 2
    assert set(await unknowns(reach)) == {done.delivery_id}


@pytest.mark.parametrize("priority", [rule_pb2.PRIORITY_NORMAL, rule_pb2.PRIORITY_LOW])
async def test_an_ordinary_post_of_unclear_outcome_is_never_repeated_and_stays_visible(
    platform: Sandbox, reach: Reach, priority: int
) -> None:
    for name, (fault, word) in UNCLEAR.items():
        await platform.fault(path=POSTS, body=name, **fault)
        answer = await message(reach, f"日报 {name}", robot("front"), priority=priority, wait=8)
        done = await delivery(reach, answer.deliveries[0].delivery_id)
        assert done.status == dv.DELIVERY_STATUS_UNKNOWN, name
        assert states(done) == ["unknown"]
        shown = (await unknowns(reach))[done.delivery_id]
        assert word in shown.detail.lower()
        assert (shown.channel, shown.store_id, shown.event_id) == ("robot:front", STORE, done.event_id)
        told = await reach.explain(done.event_id)
        assert told.steps[-1].code == "unknown"
    assert len(await platform.requests(POSTS)) == len(UNCLEAR)
    assert len(await unknowns(reach)) == len(UNCLEAR)


@pytest.mark.parametrize(
    ("resolution", "ends"),
    [
        (ops.RESOLUTION_SENT, dv.DELIVERY_STATUS_ACCEPTED),
        (ops.RESOLUTION_NOT_SENT, dv.DELIVERY_STATUS_FAILED),
        (ops.RESOLUTION_RESEND, dv.DELIVERY_STATUS_ACCEPTED),
    ],
)
async def test_an_unknown_post_is_resolved_by_a_person_once(
    platform: Sandbox, reach: Reach, resolution: int, ends: int
) -> None:
    await platform.fault(path=POSTS, drop="before-accept", count=1)
    answer = await message(reach, "日报", robot("front"), wait=8)
    delivery_id = answer.deliveries[0].delivery_id
    await reach.ops.ResolveUnknown(
        ops.ResolveUnknownRequest(id=delivery_id, resolution=resolution, comment="问过前厅")
    )
    done = await standing(reach, delivery_id, ends)
    assert await unknowns(reach) == {}
    resent = resolution == ops.RESOLUTION_RESEND
    seen = [one["content"]["content"] for one in await platform.messages("rob7-0123456789abcdef")]
    assert seen == ([f"{MARK}\n日报"] if resent else [])
    assert len(done.attempts) == 1 + resent
    _, error = await refused(
        reach.ops.ResolveUnknown(ops.ResolveUnknownRequest(id=delivery_id, resolution=resolution))
    )
    assert error.reason == "STATE_INVALID"


async def test_a_repeat_that_would_come_too_late_to_be_recognised_is_not_made(
    platform: Sandbox, tmp_path: Path
) -> None:
    """The platform forgets the first after half an hour; whoever was down for longer must not send it again."""
    await platform.freeze()
    async with embedded(platform.url, tmp_path, clock="sandbox") as reach:
        await platform.fault(path=SENDS, to="zhangsan", drop="after-accept", count=1)
        sent = (await message(reach, "在吗", user("zhangsan"))).deliveries[0]
        await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=1)
    await platform.advance(2000)
    async with embedded(platform.url, tmp_path, clock="sandbox") as reach:
        done = await standing(
            reach, sent.delivery_id, dv.DELIVERY_STATUS_UNKNOWN, dv.DELIVERY_STATUS_ACCEPTED
        )
        assert done.status == dv.DELIVERY_STATUS_UNKNOWN
        assert states(done) == ["unknown"]
    assert len(await platform.messages("zhangsan")) == 1


async def test_a_repeat_is_never_cut_down_to_those_whose_rate_allows_it(
    platform: Sandbox, tmp_path: Path
) -> None:
    """With one receiver less it would be another message, and the others would read it twice."""
    await platform.freeze()
    async with embedded(platform.url, tmp_path, clock="sandbox", limit_member_per_minute="2") as reach:
        await message(reach, "早", user("lisi"), wait=8)
        await platform.fault(path=SENDS, to="zhangsan", drop="after-accept", count=1)
        sent = (await message(reach, "开会", user("zhangsan"), user("lisi"))).deliveries[0]
        held = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=1)
        for _ in range(20):
            await platform.advance(
                max((instant(held.due_time) - await platform.now()).total_seconds(), 0.001)
            )
            held = await standing(
                reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, dv.DELIVERY_STATUS_ACCEPTED
            )
            if held.status == dv.DELIVERY_STATUS_ACCEPTED:
                break
            await asyncio.sleep(0)
        assert held.status == dv.DELIVERY_STATUS_ACCEPTED
        assert len(await deliveries(reach, sent.event_id)) == 1
    first, second = await bodies(platform, SENDS, "lisi|zhangsan")
    assert first == second
    assert [one["content"]["content"].splitlines()[0] for one in await platform.messages("zhangsan")] == [
        "开会"
    ]


async def test_a_report_page_of_unclear_outcome_holds_the_pages_behind_it_in_order(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.fault(path=SENDS, to="zhangsan", drop="after-accept", count=1, skip=1)
    body = "\n\n".join(f"第 {number} 段 " + "文" * 600 for number in range(1, 5))
    request = pb.SendReportRequest(store_id=STORE, targets=[user("zhangsan")], body=body, wait={"seconds": 8})
    answer = await reach.notifier.SendReport(request)
    assert {one.status for one in answer.deliveries} == {dv.DELIVERY_STATUS_ACCEPTED}
    arrived = await platform.messages("zhangsan")
    assert len(arrived) == answer.page_count
    numbers = [one["content"]["content"].index("段") and one["number"] for one in arrived]
    assert numbers == sorted(numbers)
