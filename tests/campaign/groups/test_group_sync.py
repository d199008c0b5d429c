"""The sync of groups: whole after any fault, each group once, and honest about what became of each."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.campaign.domain.groups import SyncPhase, SyncStatus
from services.campaign.store import group_syncs
from services.campaign.store.group_tables import (
    customer_group,
    group_change,
    group_day,
    group_join,
    group_sync,
)
from shared.db.once import Once

LIST, GET = "/cgi-bin/externalcontact/groupchat/list", "/cgi-bin/externalcontact/groupchat/get"
AGAIN = 601.0
"""Seconds until the schedule asks once more."""


def once(key=""):
    return Once("", "reach.campaign.v1.CampaignService/SyncGroups", key, "hash")


async def synced(room, side=None):
    """One more sync, to its end."""
    await room.later(AGAIN)
    return await room.until_idle(side or room.side())


async def changes(room, chat_id=None):
    rows = await room.rows(sa.select(group_change).order_by(group_change.c.at, group_change.c.id))
    return [(row.kind, row.before, row.after) for row in rows if chat_id in (None, row.chat_id)]


async def calls(room, path):
    return [one["body"] for one in await room.world.requests(path)]


async def test_two_thousand_three_hundred_groups_with_a_fault_on_page_two_are_each_there_once(room):
    await room.world.post("/sandbox/groups", count=2300, prefix="wr", owners=["ann", "ben"], customers=2)
    await room.world.fault(path=LIST, skip=1, count=1, http_status=502)
    side = room.side()
    while not (await side.syncing.step()):
        pass  # until it waits after the fault
    halfway = await room.last()
    assert (halfway.status, halfway.phase) == (SyncStatus.RUNNING, SyncPhase.LISTING)
    assert (halfway.listed, halfway.faults) == (1000, 1)

    again = room.side("another process, after a crash")
    await room.later(31)
    await again.groups.sync(False, once=once())
    report = await room.until_idle(again)

    assert report.id == halfway.id
    assert report.status is SyncStatus.FINISHED
    told = (report.listed, report.added, report.changed, report.gone, report.denied, report.failed)
    assert told == (2300, 2300, 0, 0, 0, 0)
    assert report.read == 2300
    found = await room.groups()
    assert len(found) == 2300
    assert {row.store_id for row in found.values()} == {"s1", "s2"}
    cursors = [body.get("cursor", "") for body in await calls(room, LIST)]
    assert (cursors[0], cursors.count(""), len(set(cursors))) == ("", 1, 3)


async def test_a_second_sync_reports_what_changed_and_reads_nothing_else(room):
    for chat_id in ("wr1", "wr2", "wr3", "wr4"):
        await room.declare(chat_id)
    first = await room.until_idle(room.side())
    assert (first.added, first.read) == (4, 4)
    await room.change("wr1", status=1)
    await room.change("wr2", dismiss=True)
    await room.declare("wr5", owner="cy")
    second = await synced(room)
    assert (second.listed, second.added, second.changed, second.gone) == (4, 1, 1, 1)
    assert second.read == 2  # the one whose status changed, and the new one
    found = await room.groups()
    assert found["wr1"].status == "owner_left"
    assert (found["wr2"].gone_reason, found["wr3"].gone_reason) == ("dismissed", "")
    assert await changes(room, "wr1") == [("status", "normal", "owner_left")]


async def test_another_owner_is_recorded_with_the_old_one_and_moves_the_group_to_their_store(room):
    await room.declare("wr1", owner="ann")
    side = room.side()
    await room.until_idle(side)
    await room.change("wr1", owner="ben", name="新名字")
    await side.groups.sync(True, once=once())
    report = await room.until_idle(side)
    assert (report.whole, report.changed) == (True, 1)
    assert (await room.groups())["wr1"].store_id == "s2"
    assert await changes(room) == [
        ("owner", "ann", "ben"),
        ("name", "群 wr1", "新名字"),
        ("store", "s1", "s2"),
    ]


async def test_a_setting_that_moves_an_owner_moves_their_groups_with_a_record(room):
    await room.declare("wr1", owner="cy")
    await room.until_idle(room.side())
    customer = room.settings.wecom.customer.model_copy(update={"stores": ("cy=s9",)})
    wecom = room.settings.wecom.model_copy(update={"customer": customer})
    settings = room.settings.model_copy(update={"wecom": wecom})
    await synced(room, room.side(settings=settings))
    assert (await room.groups())["wr1"].store_id == "s9"
    assert await changes(room) == [("store", "s1", "s9")]


async def test_a_group_that_is_out_of_range_is_gone_and_comes_back_with_its_labels(room):
    await room.declare("wr1", owner="ann")
    await room.declare("wr2", owner="cy")
    side = room.side()
    await room.until_idle(side)
    await side.groups.label(["wr2"], ["vip"], [], "", None, once=once())
    await room.world.declare(users=[{"userid": "cy", "no_customers": True}])
    report = await synced(room, side)
    assert (report.listed, report.gone, report.denied) == (1, 1, 0)
    gone = (await room.groups())["wr2"]
    assert (gone.gone_reason, gone.gone_at) != ("", None)
    assert gone.gone_reason == "not_in_range"
    await room.world.declare(users=[{"userid": "cy", "no_customers": False}])
    back = await synced(room, side)
    assert (back.listed, back.added, back.changed, back.gone) == (2, 0, 1, 0)
    assert [one[0] for one in await changes(room, "wr2")] == ["gone", "back"]
    told = await side.groups.get("wr2", None, 0)
    assert (told.judged.view.facts.labels, told.judged.verdict.reason) == (frozenset({"vip"}), "")


async def test_a_group_that_the_list_left_out_by_mistake_is_not_gone(room):
    for chat_id in ("wr1", "wr2"):
        await room.declare(chat_id)
    side = room.side()
    await room.until_idle(side)
    await room.world.declare(users=[{"userid": "ann", "no_customers": True}])
    await room.later(AGAIN)
    await side.groups.sync(False, once=once())
    while (await room.last()).phase is not SyncPhase.READING:
        await side.syncing.step()
    await room.world.declare(users=[{"userid": "ann", "no_customers": False}])
    report = await room.until_idle(side)
    assert (report.gone, report.read) == (0, 2)
    assert {row.gone_reason for row in (await room.groups()).values()} == {""}


async def test_a_group_that_may_not_be_read_is_reported_as_denied_and_the_others_are_read(room):
    for chat_id in ("wr1", "wr2"):
        await room.declare(chat_id)
    await room.world.fault(path=GET, body='"wr1"', errcode=60011)
    report = await room.until_idle(room.side())
    assert (report.status, report.read, report.denied) == (SyncStatus.FINISHED, 1, 1)
    denied = (await room.groups())["wr1"]
    assert (denied.read_error, denied.read_errcode, denied.gone_reason) == ("denied", 60011, "")


async def test_a_group_whose_reading_never_works_is_reported_as_failed_and_holds_up_nothing(room):
    for chat_id in ("wr1", "wr2"):
        await room.declare(chat_id)
    await room.world.fault(path=GET, body='"wr1"', http_status=502)
    report = await room.until_idle(room.side())
    assert (report.status, report.read, report.failed) == (SyncStatus.FINISHED, 1, 1)
    assert (await room.groups())["wr1"].read_error == "failed"


@pytest.mark.parametrize("errcode", [48002, 60020])
async def test_a_list_that_is_refused_for_good_fails_the_sync_and_nothing_counts_as_gone(room, errcode):
    await room.declare("wr1")
    side = room.side()
    await room.until_idle(side)
    await room.world.fault(path=LIST, errcode=errcode)
    await room.later(AGAIN)
    await side.syncing.step()
    failed = await room.last()
    assert (failed.status, failed.errcode) == (SyncStatus.FAILED, errcode)
    assert (await room.groups())["wr1"].gone_reason == ""
    await room.world.clear_faults()
    assert (await synced(room, side)).status is SyncStatus.FINISHED


async def test_a_cursor_that_the_platform_forgot_begins_the_list_anew_and_counts_nobody_twice(room):
    await room.world.post("/sandbox/groups", count=25, prefix="wr", owners=["ann"], customers=0)
    await room.world.fault(path=LIST, skip=1, count=1, errcode=50100)
    report = await room.until_idle(room.side(page=10))
    assert (report.status, report.listed, report.added) == (SyncStatus.FINISHED, 25, 25)


async def test_an_answer_that_cannot_be_read_changes_nothing(room):
    await room.declare("wr1")
    side = room.side()
    await room.until_idle(side)
    await room.world.fault(path=LIST, count=3, malformed="truncated")
    report = await synced(room, side)
    assert (report.status, report.listed, report.gone) == (SyncStatus.FINISHED, 1, 0)


async def test_the_schedule_begins_one_sync_for_all_replicas_and_no_other_before_its_next_time(room):
    await room.declare("wr1")
    one, other = room.side("one"), room.side("other")
    await room.until_idle(one)
    await room.later(60)
    for side in (one, other, one, other):
        await side.syncing.step()
    assert len(await room.rows(group_sync)) == 1
    await room.later(AGAIN)
    await room.until_idle(other)
    for side in (one, other):
        await side.syncing.step()
    assert len(await room.rows(group_sync)) == 2


async def test_somebody_who_asks_attaches_to_what_is_under_way(room):
    await room.declare("wr1")
    side = room.side()
    first = await side.groups.sync(False, once=once("a"))
    second = await side.groups.sync(True, once=once("b"))
    assert (first.id, second.whole) == (second.id, True)
    assert (await side.groups.sync(False, once=once("a"))).id == first.id
    await room.until_idle(side)
    assert (await side.groups.sync(False, once=once("a"))).status is SyncStatus.FINISHED
    assert (await side.groups.sync(False, once=once("c"))).id != first.id


async def test_a_process_that_was_frozen_while_it_listed_writes_nothing_when_it_wakes(room):
    await room.declare("wr1")
    frozen, other = room.side("frozen"), room.side("other")
    api_groups = frozen.syncing._list

    async def asleep(api, held, sync):
        await room.later(120)
        await room.until_idle(other)
        return await api_groups(api, held, sync)

    frozen.syncing._list = asleep
    await frozen.syncing.step()
    report = await room.last()
    assert (report.status, report.pages, report.listed) == (SyncStatus.FINISHED, 1, 1)


async def test_reads_stay_within_the_rate_of_all_replicas_together(world, tmp_path, postgres):
    from tests.campaign.groups.house import house

    async with house(world, tmp_path / "slow", postgres, WECOM_CUSTOMER_READ_QPS="5") as room:
        await room.world.post("/sandbox/groups", count=23, prefix="wr", owners=["ann"], customers=0)
        begun = room.clock.now()
        asked = []
        side = room.side()
        ask = side.syncing._reader.ask

        async def watched(api, batch):
            asked.append((room.clock.now(), len(batch)))
            return await ask(api, batch)

        side.syncing._reader.ask = watched
        report = await room.until_idle(side)
        assert report.read == 23
        for at, _ in asked:
            within = [n for other, n in asked if at <= other < at + timedelta(seconds=1)]
            assert sum(within) <= 5
        assert room.clock.now() - begun >= timedelta(seconds=4)


async def test_joins_and_departures_are_counted_by_day_and_attributed_to_their_way(room):
    await room.declare(
        "wr1", members=[{"external_userid": f"wm{n}", "scene": 3, "state": "poster"} for n in (1, 2)]
    )
    side = room.side()
    await room.until_idle(side)
    await room.later(3600)
    await room.change("wr1", join=[{"external_userid": "wm3", "scene": 3, "state": "flyer"}], leave=["wm1"])
    await side.groups.sync(True, once=once())
    assert (await room.until_idle(side)).changed == 1
    [day] = await room.rows(group_day)
    assert (day.joined, day.left) == (1, 1)
    joins = {(row.state, row.left_at is None) for row in await room.rows(group_join)}
    assert joins == {("poster", False), ("poster", True), ("flyer", True)}
    assert not any("wm" in row.member for row in await room.rows(group_join))
    found = (await room.groups())["wr1"]
    assert (found.member_count, found.customer_count) == (3, 2)
    assert found.last_changed_at == room.clock.now()
    told = await side.groups.get("wr1", None, 7)
    assert told.judged.view.facts.states == {"poster", "flyer"}
    assert [(one.joined, one.left) for one in told.days] == [(1, 1)]


async def test_old_syncs_and_ledgers_leave_by_and_by(room):
    await room.declare("wr1")
    side = room.side()
    await room.until_idle(side)
    await room.change("wr1", status=1)
    await synced(room, side)
    async with room.database.write() as conn:
        assert await side.purge(conn, room.clock.now(), 100) == 0
        assert await side.purge(conn, room.clock.now() + timedelta(days=500), 100) == 2
    assert await room.rows(group_sync) == await room.rows(group_change) == []
    assert len(await room.rows(customer_group)) == 1


async def test_nothing_happens_without_a_secret(room):
    async with room.database.write() as conn:
        await conn.execute(sa.text("DELETE FROM credential"))
    side = room.side()
    assert await side.syncing.step()
    assert await room.rows(group_sync) == []
    async with room.database.read() as conn:
        assert await group_syncs.last(conn) is None
