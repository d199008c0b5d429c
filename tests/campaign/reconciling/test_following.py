"""What became of each group is found out, and a run is over when every group has its outcome."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.campaign.store.campaign_tables import campaign_run, campaign_target
from services.campaign.store.follow_tables import group_receipt
from services.campaign.store.follows import followed
from tests.campaign.reconciling.room import CANCEL, HOUR, RESULTS, TASK, Room

MINUTE = timedelta(minutes=1)


async def test_owners_who_confirm_at_once_end_the_run_and_what_we_say_is_what_the_platform_says(
    room: Room,
) -> None:
    for owner in ("li", "wu"):
        await room.owns(owner, 3)
        await room.behave(owner, "at_once")
    await room.asked()
    assert await room.status() == ("reconciling", "")
    await room.advance(MINUTE)
    await room.look()
    assert await room.counts() == {"sent": 6}
    assert await room.status() == ("finished", "")
    assert await room.finished()
    await room.check_truth()
    assert {(row.received, row.at) for row in await room.rows(group_receipt)} == {
        (True, row.sent_at) for row in await room.rows(campaign_target)
    }
    assert {row.status for row in (await room.follow_rows()).values()} == {"confirmed"}


async def test_looks_are_ever_further_apart_until_something_is_new(room: Room) -> None:
    await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    waits: list[float] = []
    for _ in range(8):
        row = (await room.follow_rows())["li"]
        waits.append(round((row.due_at - room.clock.now()) / MINUTE, 1))
        await room.advance(row.due_at - room.clock.now())
        assert await room.site.look() == 1
    assert waits == pytest.approx([1, 2, 5, 10, 30, 60, 60, 60], abs=0.1)
    [task] = await room.made()
    await room.confirm("li", msgid=task["msgid"], chat_ids=task["chat_ids"][:1])
    row = (await room.follow_rows())["li"]
    await room.advance(row.due_at - room.clock.now())
    await room.site.look()
    assert await room.counts() == {"sent": 1, "awaiting_owner": 1}
    row = (await room.follow_rows())["li"]
    assert row.confirmed_at is not None
    assert row.due_at - room.clock.now() == MINUTE
    assert await room.status() == ("reconciling", "")


async def test_a_group_that_is_not_listed_waits_and_no_group_goes_back(room: Room) -> None:
    first, second = await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    [task] = await room.made()
    await room.confirm("li", msgid=task["msgid"], chat_ids=[first])
    await room.pass_time(2 * MINUTE, MINUTE)
    assert await room.targets() == {first: ("sent", ""), second: ("awaiting_owner", "")}
    assert not await room.finished()
    await room.confirm("li", msgid=task["msgid"], chat_ids=[second])
    await room.pass_time(2 * MINUTE, MINUTE)
    assert await room.counts() == {"sent": 2}
    assert await room.status() == ("finished", "")
    await room.check_truth()


async def test_after_the_deadline_the_rest_was_never_confirmed_and_nobody_can_send_it_any_more(
    room: Room,
) -> None:
    first, second, third = await room.owns("li", 3)
    await room.owns("wu", 2)
    await room.behave("wu", "never")
    await room.behave("li", "by_hand")
    await room.asked()
    [task] = [one for one in await room.made() if one["sender"] == "li"]
    await room.confirm("li", msgid=task["msgid"], chat_ids=[first])
    await room.world.post(f"/sandbox/groups/{third}", dismiss=True)
    room.groups.said[third] = "dismissed"
    await room.pass_time(71 * HOUR, 2 * HOUR)
    assert await room.counts() == {"sent": 1, "awaiting_owner": 4}
    await room.pass_time(HOUR + MINUTE)
    found = await room.targets()
    assert found == {
        first: ("sent", ""),
        second: ("owner_never_confirmed", ""),
        third: ("group_gone", "dismissed"),
        "wr-wu-0000": ("owner_never_confirmed", ""),
        "wr-wu-0001": ("owner_never_confirmed", ""),
    }
    assert await room.status() == ("finished", "")
    assert {one["state"] for one in await room.made()} == {"cancelled"}, (
        "a late press would double the top-up"
    )
    assert {row.status for row in (await room.follow_rows()).values()} == {"never_confirmed"}
    await room.check_truth()


async def test_what_an_owner_sends_between_the_last_look_and_the_stop_counts_where_the_platform_tells(
    room: Room,
) -> None:
    """The last look comes after the stop as well; a platform that tells no more is believed as far as it told."""
    await room.world.profile(mass_send_cancelled="answered")
    await room.owns("li", 1)
    await room.behave("li", "late", hours=72)  # presses at the very deadline
    await room.asked()
    await room.pass_time(72 * HOUR + MINUTE, 6 * HOUR)
    assert await room.counts() == {"sent": 1}
    await room.check_truth()


async def test_a_cancelled_campaign_tells_what_was_never_made_from_what_was_stopped_and_what_was_sent(
    room: Room,
) -> None:
    for owner in ("li", "wu", "xu"):
        await room.owns(owner, 2)
        await room.behave(owner, "by_hand")
    campaign_id = await room.start()
    await room.replica.turn(2)
    done, open_one = sorted(one["sender"] for one in await room.made())
    await room.confirm(done)
    await room.cancel(campaign_id)
    await room.look()
    never = ({"li", "wu", "xu"} - {done, open_one}).pop()
    found = await room.targets()
    assert {found[f"wr-{done}-{at:04d}"] for at in range(2)} == {("sent", "")}
    assert {found[f"wr-{open_one}-{at:04d}"] for at in range(2)} == {("cancelled", "cancelled_at_platform")}
    assert {found[f"wr-{never}-{at:04d}"] for at in range(2)} == {("cancelled", "campaign_cancelled")}
    assert {one["sender"]: one["state"] for one in await room.made()} == {done: "sent", open_one: "cancelled"}
    assert [call["path"] for call in await room.world.requests(CANCEL)] == [CANCEL]
    assert await room.status() == ("cancelled", "by_hand")
    assert await room.finished()
    await room.check_truth()


async def test_a_task_that_is_made_while_its_campaign_is_cancelled_is_stopped(room: Room) -> None:
    [chat_id] = await room.owns("li", 1)
    campaign_id = await room.start()
    await room.world.fault(path="/cgi-bin/externalcontact/add_msg_template", drop="after-accept", count=1)
    await room.replica.turn()  # nobody knows whether it was made
    await room.cancel(campaign_id)
    await room.until_idle()
    await room.look()
    assert [one["state"] for one in await room.made()] == ["cancelled"]
    assert await room.targets() == {chat_id: ("cancelled", "cancelled_at_platform")}
    assert await room.finished()


async def test_an_unknown_task_keeps_a_run_from_being_over(room: Room) -> None:
    await room.owns("li", 1)
    await room.owns("wu", 1)
    for owner in ("li", "wu"):
        await room.behave(owner, "at_once")
    await room.start()
    await room.world.fault(path="/cgi-bin/externalcontact/add_msg_template", drop="after-accept", count=1)
    await room.replica.turn(1)
    await room.replica.turn(1)
    await room.advance(MINUTE)
    await room.look()
    assert (await room.counts())["sent"] == 1
    assert not await room.finished()
    await room.until_idle()
    await room.advance(MINUTE)
    await room.look()
    assert await room.finished()
    await room.check_truth()


async def test_a_platform_that_is_busy_or_still_handing_out_is_asked_again(room: Room) -> None:
    await room.world.profile(mass_send_dispatch_seconds=90)
    await room.owns("li", 1)
    await room.behave("li", "at_once")
    await room.asked()
    await room.advance(MINUTE)
    await room.site.look()
    row = (await room.follow_rows())["li"]
    assert (row.status, row.errcode, row.failures) == ("deferred", 41063, 1)
    await room.advance(HOUR)
    await room.world.fault(path=TASK, errcode=-1, count=1)
    await room.world.fault(path=RESULTS, errcode=-1, count=1)
    await room.look()
    await room.pass_time(5 * MINUTE, MINUTE)
    assert await room.counts() == {"sent": 1}
    assert (await room.follow_rows())["li"].errcode is None


async def test_where_the_platform_asks_to_wait_nobody_asks_meanwhile(room: Room) -> None:
    for owner in ("li", "wu"):
        await room.owns(owner, 1)
        await room.behave(owner, "at_once")
    await room.asked()
    await room.world.fault(path=TASK, errcode=45009, count=1)
    await room.advance(MINUTE)
    await room.site.follower.once(1)
    await room.site.follower.settled()
    before = len(await room.world.requests(TASK))
    await room.advance(timedelta(seconds=50))
    await room.site.look()
    assert len(await room.world.requests(TASK)) == before
    await room.advance(timedelta(seconds=20))
    await room.look()
    assert await room.counts() == {"sent": 2}


async def test_a_token_that_is_not_good_any_more_is_renewed_and_does_not_count(room: Room) -> None:
    await room.owns("li", 1)
    await room.behave("li", "at_once")
    await room.asked()
    await room.world.fault(path=TASK, errcode=42001, count=1)
    await room.advance(MINUTE)
    await room.look()
    assert await room.counts() == {"sent": 1}


async def test_a_deadline_waits_for_an_answer_rather_than_to_guess(room: Room) -> None:
    await room.owns("li", 1)
    await room.behave("li", "by_hand")
    await room.asked()
    await room.pass_time(70 * HOUR, 6 * HOUR)
    await room.confirm("li")
    await room.world.fault(path=TASK, drop="before-accept")
    await room.pass_time(4 * HOUR)
    assert await room.counts() == {"awaiting_owner": 1}
    assert not await room.finished()
    await room.world.clear_faults()
    await room.pass_time(2 * HOUR)
    assert await room.counts() == {"sent": 1}
    assert await room.status() == ("finished", "")


async def test_a_stop_whose_answer_is_lost_is_made_good_and_nothing_sent_is_forgotten(room: Room) -> None:
    first, second = await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    [task] = await room.made()
    await room.pass_time(70 * HOUR, 6 * HOUR)
    await room.confirm("li", msgid=task["msgid"], chat_ids=[first])
    await room.world.fault(path=CANCEL, drop="after-accept", count=1)
    await room.pass_time(3 * HOUR)
    assert await room.targets() == {first: ("sent", ""), second: ("owner_never_confirmed", "")}
    await room.check_truth()


async def test_a_task_that_somebody_stopped_at_the_platform_is_over(room: Room) -> None:
    [chat_id] = await room.owns("li", 1)
    await room.asked()
    [task] = await room.made()
    one = (await room.follow_rows())["li"]
    outcome = await room.site.follower._asker.stop(followed(one._mapping), lambda: True)
    assert outcome.errcode in (0, None)
    await room.advance(MINUTE)
    await room.look()
    assert await room.targets() == {chat_id: ("cancelled", "cancelled_at_platform")}
    assert task["msgid"] == one.msgid
    assert await room.status() == ("finished", "")


async def test_what_a_task_leaves_in_a_dead_hand_is_taken_over(room: Room) -> None:
    await room.owns("li", 1)
    await room.behave("li", "at_once")
    await room.asked()
    await room.advance(MINUTE)
    claimed = await room.database.transact(lambda conn: room.site.follower._claim(conn, 8))
    assert len(claimed) == 1
    other = room.beside()
    assert await other.look() == 0
    await room.advance(timedelta(minutes=4))
    await other.follower._take_over(room.clock.now())
    await room.look(other)
    assert await room.counts() == {"sent": 1}
    # Whoever was frozen meanwhile changes nothing.
    await room.site.follower._handle(claimed[0], 0)
    assert await room.status() == ("finished", "")


async def test_two_followers_at_once_do_nothing_twice(room: Room) -> None:
    for at in range(6):
        await room.owns(f"u{at}", 2)
        await room.behave(f"u{at}", "at_once" if at % 2 else "never")
    await room.asked()
    sites = (room.beside(remind_every=HOUR), room.beside("c", remind_every=HOUR))
    for _ in range(16):
        await room.advance(HOUR / 2)
        await asyncio.gather(*(site.look() for site in sites))
    reminded = await room.reminded()
    assert all(len(times) == len(set(times)) <= 3 for times in reminded.values())
    assert {owner for owner, times in reminded.items() if times} == {"u0", "u2", "u4"}
    assert await room.counts() == {"sent": 6, "awaiting_owner": 6}
    assert len(await room.rows(group_receipt)) == 6
    await room.check_truth()


async def test_a_dry_run_is_not_followed(room: Room) -> None:
    await room.owns("li", 2)
    await room.start(dry=True)
    await room.until_idle()
    assert await room.follow_rows() == {}
    [run] = await room.rows(campaign_run)
    assert run.finished_at is not None
    assert await room.counts() == {"simulated": 2}


async def test_a_run_of_which_every_task_was_refused_is_over(room: Room) -> None:
    await room.owns("li", 1)
    room.groups.said["wr-li-0000"] = "opted_out"
    await room.start()
    await room.until_idle()
    assert await room.status() == ("finished", "")
    assert await room.finished()
