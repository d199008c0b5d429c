"""What is written of groups: forward only; what nobody knows decides nothing; what is past its time goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.follow_doctor import FollowDoctor
from services.campaign.store import follows
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.follow_tables import group_receipt, task_follow, task_reminder
from services.campaign.store.follows import Found
from shared.ops.finding import CheckStatus
from tests.campaign.reconciling.room import CANCEL, HOUR, TASK, Room

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


async def test_a_group_goes_forward_only_and_what_was_sent_stays_so(room: Room) -> None:
    groups = await room.owns("li", len(TargetStatus))
    await room.asked()
    [row] = await room.rows(task_follow)
    one = follows.followed(row._mapping)
    before = dict(zip(groups, TargetStatus, strict=True))
    for after in TargetStatus:
        async with room.database.write() as conn:
            for chat_id, status in before.items():
                await conn.execute(
                    sa.update(campaign_target)
                    .where(campaign_target.c.chat_id == chat_id)
                    .values(status=status.value, raw_status=None, reason="")
                )
            told = [Found(chat_id, after, 1, sent_at=room.clock.now()) for chat_id in groups]
            changed = await follows.write(conn, one, told, room.clock.now())
            now = await follows.targets(conn, one.id)
        for chat_id, status in before.items():
            forward = not status.over or (after is TargetStatus.SENT and status is not TargetStatus.SENT)
            assert (now[chat_id], chat_id in changed) == (after if forward else status, forward)


async def test_a_number_that_nobody_knows_is_kept_and_reported_and_decides_nothing(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    real = room.site.follower._asker._api.results
    odd = {first: 7}

    async def results(*given: Any, **more: Any) -> Any:
        page = await real(*given, **more)
        told = [replace(one, status=odd.get(one.chat_id, one.status)) for one in page.results]
        return replace(page, results=tuple(told))

    room.site.follower._asker._api.results = results  # type: ignore[method-assign]
    [task] = await room.made()
    await room.confirm("li", msgid=task["msgid"], chat_ids=[first])
    await room.pass_time(2 * MINUTE, MINUTE)
    rows = {row.chat_id: row for row in await room.rows(campaign_target)}
    assert (rows[first].status, rows[first].raw_status, rows[first].reason) == (
        "awaiting_owner",
        7,
        "unknown_status",
    )
    assert "states that nobody knows" in capsys.readouterr().out
    await room.pass_time(73 * HOUR, 3 * HOUR)
    assert await room.targets() == {
        first: ("refused", "unknown_status"),
        second: ("owner_never_confirmed", ""),
    }
    assert await room.status() == ("finished", "")


async def test_a_number_that_becomes_known_later_is_taken(room: Room) -> None:
    [first] = await room.owns("li", 1)
    await room.behave("li", "at_once")
    await room.asked()
    real, odd = room.site.follower._asker._api.results, {first: 7}

    async def results(*given: Any, **more: Any) -> Any:
        page = await real(*given, **more)
        told = [replace(one, status=odd.get(one.chat_id, one.status)) for one in page.results]
        return replace(page, results=tuple(told))

    room.site.follower._asker._api.results = results  # type: ignore[method-assign]
    await room.pass_time(2 * MINUTE, MINUTE)
    odd.clear()
    await room.pass_time(HOUR)
    assert await room.targets() == {first: ("sent", "")}
    await room.check_truth()


async def test_a_task_that_the_platform_forgot_ends_at_its_deadline_and_is_not_called_sent(
    room: Room,
) -> None:
    [chat_id] = await room.owns("li", 1)
    await room.asked()
    await room.world.fault(path=TASK, errcode=41047)
    await room.pass_time(71 * HOUR, 2 * HOUR)
    assert await room.counts() == {"awaiting_owner": 1}
    await room.pass_time(3 * HOUR)
    assert await room.targets() == {chat_id: ("refused", "task_not_found")}


async def test_a_secret_that_may_not_stop_tasks_does_not_keep_a_run_open_for_ever(room: Room) -> None:
    [chat_id] = await room.owns("li", 1)
    await room.asked()
    await room.world.fault(path=CANCEL, errcode=48002)
    await room.pass_time(73 * HOUR, 3 * HOUR)
    assert await room.targets() == {chat_id: ("owner_never_confirmed", "")}


async def test_a_cancelled_campaign_that_may_not_be_stopped_is_tried_again(room: Room) -> None:
    [chat_id] = await room.owns("li", 1)
    campaign_id = await room.asked()
    await room.world.fault(path=CANCEL, errcode=48002)
    await room.cancel(campaign_id)
    await room.pass_time(HOUR)
    assert await room.targets() == {chat_id: ("awaiting_owner", "")}
    assert not await room.finished()
    await room.world.clear_faults()
    await room.pass_time(2 * HOUR)
    assert await room.targets() == {chat_id: ("cancelled", "cancelled_at_platform")}
    assert await room.finished()


async def test_doctor_names_tasks_whose_outcome_the_platform_does_not_tell(room: Room) -> None:
    await room.owns("li", 1)
    await room.asked()
    doctor = FollowDoctor(room.database, room.clock)
    [found] = await doctor.follow_ups()
    assert found.status is CheckStatus.OK
    await room.world.fault(path=TASK, errcode=48002)
    await room.pass_time(75 * HOUR, 3 * HOUR)
    [found] = await doctor.follow_ups()
    assert found.status is CheckStatus.FAILED
    assert found.found.startswith("of 1 tasks past their deadline")
    assert found.fix


async def test_what_is_past_its_time_is_deleted_in_batches(room: Room) -> None:
    for owner in ("li", "wu"):
        await room.owns(owner, 3)
        await room.behave(owner, "never" if owner == "wu" else "at_once")
    await room.asked()
    await room.pass_time(73 * HOUR, 3 * HOUR)
    [purge] = room.site.reconciling.purges
    counts: list[int] = []
    for later in (396 * DAY, 404 * DAY):
        while True:
            now = room.clock.now() + later
            counts.append(await room.database.transact(lambda conn, at=now: purge(conn, at, 2)))
            if not counts[-1]:
                break
    assert counts[0] == 0
    assert counts[1] == 2
    for table in (task_follow, task_reminder, group_receipt):
        assert await room.rows(table) == []
    assert len(await room.rows(campaign_target)) == 6


async def test_what_became_of_groups_is_counted(room: Room) -> None:
    await room.owns("li", 3)
    await room.behave("li", "at_once")
    await room.asked()
    await room.advance(MINUTE)
    await room.look()
    shown = room.site.numbers.text().decode()
    assert 'reach_campaign_targets_total{status="sent"} 3' in shown
    looks = 'reach_campaign_looks_total{api="get_groupmsg_send_result",outcome="accepted"} 1'
    assert looks in shown
    assert "reach_campaign_confirm_duration_seconds_count 1" in shown
