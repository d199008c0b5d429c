"""What each answer of the platform does to a delivery: refusals that pass, refusals that stay, people who are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from reach.notifier.v1 import delivery_pb2 as dv

from sandbox.profile import Profile
from sandbox.server import start as start_sandbox
from tests.e2e.harness import Reach, Sandbox, embedded, eventually, robot, sandbox, user
from tests.e2e.replicas import add_robot, delivery, instant, message, reasons, standing, states
from tests.support.home import free_port

SENDS, POSTS = "/cgi-bin/message/send", "/cgi-bin/webhook/send"
WAITS = (1, 2, 5)
JITTER = 0.2
"""The most that chance adds to a wait, as a part of it."""


@pytest.fixture
async def platform() -> AsyncIterator[Sandbox]:
    async with sandbox() as made:
        yield made


@pytest.fixture
async def reach(platform: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """One process on SQLite that follows the sandbox's clock."""
    async with embedded(platform.url, tmp_path, clock="sandbox") as made:
        yield made


async def test_a_busy_platform_is_tried_again_after_1_2_and_5_seconds_and_then_given_up(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.freeze()
    await platform.fault(path=SENDS, to="zhangsan", errcode=-1)
    sent = (await message(reach, "在吗", user("zhangsan"))).deliveries[0]
    for tried, wait in enumerate(WAITS, start=1):
        held = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=tried)
        assert len(held.attempts) == tried
        assert held.hold_reason == "retry:busy"
        paused = instant(held.due_time) - instant(held.attempts[-1].finish_time)
        assert timedelta(seconds=wait) <= paused <= timedelta(seconds=wait * (1 + JITTER))
        await platform.advance((instant(held.due_time) - await platform.now()).total_seconds())
    done = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_FAILED)
    assert done.reason == "retries_exhausted:-1"
    assert states(done) == ["rejected_retryable"] * 4
    assert len(await platform.requests(SENDS)) == 4
    assert reasons(done)["zhangsan"] == ("failed", "retries_exhausted:-1")


async def test_a_platform_that_was_busy_once_gets_the_message_a_second_later(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.fault(path=SENDS, to="zhangsan", errcode=-1, count=1)
    sent = (await message(reach, "在吗", user("zhangsan"), wait=8)).deliveries[0]
    done = await delivery(reach, sent.delivery_id)
    assert done.status == dv.DELIVERY_STATUS_ACCEPTED
    first, second = done.attempts
    assert instant(second.start_time) - instant(first.finish_time) >= timedelta(seconds=1)
    assert len(await platform.messages("zhangsan")) == 1


async def test_a_refused_connection_is_tried_again_after_1_2_and_5_seconds_by_the_clock_on_the_wall(
    tmp_path: Path,
) -> None:
    """Nobody listens where the platform should be; a robot's post and an app's message meet the same."""
    address = f"127.0.0.1:{free_port()}"
    async with embedded(f"http://{address}", tmp_path) as reach:
        await add_robot(reach, "front", "rob4-0123456789abcdef")
        sent = [
            (await message(reach, "在吗", target)).deliveries[0]
            for target in (user("zhangsan"), robot("front"))
        ]
        done = await asyncio.gather(
            *(standing(reach, one.delivery_id, dv.DELIVERY_STATUS_FAILED) for one in sent)
        )
    for one in done:
        assert one.reason == "retries_exhausted"
        assert states(one) == ["not_sent"] * 4
        assert all("refused" in attempt.detail for attempt in one.attempts)
        for (before, after), wait in zip(pairwise(one.attempts), WAITS, strict=True):
            paused = instant(after.start_time) - instant(before.finish_time)
            # What chance adds, and what a busy machine takes to get round to it.
            assert timedelta(seconds=wait) <= paused <= timedelta(seconds=wait * (1 + JITTER) + 1.5)


async def test_a_platform_that_comes_back_gets_what_could_not_be_sent(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with embedded(f"http://{address}", tmp_path) as reach:
        sent = (await message(reach, "在吗", user("zhangsan"))).deliveries[0]
        await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED, attempts=1)
        running = await start_sandbox(address, Profile())
        try:
            done = await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
            assert len(list(running.world.journal.find("zhangsan", 0, None, "no"))) == 1
        finally:
            await running.stop()
    assert states(done)[-1] == "accepted"
    assert set(states(done)[:-1]) == {"not_sent"}


async def test_people_who_do_not_exist_fail_and_the_others_are_accepted(
    platform: Sandbox, reach: Reach
) -> None:
    people = [user(name) for name in ("zhangsan", "Nobody1", "unlicensed1", "lisi")]
    sent = (await message(reach, "开会", *people, wait=8)).deliveries
    assert len(sent) == 1
    done = await delivery(reach, sent[0].delivery_id)
    assert done.status == dv.DELIVERY_STATUS_ACCEPTED
    assert states(done) == ["accepted_partial"]
    assert reasons(done) == {
        "zhangsan": ("accepted", ""),
        "lisi": ("accepted", ""),
        "Nobody1": ("failed", "invalid_user"),
        "unlicensed1": ("failed", "unlicensed_user"),
    }
    assert {one["to"] for one in await platform.messages()} == {"zhangsan", "lisi"}
    told = await reach.explain(done.event_id)
    failed = {step.facts["reason"] for step in told.steps if step.code == "recipient_failed"}
    assert failed == {"invalid_user", "unlicensed_user"}


async def test_a_message_that_reaches_nobody_is_tried_once_and_names_everybody(
    platform: Sandbox, reach: Reach
) -> None:
    sent = (await message(reach, "开会", user("nobody1"), user("nobody2"), wait=8)).deliveries[0]
    done = await delivery(reach, sent.delivery_id)
    assert done.status == dv.DELIVERY_STATUS_FAILED
    assert done.reason == "perm_target:81013"
    assert states(done) == ["rejected_permanent"]
    assert reasons(done) == dict.fromkeys(("nobody1", "nobody2"), ("failed", "invalid_user"))
    assert len(await platform.requests(SENDS)) == 1


REFUSALS = [
    (40001, "perm_config"),
    (40003, "perm_target"),
    (40008, "perm_input"),
    (40056, "perm_config"),
    (40058, "perm_input"),
    (44004, "perm_input"),
    (45002, "perm_input"),
    (48002, "perm_config"),
    (60011, "perm_target"),
    (60020, "perm_config"),
    (60111, "perm_target"),
    (81013, "perm_target"),
    (82001, "perm_input"),
    (301002, "perm_config"),
    (95018, "state"),
]


async def test_a_refusal_for_good_is_tried_once_and_says_what_kind_it_is(
    platform: Sandbox, reach: Reach
) -> None:
    for errcode, _ in REFUSALS:
        await platform.fault(path=SENDS, to=f"u{errcode}", errcode=errcode)
    await platform.fault(path=SENDS, to="u777777", errcode=777777)
    sent = {
        errcode: (await message(reach, "你好", user(f"u{errcode}"))).deliveries[0].delivery_id
        for errcode, _ in (*REFUSALS, (777777, ""))
    }
    for errcode, kind in REFUSALS:
        done = await standing(reach, sent[errcode], dv.DELIVERY_STATUS_FAILED)
        assert (done.reason, len(done.attempts)) == (f"{kind}:{errcode}", 1)
        assert done.attempts[0].errcode == errcode
        assert done.attempts[0].detail
    strange = await standing(reach, sent[777777], dv.DELIVERY_STATUS_FAILED)
    assert len(strange.attempts) == 1, "a code nobody has heard of is no reason to go on"
    assert strange.reason.endswith(":777777")
    assert len(await platform.requests(SENDS)) == len(REFUSALS) + 1


@pytest.mark.parametrize(("key", "errcode"), [("wrong-key-000000", 93000), ("disabled-key-000", 93004)])
async def test_a_robot_that_was_removed_or_disabled_fails_with_a_visible_reason(
    platform: Sandbox, reach: Reach, key: str, errcode: int
) -> None:
    await add_robot(reach, "gone", key)
    sent = (await message(reach, "在吗", robot("gone"), wait=8)).deliveries[0]
    done = await delivery(reach, sent.delivery_id)
    assert done.status == dv.DELIVERY_STATUS_FAILED
    assert done.reason == f"perm_config:{errcode}"
    assert len(await platform.requests(POSTS)) == 1
    told = await reach.explain(done.event_id)
    assert str(errcode) in next(step.text_zh for step in told.steps if step.code == "attempt")


@pytest.mark.parametrize("status", [302, 400, 403, 404])
async def test_an_answer_that_says_the_address_is_wrong_is_not_tried_again(
    platform: Sandbox, reach: Reach, status: int
) -> None:
    await platform.fault(path=SENDS, http_status=status)
    sent = (await message(reach, "在吗", user("zhangsan"), wait=8)).deliveries[0]
    done = await delivery(reach, sent.delivery_id)
    assert done.status == dv.DELIVERY_STATUS_FAILED
    assert states(done) == ["rejected_permanent"]
    assert done.attempts[0].http_status == status
    assert len(await platform.requests(SENDS)) == 1


async def test_a_wrong_secret_fails_at_once_and_is_not_shown_to_the_platform_again(
    platform: Sandbox, tmp_path: Path
) -> None:
    """Shown again and again, it gets the source address banned for an hour."""
    async with embedded(platform.url, tmp_path, clock="sandbox", WECOM_SECRET="wrong-secret-0123") as reach:
        for name in ("zhangsan", "lisi", "wangwu"):
            sent = (await message(reach, "在吗", user(name), wait=8)).deliveries[0]
            done = await delivery(reach, sent.delivery_id)
            assert done.status == dv.DELIVERY_STATUS_FAILED
            assert done.reason == "perm_config:40001"
            assert states(done) == ["not_sent"]
            assert "wrong-secret" not in done.attempts[0].detail
    assert len(await platform.requests("/cgi-bin/gettoken")) == 1
    assert await platform.requests(SENDS) == []


async def test_a_delivery_that_waits_for_a_further_try_says_for_what_and_until_when(
    platform: Sandbox, reach: Reach
) -> None:
    await platform.freeze()
    await platform.fault(path=SENDS, to="zhangsan", errcode=-1)
    sent = (await message(reach, "在吗", user("zhangsan"))).deliveries[0]
    await standing(reach, sent.delivery_id, dv.DELIVERY_STATUS_DEFERRED)

    async def told() -> object:
        steps = (await reach.explain(sent.event_id)).steps
        return next((step for step in steps if step.code == "deferred" and step.facts["until"]), None)

    step = await eventually(told)
    assert step.facts["hold_reason"] == "retry:busy"  # type: ignore[attr-defined]
