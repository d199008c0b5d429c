"""From an admitted push to its end, against a platform that counts as the real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.content import Content
from services.kf_session.domain.push import Item, Purpose
from services.kf_session.domain.rendering import Rendered
from services.kf_session.pipeline.deciding import Job
from services.kf_session.store import outgoing
from services.kf_session.store.tables import push_attempt, push_item, session
from shared.clock import ManualClock
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import KFID, LOST, NOT_SENT, Platform, Replica, refused


async def test_five_go_and_the_sixth_is_refused_without_a_call(replica: Replica, platform: Platform) -> None:
    await replica.writes("ann")
    for number in range(6):
        await replica.admit("ann", f"m{number}")
    await replica.until_idle()
    assert len(platform.calls) == 5
    assert [(await replica.stands(f"m{n}"))[0] for n in range(6)] == ["accepted"] * 5 + ["suppressed"]
    assert await replica.stands("m5") == ("suppressed", "KF_WINDOW_FULL")
    await replica.writes("ann")
    await replica.admit("ann", "m6")
    await replica.until_idle()
    assert await replica.stands("m6") == ("accepted", "")
    assert not platform.refusals


async def test_after_48_hours_nothing_goes_and_the_reason_names_the_windows_end(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    clock.advance(timedelta(hours=48))
    push_id = await replica.admit("ann", "late")
    await replica.until_idle()
    assert await replica.stands("late") == ("suppressed", "KF_WINDOW_CLOSED")
    assert await replica.notes(push_id) == [("window", "drop", "KF_WINDOW_CLOSED")]
    assert not platform.calls


async def test_what_never_left_gives_its_credit_back_and_goes_later(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    answers = [NOT_SENT, None]

    async def script(job: Job) -> Sent | None:
        return answers.pop(0)

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "m")
    await replica.turn()
    assert (await replica.stands("m"), await replica.credits("ann")) == (("deferred", "retry:not_sent"), 0)
    clock.advance(timedelta(seconds=2))
    await replica.turn()
    assert (await replica.stands("m"), await replica.credits("ann")) == (("accepted", ""), 1)


async def test_a_lost_answer_keeps_its_credit_and_is_repeated_with_the_same_msgid(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    platform.drop = lambda job: len(platform.calls) == 1
    await replica.writes("ann")
    push_id = await replica.admit("ann", "m")
    await replica.turn()
    assert (await replica.stands("m"), await replica.credits("ann")) == (("deferred", "retry:unknown"), 1)
    clock.advance(timedelta(seconds=2))
    await replica.turn()
    assert await replica.stands("m") == ("accepted", "")
    assert len({job.push.msgid for job in platform.calls}) == 1
    assert (len(platform.accepted), await replica.credits("ann")) == (1, 1)
    assert await replica.attempts(push_id) == ["unknown", "rejected_permanent"]


async def test_what_nobody_ever_learns_of_ends_as_unknown_with_its_credit_spent(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    async def script(job: Job) -> Sent | None:
        return LOST

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "m")
    for _ in range(4):
        await replica.turn()
        clock.advance(timedelta(seconds=10))
    assert await replica.stands("m") == ("unknown", "outcome_unknown")
    assert (len(platform.calls), await replica.credits("ann")) == (4, 1)


async def test_the_platforms_count_corrects_ours_without_another_call(
    replica: Replica, platform: Platform
) -> None:
    await replica.writes("ann")
    platform.counted["ann"] = 5
    await replica.admit("ann", "one")
    await replica.admit("ann", "two")
    await replica.turn()
    await replica.until_idle()
    assert len(platform.calls) <= 2
    assert await replica.stands("one") == ("suppressed", "KF_WINDOW_FULL")
    assert await replica.credits("ann") == 5
    before = len(platform.calls)
    await replica.admit("ann", "three")
    await replica.until_idle()
    assert (await replica.stands("three"))[1] == "KF_WINDOW_FULL"
    assert len(platform.calls) == before
    replica.clock.advance(timedelta(minutes=2))  # type: ignore[attr-defined]
    await replica.writes("ann")
    await replica.admit("ann", "four")
    await replica.until_idle()
    assert await replica.stands("four") == ("accepted", "")


async def test_a_state_we_did_not_know_of_is_read_and_holds_the_push(
    replica: Replica, platform: Platform
) -> None:
    await replica.writes("ann")
    platform.states["ann"] = 3
    await replica.admit("ann", "m")
    await replica.turn()
    await replica.until_idle()
    assert await replica.stands("m") == ("deferred", "session_human")
    assert (len(platform.calls), await replica.credits("ann")) == (1, 0)


async def test_95002_closes_the_window_as_we_see_it(replica: Replica, platform: Platform) -> None:
    async def script(job: Job) -> Sent | None:
        return refused(95002)

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "m")
    await replica.turn()
    await replica.until_idle()
    assert await replica.stands("m") == ("suppressed", "KF_WINDOW_CLOSED")
    assert len(platform.calls) == 1


async def test_with_a_servicer_everything_waits_and_goes_when_the_customer_writes_after_the_end(
    replica: Replica, platform: Platform
) -> None:
    await replica.writes("ann")
    await replica.moves("ann", 3)
    await replica.admit("ann", "m")
    await replica.admit("ann", "r", Purpose.REPLY)
    await replica.until_idle()
    assert {await replica.stands("m"), await replica.stands("r")} == {("deferred", "session_human")}
    await replica.moves("ann", 4)
    await replica.until_idle()
    assert await replica.stands("m") == ("deferred", "session_ended")
    await replica.writes("ann")
    await replica.until_idle()
    assert await replica.stands("m") == ("accepted", "")


async def test_what_waited_for_a_servicer_is_dropped_where_the_customer_wants_that(
    replica: Replica, platform: Platform
) -> None:
    await replica.prefers("ann", after_human="drop")
    await replica.writes("ann")
    await replica.moves("ann", 3)
    await replica.admit("ann", "m")
    await replica.until_idle()
    await replica.moves("ann", 4)
    await replica.until_idle()
    assert await replica.stands("m") == ("suppressed", "session_ended")


async def test_a_list_is_credited_to_the_template_that_said_it(replica: Replica, platform: Platform) -> None:
    async def words(conn: object, store_id: str, listed: Sequence[Item]) -> Rendered:
        said = Content.text("\n".join(one.line for one in listed)).to_json()
        return Rendered(said, "lists", 3, "e1:b")

    replica.decider._render = words
    await replica.writes("ann")
    for number in range(3):
        await replica.admit("ann", f"m{number}")
    await replica.until_idle()
    for name, score in (("a", 0.75), ("b", 0.95)):
        await replica.match("ann", name, score)
    await replica.until_idle()
    sent = (await replica.pushes())["b"]
    assert sent.content["text"]["content"] == "【b】 95%\n【a】 75%"
    assert (sent.template_id, sent.template_version, sent.variant) == ("lists", 3, "e1:b")


async def test_few_credits_carry_the_best_matches_in_one_list(replica: Replica, platform: Platform) -> None:
    await replica.writes("ann")
    for number in range(3):
        await replica.admit("ann", f"m{number}")
    await replica.until_idle()
    for name, score in (("a", 0.75), ("b", 0.95), ("c", 0.8), ("d", 0.9)):
        await replica.match("ann", name, score)
    await replica.until_idle()
    pushes = await replica.pushes()
    assert pushes["b"].status == "accepted"
    assert await replica.items(pushes["b"].id) == ["match-b", "match-d", "match-c"]
    assert {(pushes[name].status, pushes[name].reason, pushes[name].merged_into) for name in "cd"} == {
        ("suppressed", "merged", pushes["b"].id)
    }
    assert await replica.stands("a") == ("deferred", "KF_WINDOW_FULL")  # the reserve is left for an answer
    words = platform.accepted[-1].body["text"]
    assert isinstance(words, dict)
    assert all(line in words["content"] for line in ("1. 【b】", "2. 【d】", "3. 【c】"))
    await replica.admit("ann", "reply", Purpose.REPLY)
    await replica.until_idle()
    assert await replica.stands("reply") == ("accepted", "")
    await replica.writes("ann")
    await replica.until_idle()
    assert await replica.stands("a") == ("accepted", "")


async def test_a_late_failure_shows_and_a_refusal_stops_what_we_offer(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    push_id = await replica.admit("ann", "m")
    await replica.until_idle()
    msgid = (await replica.pushes())["m"].msgid
    async with replica.database.write() as conn:
        await replica.hearing.failed(conn, KFID, msgid, 10, clock.now())
        await replica.hearing.failed(conn, KFID, msgid, 10, clock.now())
    row = (await replica.pushes())["m"]
    assert (row.status, row.reason, row.fail_type) == ("failed", "customer_refused", 10)
    assert await replica.credits("ann") == 1
    assert (await replica.notes(push_id))[-1] == ("platform", "drop", "customer_refused")
    await replica.admit("ann", "next")
    await replica.until_idle()
    assert await replica.stands("next") == ("suppressed", "customer_refused")
    await replica.writes("ann")
    await replica.admit("ann", "again")
    await replica.until_idle()
    assert await replica.stands("again") == ("accepted", "")
    (row,) = await replica.rows(session)
    assert (row.blocked_at, row.state) == (None, 1)


async def test_a_failure_that_overtakes_its_answer_is_not_lost(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    async def script(job: Job) -> Sent | None:
        async with replica.database.write() as conn:
            await replica.hearing.failed(conn, KFID, job.push.msgid, 13, clock.now())
        return None

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "m")
    await replica.until_idle()
    assert await replica.stands("m") == ("failed", "security_limit")


async def test_a_one_shot_code_needs_no_credit_and_is_never_used_late_or_twice(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.code("ann", "c1", timedelta(seconds=20))
    await replica.code("ann", "c2", timedelta(seconds=20))
    first = await replica.admit("ann", "w", Purpose.WELCOME, code_id="c1")
    assert await replica.admit("ann", "w2", Purpose.WELCOME, code_id="c1") == first
    await replica.until_idle()
    assert await replica.stands("w") == ("accepted", "")
    assert platform.calls[0].body["code"] == "secret-c1"
    assert await replica.credits("ann") == 0
    await replica.admit("ann", "late", Purpose.WELCOME, code_id="c2")
    clock.advance(timedelta(seconds=20))
    await replica.until_idle()
    assert await replica.stands("late") == ("suppressed", "code_expired")
    assert len(platform.calls) == 1


async def test_what_died_in_somebodys_hands_is_unknown_and_keeps_its_credit(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    async def script(job: Job) -> Sent | None:
        platform._answer(job)
        raise asyncio.CancelledError

    platform.script = script
    await replica.writes("ann")
    push_id = await replica.admit("ann", "m")
    await replica.turn()
    assert await replica.attempts(push_id) == ["started"]
    platform.script = None
    other = Replica(replica.database, clock, platform, "b")
    clock.advance(timedelta(seconds=31))
    await other.pusher._take_over(clock.now())
    assert (await replica.stands("m"), await replica.credits("ann")) == (("deferred", "retry:unknown"), 1)
    clock.advance(timedelta(seconds=2))
    await other.turn()
    assert (await replica.stands("m"), len(platform.accepted)) == (("accepted", ""), 1)


async def test_quiet_hours_hold_until_their_end_and_the_daily_limit_until_tomorrow(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.prefers("ann", quiet_from="22:00", quiet_to="08:00", daily_limit=1)
    await replica.writes("ann")
    await replica.admit("ann", "one")
    await replica.admit("ann", "two")
    await replica.until_idle()
    assert await replica.stands("one") == ("accepted", "")
    assert await replica.stands("two") == ("deferred", "daily_limit")
    clock.advance(timedelta(hours=12))  # midnight: another day, but quiet
    await replica.until_idle()
    assert await replica.stands("two") == ("deferred", "quiet_hours")
    clock.advance(timedelta(hours=8))
    await replica.until_idle()
    assert await replica.stands("two") == ("accepted", "")


async def test_quiet_that_outlasts_the_window_keeps_for_one_list_in_the_next(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.prefers("ann", quiet_from="22:00", quiet_to="08:00")
    clock.advance(timedelta(hours=11))  # 23:00
    await replica.writes("ann")
    clock.advance(timedelta(hours=47))  # 22:00, an hour before the window closes
    await replica.match("ann", "a", 0.9)
    await replica.match("ann", "b", 0.8)
    await replica.until_idle()
    assert await replica.stands("a") == ("deferred", "quiet_digest")
    clock.advance(timedelta(hours=12))
    await replica.until_idle()
    assert (await replica.stands("a"))[0] == "deferred"
    await replica.writes("ann")
    await replica.until_idle()
    assert (await replica.stands("a"), await replica.stands("b")) == (
        ("accepted", ""),
        ("suppressed", "merged"),
    )
    assert len(platform.calls) == 1


async def test_old_pushes_leave_with_all_that_is_told_of_them_and_what_waits_stays(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    for number in range(4):
        await replica.admit("ann", f"m{number}")
    await replica.match("ann", "a", 0.9)
    await replica.until_idle()
    assert (await replica.stands("a"))[0] == "deferred"
    clock.advance(timedelta(days=1))
    await replica.writes("ann")
    await replica.admit("ann", "young")
    before = clock.now()

    async def purge(conn: AsyncConnection) -> int:
        return await outgoing.purge(conn, before, 3)

    assert [await replica.database.transact(purge) for _ in range(3)] == [3, 1, 0]
    assert set(await replica.pushes()) == {"a", "young"}
    assert not await replica.rows(push_attempt)
    assert len(await replica.rows(push_item)) == 1
