"""Owners are asked once each, when they may be, and what became of it is written."""

from __future__ import annotations

from datetime import timedelta

from services.campaign.domain.campaign import Attachment, AttachmentKind, Canary, Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store.campaign_tables import campaign_run, owner_task, task_attempt
from tests.campaign.sending.sending_support import ADD, Answer, Bench, Replica


async def test_each_owner_is_asked_once_for_their_groups_and_the_campaign_waits_for_them(
    bench: Bench,
) -> None:
    li = await bench.owns("li", 3)
    wu = await bench.owns("wu", 2)
    await bench.start()
    await bench.until_idle()
    made = {one["sender"]: one["chat_ids"] for one in await bench.made()}
    assert made == {"li": li, "wu": wu}
    assert await bench.tasks() == {"li/0": ("created", ""), "wu/0": ("created", "")}
    assert set((await bench.targets()).values()) == {("awaiting_owner", "")}
    assert await bench.status() == ("reconciling", "")
    followed = bench.replica.follow.tasks
    assert {(one.owner, one.msgid) for one in followed} == {
        (one["sender"], one["msgid"]) for one in await bench.made()
    }
    assert all(one.confirm_by - one.made_at == timedelta(hours=72) for one in followed)
    [request, _] = await bench.world.requests(ADD)
    assert request["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"


async def test_nobody_is_asked_outside_the_window_and_it_goes_on_by_itself(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.owns("wu", 1)
    await bench.advance(timedelta(hours=6, milliseconds=-499))  # a moment before 18:00 in Shanghai
    await bench.start()
    await bench.replica.turn()
    assert await bench.made() == []
    assert set((await bench.tasks()).values()) == {("deferred", "send_window")}
    await bench.advance(timedelta(hours=16))
    await bench.replica.turn()
    assert await bench.made() == []
    await bench.advance(timedelta(seconds=1))
    await bench.replica.turn()
    assert len(await bench.made()) == 2


async def test_a_pause_holds_and_a_resume_goes_on_at_once(bench: Bench) -> None:
    for owner in ("li", "wu", "xu"):
        await bench.owns(owner, 1)
    await bench.start()
    await bench.replica.turn(1)
    await bench.move(Status.PAUSED, "operator")
    await bench.until_idle()
    assert len(await bench.made()) == 1
    assert sorted((await bench.tasks()).values()) == [("created", ""), *[("deferred", "paused")] * 2]
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 3


async def test_a_cancelled_campaign_asks_nobody_else(bench: Bench) -> None:
    for owner in ("li", "wu", "xu"):
        await bench.owns(owner, 2)
    await bench.start()
    await bench.replica.turn(1)
    await bench.move(Status.CANCELLED)
    await bench.until_idle()
    assert len(await bench.made()) == 1
    counted = [status for status, _ in (await bench.targets()).values()]
    assert (counted.count("awaiting_owner"), counted.count("cancelled")) == (2, 4)


async def test_what_the_one_check_refuses_leaves_nothing_and_pauses_the_campaign(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.start()
    bench.replica.permit.says = "approval_expired"
    await bench.replica.turn()
    assert await bench.made() == []
    assert await bench.world.requests(ADD) == []
    assert await bench.status() == ("paused", "approval_expired")
    bench.replica.permit.says = ""
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 1


async def test_groups_that_cannot_be_sent_to_any_more_are_left_out_with_the_reason(bench: Bench) -> None:
    groups = await bench.owns("li", 5)
    await bench.owns("wu", 1)
    await bench.start()
    bench.groups.said |= {groups[0]: "dismissed", groups[1]: "opted_out", groups[2]: "no_slot_today"}
    bench.groups.said["wr-wu-0000"] = "opted_out"
    bench.groups.owners[groups[3]] = "wu"  # approved with one sender, and never sent by another
    await bench.until_idle()
    found = await bench.targets()
    assert found[groups[0]] == ("group_gone", "dismissed")
    assert found[groups[1]] == ("refused", "opted_out")
    assert found[groups[2]] == ("limit_reached", "no_slot_today")
    assert found[groups[3]] == ("group_gone", "owner_changed")
    assert found[groups[4]] == ("awaiting_owner", "")
    assert found["wr-wu-0000"] == ("refused", "opted_out")
    assert [one["chat_ids"] for one in await bench.made()] == [[groups[4]]]
    assert (await bench.tasks())["wu/0"] == ("refused", "no_group_left")
    assert await bench.status() == ("reconciling", "")


async def test_groups_that_the_platform_leaves_out_are_refused(bench: Bench) -> None:
    groups = await bench.owns("li", 2)
    await bench.start()
    await bench.world.post(f"/sandbox/groups/{groups[0]}", dismiss=True)
    await bench.until_idle()
    assert await bench.targets() == {groups[0]: ("refused", "left_out"), groups[1]: ("awaiting_owner", "")}


async def test_what_was_certainly_not_made_is_tried_again_and_then_refused(bench: Bench) -> None:
    groups = await bench.owns("li", 1)
    await bench.world.fault(path=ADD, errcode=-1, count=3)
    await bench.start()
    await bench.until_idle()
    assert await bench.attempts() == ["rejected_retryable"] * 3 + ["accepted"]
    assert await bench.targets() == {groups[0]: ("awaiting_owner", "")}
    assert len(await bench.made()) == 1


async def test_retries_come_to_an_end(bench: Bench) -> None:
    groups = await bench.owns("li", 1)
    await bench.world.fault(path=ADD, errcode=-1)
    await bench.start()
    await bench.until_idle()
    assert await bench.attempts() == ["rejected_retryable"] * 4
    assert await bench.targets() == {groups[0]: ("refused", "retries_exhausted")}
    assert await bench.status() == ("reconciling", "")


async def test_a_refusal_that_is_about_one_owner_leaves_the_others_alone(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.owns("wu", 1)
    await bench.world.fault(path=ADD, to="li", errcode=84074)
    await bench.start()
    await bench.until_idle()
    assert await bench.tasks() == {
        "li/0": ("refused", "owner_without_permission"),
        "wu/0": ("created", ""),
    }
    assert await bench.status() == ("reconciling", "")


async def test_a_refusal_for_a_setting_of_the_corp_pauses_and_loses_nothing(bench: Bench) -> None:
    for owner in ("li", "wu"):
        await bench.owns(owner, 1)
    await bench.world.fault(path=ADD, errcode=48002)
    await bench.start()
    await bench.until_idle()
    assert await bench.status() == ("paused", "platform_refuses")
    assert {status for status, _ in (await bench.tasks()).values()} == {"deferred"}
    await bench.world.clear_faults()
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 2


async def test_too_often_lets_everybody_rest(bench: Bench) -> None:
    for owner in ("li", "wu", "xu"):
        await bench.owns(owner, 1)
    await bench.world.fault(path=ADD, errcode=45009, count=1)
    await bench.start()
    await bench.replica.turn(1)
    await bench.advance(timedelta(seconds=30))
    await bench.replica.turn()
    assert set((await bench.tasks()).values()) == {("deferred", "rest")}
    await bench.advance(timedelta(seconds=60))
    await bench.until_idle()
    assert len(await bench.made()) == 3


async def test_a_rest_holds_for_what_comes_up_meanwhile_and_for_other_campaigns(bench: Bench) -> None:
    for owner in ("li", "wu"):
        await bench.owns(owner, 1)
    await bench.world.fault(path=ADD, errcode=45009, count=1)
    await bench.world.fault(path=ADD, to="wu", errcode=-1, count=1)
    await bench.start()
    await bench.replica.turn(2)
    asked = len(await bench.world.requests(ADD))
    other = Replica(bench.database, bench.clock, bench.world.url, bench.groups, "b")
    try:
        await bench.start("别的")
        for _ in range(5):  # the other one's retry is due after a second, and a campaign has just begun
            await bench.advance(timedelta(seconds=10))
            await bench.replica.turn()
            await other.turn()
        assert len(await bench.world.requests(ADD)) == asked
        assert {row.retries for row in await bench.rows(owner_task)} <= {0, 1}, "a rest is no retry"
        await bench.advance(timedelta(seconds=25))
        await bench.until_idle()
    finally:
        await other.close()
    assert len(await bench.made()) == 4


async def test_a_campaign_that_is_cancelled_leaves_its_dry_run_to_end(bench: Bench) -> None:
    for owner in ("li", "wu"):
        await bench.owns(owner, 1)
    await bench.start(dry=True)
    await bench.move(Status.CANCELLED)
    await bench.until_idle()
    assert {status for status, _ in (await bench.targets()).values()} == {"simulated"}
    [run] = await bench.rows(campaign_run)
    assert run.finished_at is not None


async def test_many_refusals_pull_the_brake_and_a_person_lets_it_go_on(bench: Bench) -> None:
    for at in range(8):
        await bench.owns(f"u{at}", 1)
    await bench.world.fault(path=ADD, errcode=41064)
    bench.at_once = 1  # those that are under way when it is pulled end as they may
    await bench.start()
    await bench.until_idle()
    assert await bench.status() == ("paused", "brake")
    refused = [status for status, _ in (await bench.tasks()).values()].count("refused")
    assert refused == 5
    await bench.world.clear_faults()
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 3
    assert await bench.status() == ("reconciling", "")


async def test_the_first_owners_are_asked_alone(bench: Bench) -> None:
    for at in range(5):
        await bench.owns(f"u{at}", 1)
    await bench.start(canary=Canary(2, timedelta(minutes=30)))
    await bench.until_idle()
    assert {one["sender"] for one in await bench.made()} == {"u0", "u1"}
    await bench.advance(timedelta(minutes=28))
    await bench.until_idle()
    assert len(await bench.made()) == 2
    await bench.advance(timedelta(minutes=2))
    await bench.until_idle()
    assert len(await bench.made()) == 5


async def test_first_owners_that_are_refused_keep_the_others_from_being_asked(bench: Bench) -> None:
    for at in range(5):
        await bench.owns(f"u{at}", 1)
    await bench.world.fault(path=ADD, to="u1", errcode=41064)
    await bench.start(canary=Canary(2, timedelta(minutes=30)))
    await bench.until_idle()
    assert await bench.status() == ("paused", "canary_failed")
    await bench.advance(timedelta(hours=1))
    await bench.until_idle()
    assert len(await bench.made()) == 1
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 4


async def test_a_dry_run_goes_through_everything_and_touches_no_network(bench: Bench) -> None:
    groups = await bench.owns("li", 3)
    await bench.owns("wu", 1)
    bench.groups.said[groups[0]] = "opted_out"
    await bench.advance(timedelta(hours=8))  # the window is shut, and there is no approval
    before = len(await bench.world.requests())
    await bench.start(dry=True, content=Content("a", (Attachment(AttachmentKind.IMAGE, material="p"),)))
    await bench.until_idle()
    assert len(await bench.world.requests()) == before
    assert await bench.made() == []
    found = await bench.targets()
    assert found[groups[0]] == ("refused", "opted_out")
    assert [status for status, _ in found.values()].count("simulated") == 3
    assert set(await bench.attempts()) == {"simulated"}
    assert await bench.status() == ("draft", "")
    [run] = await bench.rows(campaign_run)
    assert run.finished_at is not None
    assert bench.replica.follow.tasks == []


async def test_files_are_renewed_when_the_platform_has_forgotten_them(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, errcode=40007, count=1)
    await bench.start(content=Content("a", (Attachment(AttachmentKind.IMAGE, material="p"),)))
    await bench.until_idle()
    assert (await bench.attempts())[0] == "rejected_permanent"
    assert bench.replica.materials.forgotten[:1] == ["media-p"]


async def test_a_file_that_cannot_be_had_now_is_waited_for_and_one_that_is_gone_is_a_refusal(
    bench: Bench,
) -> None:
    await bench.owns("li", 1)
    bench.replica.materials.fails = Answer(reason="material_pending", again=True)
    await bench.start(content=Content("a", (Attachment(AttachmentKind.IMAGE, material="p"),)))
    await bench.replica.turn()
    assert await bench.tasks() == {"li/0": ("deferred", "media")}
    bench.replica.materials.fails = Answer(reason="material_changed")
    await bench.until_idle()
    assert await bench.tasks() == {"li/0": ("refused", "material_changed")}
    assert await bench.rows(task_attempt) == []


async def test_the_same_words_go_to_one_sender_one_task_at_a_time(bench: Bench) -> None:
    await bench.owns("li", 2)
    await bench.start()
    await bench.start()
    assert await bench.replica.turn() == 1
    assert await bench.replica.turn() == 1
    assert len(await bench.made()) == 2
