"""Why something went out, or did not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import explain_pb2

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.store.campaign_tables import owner_task
from shared.errors import NotFound
from tests.campaign.approval.house import DAY, HOUR
from tests.campaign.reporting.desk import Desk


def codes(story: explain_pb2.Explanation) -> list[str]:
    """What happened, in stable words."""
    return [one.code for one in story.steps]


def told(story: explain_pb2.Explanation, code: str) -> str:
    """The last sentence of one kind, in both languages."""
    [*_, one] = [one for one in story.steps if one.code == code]
    assert one.text_zh != one.text_en
    return f"{one.text_en} | {one.text_zh}"


async def test_a_campaign_tells_its_life_and_what_comes_next(desk: Desk) -> None:
    desk.has({"li": 2}, left_out={"wr-z": "silent"})
    campaign_id = await desk.write()
    [draft] = await desk.explained(campaign_id)
    assert (draft.verdict, codes(draft), "SubmitCampaign" in draft.next_en) == ("draft", ["written"], True)
    desk.clock.advance(HOUR)
    seen = await desk.submit(campaign_id)
    [waits] = await desk.explained(campaign_id)
    assert "ApproveCampaign" in waits.next_zh
    assert "2 groups frozen, 1 left out" in told(waits, "frozen")
    desk.clock.advance(HOUR)
    desk.log_in("ben")
    await desk.approve(campaign_id, seen)
    desk.clock.advance(HOUR)
    await desk.run(campaign_id, live=False)
    desk.clock.advance(HOUR)
    run_id = (await desk.run(campaign_id)).run_id
    [running] = await desk.explained(run_id)
    assert running.campaign_id == campaign_id
    assert codes(running) == ["written", "moved", "frozen", "approved", "moved", "dry_run", "moved", "run"]
    assert "ben approved it, until 2026-03-05 14:00:00 Asia/Shanghai (好)" in told(running, "approved")
    assert "2 planned" in told(running, "run")
    times = [one.time.ToDatetime() for one in running.steps]
    assert times == sorted(times)


async def test_a_paused_campaign_says_why_and_what_lets_it_go_on(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    await desk.becomes(campaign_id, Status.PAUSED, reason="brake")
    [found] = await desk.explained(campaign_id)
    assert found.verdict == "paused"
    assert "too many of its last tasks went wrong" in found.next_en
    assert "自动刹车" in found.next_zh
    assert "it is paused: too many of its last tasks went wrong" in told(found, "moved")


async def test_an_approval_that_does_not_hold_any_more_is_what_is_in_the_way(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.approved()
    desk.clock.advance(4 * DAY)
    [old] = await desk.explained(campaign_id)
    assert (
        old.next_en == "it may not be sent now (its approval has expired): edit it and have it approved anew"
    )
    assert (
        (await desk.explained("wr-li-00"))[0].next_zh
        == old.next_zh
        == "现在不能发送（审批已过期）：修改并重新审批"
    )
    cautious = Desk(desk.database, desk.clock, desk.key, dry_run=True)
    cautious.has({"li": 1})
    [kept] = await cautious.explained(await cautious.approved())
    assert "WECOM_CUSTOMER_DRY_RUN=false" in kept.next_en
    for name in ("ann", "ben"):
        desk.hire(name)
    begun = await desk.running()
    await desk.becomes(begun, Status.PAUSED, reason="by_hand")
    assert "resume it" in (await desk.explained(begun))[0].next_en
    desk.tokens.down = True
    assert "try again later" in (await desk.explained(begun))[0].next_en
    desk.tokens.down = False
    desk.clock.advance(4 * DAY)
    assert "cancel it and top up the rest" in (await desk.explained(begun))[0].next_en


async def test_a_running_campaign_says_what_most_of_its_tasks_wait_for(desk: Desk) -> None:
    desk.has({"li": 1, "wu": 1, "xu": 1})
    campaign_id = await desk.running()
    waits = owner_task.c.owner.in_(["li", "wu"])
    held = {"status": "deferred", "hold_reason": "send_window"}
    await desk.execute(sa.update(owner_task).where(waits).values(held))
    await desk.execute(sa.update(owner_task).where(~waits).values({**held, "hold_reason": "pace"}))
    [found] = await desk.explained(campaign_id)
    assert found.next_en == "of its tasks, 2: it waits for the hours in which owners may be asked"


async def test_a_finished_campaign_points_to_the_top_up_that_it_needs(desk: Desk) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.finished({"wr-li-00": TargetStatus.OWNER_NEVER_CONFIRMED})
    [found] = await desk.explained(campaign_id)
    assert "TopUpCampaign" in found.next_en
    assert "1 sent, 1 owner_never_confirmed" in told(found, "run")
    child = (await desk.top_up(campaign_id)).campaign.id
    for subject in (campaign_id, "wr-li-00"):
        [found] = await desk.explained(subject)
        assert found.next_en == f"its top-up {child} asks once more for those that it did not reach"
    await desk.becomes(child, Status.CANCELLED)
    assert "TopUpCampaign" in (await desk.explained("wr-li-00"))[0].next_en
    other = await desk.write()
    await desk.becomes(other, Status.CANCELLED)
    [dropped] = await desk.explained(other)
    assert (dropped.verdict, dropped.next_en, dropped.next_zh) == ("cancelled", "", "")


async def test_a_group_that_was_sent_tells_from_the_first_word_to_the_last(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    task_id = await desk.asked("li")
    desk.clock.advance(HOUR)
    await desk.reminded(task_id, 1, "given", by="ann")
    desk.clock.advance(HOUR)
    await desk.follows(task_id, desk.clock.now())
    await desk.says("wr-li-00", TargetStatus.SENT)
    [found] = await desk.explained("wr-li-00")
    assert (found.campaign_id, found.campaign_name, found.chat_id, found.task_id, found.verdict) == (
        campaign_id, "春日", "wr-li-00", task_id, "sent",
    )  # fmt: skip
    assert codes(found)[-6:] == ["planned", "attempt", "asked", "reminded", "confirmed", "sent"]
    assert "until 2026-03-05 12:00:00 Asia/Shanghai" in told(found, "asked")
    assert "a reminder for li (ann): given" in told(found, "reminded")
    assert (found.next_en, found.next_zh) == ("", "")


async def test_a_group_that_waits_for_its_owner_says_until_when(desk: Desk) -> None:
    desk.has({"li": 1})
    await desk.running()
    await desk.asked("li")
    [found] = await desk.explained("wr-li-00")
    assert found.verdict == "awaiting_owner"
    assert "li has to confirm it in WeCom until 2026-03-05 12:00:00 Asia/Shanghai" in found.next_en


async def test_a_group_that_was_left_out_names_the_fact(desk: Desk) -> None:
    desk.has({"li": 1}, left_out={"wr-z": "opted_out"})
    campaign_id = await desk.running()
    [found] = await desk.explained("wr-z")
    assert (found.campaign_id, found.verdict) == (campaign_id, "excluded")
    assert "the group is labelled opted_out (because opted_out)" in told(found, "excluded")
    draft = await desk.write()
    await desk.run(draft, live=False)
    [of_dry_run] = await desk.explained("wr-z", campaign_id=draft)
    assert (of_dry_run.campaign_id, of_dry_run.verdict) == (draft, "excluded")


async def test_a_group_that_was_refused_says_by_what(desk: Desk) -> None:
    desk.has({"li": 1})
    await desk.running()
    more = {"reason": "platform_refused", "errcode": 40058, "error": "bad chat"}
    await desk.says("wr-li-00", TargetStatus.REFUSED, **more)
    [found] = await desk.explained("wr-li-00")
    assert found.verdict == "refused"
    assert "the platform refused it (bad chat) errcode 40058" in told(found, "refused")


async def test_a_group_of_a_campaign_that_has_not_run_says_what_is_missing(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.approved()
    [found] = await desk.explained("wr-li-00")
    assert (found.campaign_id, found.verdict) == (campaign_id, "not_run")
    assert "RunCampaign" in found.next_en
    assert sorted(codes(found)) == ["approved", "moved", "moved", "written"]


async def test_of_the_campaigns_of_a_group_the_latest_comes_first_and_one_can_be_asked_for(
    desk: Desk,
) -> None:
    desk.has({"li": 1})
    made = []
    for _ in range(12):
        made.append(await desk.running())
        await desk.execute(sa.update(owner_task).where(owner_task.c.owner == "li").values(owner="past"))
        desk.clock.advance(HOUR)
        for name in ("ann", "ben"):
            desk.hire(name)
    found = await desk.explained("wr-li-00")
    assert [one.campaign_id for one in found] == made[:1:-1]
    [one] = await desk.explained("wr-li-00", campaign_id=made[0])
    assert one.campaign_id == made[0]


async def test_a_task_is_known_by_our_id_and_by_the_platform_s(desk: Desk) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.running()
    task_id = await desk.asked("li")
    [ours], [theirs] = await desk.explained(task_id), await desk.explained(f"msg-{task_id}")
    assert ours == theirs
    assert (ours.campaign_id, ours.task_id, ours.verdict) == (campaign_id, task_id, "created")
    assert "its groups: 2 awaiting_owner" in told(ours, "groups")
    assert "RemindOwners" in ours.next_en


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"status": "deferred", "hold_reason": "send_window"}, "it goes on by itself at 2026-03-03 12:00:00"),
        ({"status": "deferred", "hold_reason": "paused"}, "(ResumeCampaign): by hand"),
        ({"status": "unknown", "reason": "several_found"}, "ResolveUnknown"),
        ({"status": "refused", "reason": "owner_unknown"}, ""),
        ({"status": "pending"}, "it is made next"),
    ],
)
async def test_a_task_that_was_not_made_says_what_comes_next(
    desk: Desk, values: dict[str, object], said: str
) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    task = await desk.task_of("li")
    await desk.execute(sa.update(owner_task).values(due_at=desk.clock.now() + DAY, **values))
    if values.get("hold_reason") == "paused":
        await desk.becomes(campaign_id, Status.PAUSED, reason="by_hand")
    [found] = await desk.explained(task.id)
    assert found.verdict == values["status"]
    assert said in found.next_en
    assert bool(found.next_en) == bool(said) == bool(found.next_zh)


async def test_what_nobody_knows_is_not_found(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    for subject, only in (("other", ""), ("wr-other", ""), ("wr-li-00", "other")):
        with pytest.raises(NotFound):
            await desk.explained(subject, campaign_id=only)
    desk.hire("eve", stores=frozenset({"s2"}))
    [task] = await desk.rows(owner_task)
    for subject in (campaign_id, task.id, task.run_id, "wr-li-00"):
        with pytest.raises(NotFound):
            await desk.explained(subject, by="eve")
