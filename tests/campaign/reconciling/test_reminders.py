"""Owners who have not confirmed are reminded: three times in 24 hours at most, whoever asks, and never at night."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from services.campaign.domain.window import is_open
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.errors import Conflict, Invalid, NotFound
from tests.campaign.reconciling.room import CANCEL, HOUR, REMIND, Room, Site, most_in_a_day
from tests.campaign.sending.sending_support import NOON, SHANGHAI, KnownGroups, default_window
from tests.e2e.harness import Sandbox

MINUTE = timedelta(minutes=1)
WINDOW = default_window(SHANGHAI)


@pytest.fixture
async def eager(database: Database, world: Sandbox):  # type: ignore[no-untyped-def]
    """A room that reminds as often as it can."""
    clock = ManualClock(NOON)
    site = Site(database, clock, world.url, KnownGroups(), remind_every=HOUR, remind_most=50)
    made = Room(site, world, clock)
    yield made
    await made.close()


async def test_owners_who_never_confirm_are_reminded_three_times_a_day_and_then_never_confirmed(
    eager: Room,
) -> None:
    room = eager
    for owner in ("li", "wu"):
        await room.owns(owner, 2)
        await room.behave(owner, "never")
    await room.asked()
    await room.pass_time(73 * HOUR)
    reminded = await room.reminded()
    for times in reminded.values():
        assert most_in_a_day(times) == 3
        assert len(times) >= 7
        assert all(is_open(WINDOW, at) for at in times)
    refused = [one for one in await room.world.requests(REMIND) if one["errcode"]]
    assert refused == [], "the platform never had to refuse one"
    assert set((await room.targets()).values()) == {("owner_never_confirmed", "")}
    assert await room.status() == ("finished", "")


async def test_reminders_by_default_are_few_and_by_day(room: Room) -> None:
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    await room.pass_time(73 * HOUR)
    zone = ZoneInfo(SHANGHAI)
    times = [at.astimezone(zone) for at in (await room.reminded())["li"]]
    assert [at.strftime("%d %H") for at in times] == ["03 10", "03 16", "04 10", "04 16", "05 10"]


async def test_who_has_confirmed_is_not_reminded(eager: Room) -> None:
    room = eager
    await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    [task] = await room.made()
    await room.confirm("li", msgid=task["msgid"], chat_ids=task["chat_ids"][:1])
    await room.pass_time(5 * HOUR)
    assert await room.reminded() == {"li": []}
    assert await room.world.requests(REMIND) == []


async def test_nobody_is_reminded_while_a_campaign_is_paused(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.owns("wu", 1)
    for owner in ("li", "wu"):
        await room.behave(owner, "never")
    campaign_id = await room.start()
    await room.replica.turn(1)
    await room.pause(campaign_id)
    await room.pass_time(5 * HOUR)
    assert await room.world.requests(REMIND) == []


async def test_by_hand_and_by_itself_together_never_exceed_three(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    campaign_id = await room.asked()
    sites = [room.site, *(room.beside(name, remind_every=HOUR, remind_most=50) for name in "bc")]
    for _ in range(52):
        await room.advance(HOUR / 2)
        asking = [room.remind(campaign_id, site=site) for site in sites]
        await asyncio.gather(*asking, *(site.look() for site in sites))
        await room.look(*sites)
    times = (await room.reminded())["li"]
    assert most_in_a_day(times) == 3
    assert [one for one in await room.world.requests(REMIND) if one["errcode"]] == []
    assert {by for by, _ in await room.ledger()} == {"op", ""} or {by for by, _ in await room.ledger()} == {
        "op"
    }


async def test_asking_by_hand_says_for_each_task_whether_and_why_not(room: Room) -> None:
    for owner in ("li", "wu", "xu"):
        await room.owns(owner, 1)
        await room.behave(owner, "by_hand")
    campaign_id = await room.asked()
    await room.confirm("wu")
    await room.advance(MINUTE)
    await room.look()
    found = {one.owner: one.reason for one in await room.remind(campaign_id, key="k1")}
    assert found == {"li": "", "wu": "confirmed", "xu": ""}
    assert {one.owner: one.reason for one in await room.remind(campaign_id, key="k1")} == found, (
        "the same call"
    )
    again = {one.owner: one.reason for one in await room.remind(campaign_id)}
    assert again == {"li": "asked_already", "wu": "confirmed", "xu": "asked_already"}
    await room.look()
    assert {owner: len(times) for owner, times in (await room.reminded()).items()} == {
        "li": 1,
        "wu": 0,
        "xu": 1,
    }
    for _ in range(2):
        await room.remind(campaign_id, "li")
        await room.look()
    [refused] = await room.remind(campaign_id, "li")
    assert refused.reason == "reminded_enough"
    assert refused.free_at is not None
    first = (await room.reminded())["li"][0]
    assert timedelta(0) <= refused.free_at - (first + 24 * HOUR) <= 2 * MINUTE
    await room.advance(6 * HOUR)
    [shut] = await room.remind(campaign_id, "xu")
    assert (shut.reason, shut.free_at) == ("window_shut", NOON + timedelta(hours=22))
    with pytest.raises(Invalid, match="owners"):
        await room.remind(campaign_id, "li", "nobody")
    with pytest.raises(NotFound):
        await room.remind("no-such")
    await room.cancel(campaign_id)
    with pytest.raises(Conflict, match="does not wait for owners"):
        await room.remind(campaign_id)


async def test_a_reminder_that_was_asked_for_is_not_given_once_the_window_is_shut(room: Room) -> None:
    await room.owns("li", 1)
    await room.behave("li", "by_hand")
    campaign_id = await room.asked()
    [asked] = await room.remind(campaign_id)
    assert asked.reason == ""
    await room.advance(7 * HOUR)
    await room.look()
    assert await room.world.requests(REMIND) == []
    assert await room.ledger() == [("op", "dropped")]


async def test_a_reminder_of_which_nobody_knows_counts_and_is_not_repeated(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    await room.world.fault(path=REMIND, drop="after-accept", count=2)
    await room.pass_time(23 * HOUR)
    times = (await room.reminded())["li"]
    assert len(times) == 3
    assert [outcome for _, outcome in await room.ledger()] == ["unknown", "unknown", "given"]


async def test_a_crash_between_the_row_and_the_answer_makes_no_fourth(eager: Room) -> None:
    """The process dies right when its request leaves, three times; whoever comes after it counts them."""
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    for at in range(3):
        await room.advance(HOUR + MINUTE)
        dying = room.beside(f"dying-{at}", remind_every=HOUR, remind_most=50)
        rule = await room.world.fault(path=REMIND, hang=True, accepted=True, count=1)
        assert await dying.follower.once() == 1

        async def arrived(count: int = at + 1) -> bool:
            return len((await room.reminded())["li"]) == count

        for _ in range(300):
            if await arrived():
                break
            await asyncio.sleep(0.01)
        assert await arrived(), rule
        for call in list(dying.follower._calls):
            call.cancel()
        await asyncio.gather(*dying.follower._calls, return_exceptions=True)
        await room.advance(timedelta(minutes=4))
        await room.site.follower._take_over(room.clock.now())
        await room.world.clear_faults()
    assert [outcome for _, outcome in await room.ledger()] == ["unknown"] * 3
    await room.pass_time(20 * HOUR)
    assert len((await room.reminded())["li"]) == 3
    assert len(await room.world.requests(REMIND)) == 3


async def test_one_that_could_not_leave_is_given_a_little_later_and_counts_once(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    real = room.site.follower._asker.remind
    late: list[int] = []

    async def too_late(one, still, traceparent):  # type: ignore[no-untyped-def]
        late.append(1)
        return await real(one, (lambda: False) if len(late) < 3 else still, traceparent)

    room.site.follower._asker.remind = too_late  # type: ignore[method-assign]
    await room.pass_time(HOUR + MINUTE)
    await room.pass_time(MINUTE, timedelta(seconds=6))
    assert len((await room.reminded())["li"]) == 1
    assert await room.ledger() == [("", "given")]


async def test_a_platform_that_has_counted_otherwise_is_believed_for_a_day(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    await room.world.fault(path=REMIND, errcode=41094, count=1)
    await room.pass_time(23 * HOUR)
    assert await room.ledger() == [("", "refused")]
    assert len(await room.world.requests(REMIND)) == 1
    await room.pass_time(4 * HOUR)
    assert len((await room.reminded())["li"]) >= 1


async def test_one_that_the_platform_refuses_is_not_asked_for_over_and_over(eager: Room) -> None:
    room = eager
    await room.owns("li", 1)
    await room.behave("li", "never")
    await room.asked()
    await room.world.fault(path=REMIND, errcode=48002)
    await room.pass_time(5 * HOUR)
    assert len(await room.world.requests(REMIND)) <= 5
    assert await room.world.requests(CANCEL) == []
