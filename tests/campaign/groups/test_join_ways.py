"""Join ways: checked before the call, made once whatever happens to the answer, and compared with what the platform has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.campaign.domain import join_way as domain
from services.campaign.domain.join_way import WayStatus
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.group_tables import join_way
from shared.db.once import Once
from shared.db.tables import audit_entry
from shared.errors import Conflict, Invalid, NotFound, Overtaken, Unavailable
from shared.wecom.customer_groups import JoinWaySpec

API = "/cgi-bin/externalcontact/groupchat/"
SPEC = JoinWaySpec(scene=2, chat_ids=("wr1",), remark="海报", room_base_name="老客群", state="poster")


def once(method="CreateJoinWay", key="", content="hash"):
    return Once("s1", f"reach.campaign.v1.CampaignService/{method}", key, content)


async def ready(room):
    """A side that knows two groups of the store, and one of another's."""
    for chat_id, owner in (("wr1", "ann"), ("wr2", "ann"), ("wr3", "ben")):
        await room.declare(chat_id, owner=owner)
    side = room.side()
    await room.until_idle(side)
    return side


async def made(side, spec=SPEC, **more):
    way = await side.join_ways.create("s1", spec, once=once(**more))
    await side.checking.step()
    return await side.join_ways.get(way.id, None)


async def asked(room, call):
    return [one["body"] for one in await room.world.requests(API + call)]


def places(refused):
    return [one.field for one in refused.value.violations]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"scene": 3}, "spec.scene"),
        ({"chat_ids": ()}, "spec.chat_ids"),
        ({"chat_ids": ("1", "2", "3", "4", "5", "6")}, "spec.chat_ids"),
        ({"chat_ids": ("1", "1")}, "spec.chat_ids"),
        ({"state": "x" * 31}, "spec.state"),
        ({"room_base_name": "名" * 41}, "spec.room_base_name"),
        ({"remark": "注" * 31}, "spec.remark"),
        ({"room_base_id": -1}, "spec.room_base_id"),
    ],
)
def test_what_the_platform_would_refuse_is_refused_before_the_call(wrong, field):
    with pytest.raises(Invalid) as refused:
        domain.check(replace(SPEC, **wrong))
    assert places(refused) == [field]
    domain.check(replace(SPEC, state="态" * 30, room_base_name="名" * 40, remark="注" * 30))


def test_an_update_takes_what_its_mask_names_and_leaves_the_rest():
    wanted = replace(SPEC, remark="传单", state="flyer", scene=1)
    assert domain.merged(SPEC, wanted, ["remark"]) == replace(SPEC, remark="传单")
    assert domain.merged(SPEC, wanted, ["*"]) == wanted
    for mask in ([], ["colour"]):
        with pytest.raises(Invalid):
            domain.merged(SPEC, wanted, mask)


def test_drift_names_what_differs_and_not_what_the_platform_tells_otherwise():
    theirs = replace(SPEC, scene=3, room_base_id=7, chat_ids=("wr1",))
    assert domain.drift(SPEC, theirs) == ()
    [found] = domain.drift(SPEC, replace(theirs, chat_ids=("wr2", "wr1")))
    assert (found.field, found.ours, found.theirs) == ("chat_ids", "wr1", "wr1, wr2")


async def test_a_way_is_made_with_its_picture_and_written_into_the_audit_log(room):
    way = await made(await ready(room))
    assert way.status is WayStatus.ACTIVE
    assert way.config_id
    assert way.qr_code.startswith("http")
    [call] = await asked(room, "add_join_way")
    assert (call["chat_id_list"], call["state"], call["auto_create_room"]) == (["wr1"], "poster", 1)
    assert [row.method for row in await room.rows(audit_entry)] == ["CreateJoinWay"]


async def test_a_repeat_by_its_key_makes_no_second_one(room):
    side = await ready(room)
    first = await made(side, key="k1")
    assert (await side.join_ways.create("s1", SPEC, once=once(key="k1"))).id == first.id
    with pytest.raises(Conflict) as reused:
        await side.join_ways.create("s1", SPEC, once=once(key="k1", content="other"))
    assert reused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    assert len(await asked(room, "add_join_way")) == 1


async def test_two_calls_at_once_with_one_key_make_one(room):
    side = await ready(room)
    ways = await asyncio.gather(*[side.join_ways.create("s1", SPEC, once=once(key="k1")) for _ in range(5)])
    assert len({way.id for way in ways}) == 1
    assert len(await asked(room, "add_join_way")) == 1


@pytest.mark.parametrize("spec", [replace(SPEC, chat_ids=("wr3",)), replace(SPEC, chat_ids=("wr1", "wr9"))])
async def test_a_way_leads_only_into_groups_of_its_store(room, spec):
    with pytest.raises(Invalid) as refused:
        await made(await ready(room), spec)
    assert places(refused)[0].startswith("spec.chat_ids[")
    assert await asked(room, "add_join_way") == []


async def test_no_two_ways_of_a_store_that_are_in_use_share_a_state(room):
    side = await ready(room)
    first = await made(side)
    with pytest.raises(Invalid) as refused:
        await made(side)
    assert places(refused) == ["spec.state"]
    await side.join_ways.delete(first.id, None, "", once=once("DeleteJoinWay"))
    assert (await made(side)).status is WayStatus.ACTIVE


async def test_many_at_once_with_one_state_make_one(room):
    side = await ready(room)
    found = await asyncio.gather(
        *[side.join_ways.create("s1", SPEC, once=once(key=f"k{n}")) for n in range(6)],
        return_exceptions=True,
    )
    assert sum(not isinstance(one, Exception) for one in found) == 1
    assert all(isinstance(one, Invalid | Overtaken) for one in found if isinstance(one, Exception))
    assert len(await asked(room, "add_join_way")) == 1


async def test_where_the_answer_is_lost_the_way_is_unknown_and_nobody_makes_it_again_unseen(room):
    side = await ready(room)
    await room.world.fault(path=API + "add_join_way", count=1, drop="after-accept")
    way = await side.join_ways.create("s1", SPEC, once=once(key="k1"))
    assert way.status is WayStatus.UNKNOWN
    assert (await side.join_ways.create("s1", SPEC, once=once(key="k1"))).status is WayStatus.UNKNOWN
    with pytest.raises(Invalid):
        await made(side, key="k2")
    assert len(await asked(room, "add_join_way")) == 1
    with pytest.raises(Conflict):
        await side.join_ways.update(way.id, SPEC, ["remark"], 0, None, once=once("UpdateJoinWay"))
    gone = await side.join_ways.delete(way.id, None, "made anew", once=once("DeleteJoinWay"))
    assert gone.status is WayStatus.DELETED
    assert (await made(side, key="k3")).status is WayStatus.ACTIVE


async def test_where_the_platform_certainly_made_none_the_same_key_tries_again(room):
    side = await ready(room)
    await room.world.fault(path=API + "add_join_way", count=1, errcode=41091)
    with pytest.raises(Invalid):
        await side.join_ways.create("s1", SPEC, once=once(key="k1"))
    way = await side.join_ways.create("s1", SPEC, once=once(key="k1"))
    assert way.status is WayStatus.ACTIVE
    assert len(await side.join_ways.list(None, (), (), None, 10)) == 1


async def test_a_process_that_died_while_it_asked_leaves_an_unknown_one(room):
    side = await ready(room)

    async def dies(api, spec):
        raise asyncio.CancelledError

    side.join_ways._ask = dies
    with pytest.raises(asyncio.CancelledError):
        await side.join_ways.create("s1", SPEC, once=once())
    other = room.side("other")
    await other.checking.step()
    [row] = await room.rows(join_way)
    assert row.status == "pending"
    await room.later(61)
    await other.checking.step()
    [row] = await room.rows(join_way)
    assert (row.status, row.check_due_at, row.open_state) == ("unknown", None, "poster")


async def test_an_update_keeps_what_was_changed_by_another_way_and_its_mask_does_not_name(room):
    side = await ready(room)
    way = await made(side)
    api = await _api(side)
    await api.update_join_way(way.config_id, replace(SPEC, remark="店长改的"))
    after = await side.join_ways.update(
        way.id,
        replace(SPEC, chat_ids=("wr1", "wr2")),
        ["chat_ids"],
        way.version,
        None,
        once=once("UpdateJoinWay"),
    )
    assert (after.version, after.spec.remark, after.spec.chat_ids) == (2, "店长改的", ("wr1", "wr2"))
    found = await api.join_way(way.config_id)
    assert (found.spec.remark, found.spec.chat_ids) == ("店长改的", ("wr1", "wr2"))
    with pytest.raises(Overtaken):
        await side.join_ways.update(way.id, SPEC, ["remark"], 1, None, once=once("UpdateJoinWay"))


async def test_an_update_whose_answer_is_lost_is_repeated_by_its_key_with_no_harm(room):
    side = await ready(room)
    way = await made(side)
    await room.world.fault(path=API + "update_join_way", count=1, drop="after-accept")
    wanted = replace(SPEC, remark="新")
    with pytest.raises(Unavailable):
        await side.join_ways.update(way.id, wanted, ["remark"], 0, None, once=once("UpdateJoinWay", "u1"))
    await room.later(61)
    await side.checking.step()
    assert (await side.join_ways.get(way.id, None)).status is WayStatus.DRIFTED
    for _ in range(2):
        after = await side.join_ways.update(
            way.id, wanted, ["remark"], 0, None, once=once("UpdateJoinWay", "u1")
        )
        assert (after.status, after.version, after.spec.remark) == (WayStatus.ACTIVE, 2, "新")


async def test_one_changes_it_at_a_time(room):
    side = await ready(room)
    way = await made(side)
    found = await asyncio.gather(
        *[
            side.join_ways.update(
                way.id, replace(SPEC, remark=str(n)), ["remark"], 1, None, once=once("UpdateJoinWay")
            )
            for n in range(4)
        ],
        return_exceptions=True,
    )
    assert sum(not isinstance(one, Exception) for one in found) == 1
    assert all(isinstance(one, Overtaken) for one in found if isinstance(one, Exception))


async def test_the_check_finds_what_was_changed_and_what_was_taken_away(room):
    side = await ready(room)
    way = await made(side)
    api = await _api(side)
    await api.update_join_way(way.config_id, replace(SPEC, state="other"))
    await room.later(domain.CHECK_EVERY.total_seconds() + 1)
    await side.checking.step()
    drifted = await side.join_ways.get(way.id, None)
    assert drifted.status is WayStatus.DRIFTED
    assert [(one.field, one.ours, one.theirs) for one in drifted.drift] == [("state", "poster", "other")]
    await api.delete_join_way(way.config_id)
    await room.later(domain.CHECK_EVERY.total_seconds() + 1)
    await side.checking.step()
    gone = await side.join_ways.get(way.id, None)
    assert (gone.status, gone.errcode) == (WayStatus.GONE, 40058)
    assert [row.check_due_at for row in await room.rows(join_way)] == [None]


async def test_a_check_that_comes_to_nothing_is_made_again_soon(room):
    side = await ready(room)
    way = await made(side)
    await room.world.fault(path=API + "get_join_way", count=1, http_status=502)
    await room.later(domain.CHECK_EVERY.total_seconds() + 1)
    await side.checking.step()
    [row] = await room.rows(join_way)
    assert (row.status, row.check_due_at - room.clock.now()) == ("active", timedelta(minutes=5))
    await room.later(301)
    await side.checking.step()
    assert (await side.join_ways.get(way.id, None)).checked_at == room.clock.now()


async def test_another_stores_way_is_not_there(room):
    way = await made(await ready(room))
    side = room.side()
    for call in (
        side.join_ways.get(way.id, {"s2"}),
        side.join_ways.update(way.id, SPEC, ["*"], 0, {"s2"}, once=once("UpdateJoinWay")),
        side.join_ways.delete(way.id, {"s2"}, "", once=once("DeleteJoinWay")),
    ):
        with pytest.raises(NotFound):
            await call


async def test_who_came_by_a_state_is_followed_to_whether_they_stayed_and_what_reached_them(room):
    side = await ready(room)
    way = await made(side)
    for n in range(3):
        await room.world.post(f"/sandbox/join-ways/{way.config_id}/scan", external_userid=f"wm{n}", name="客")
    begun = room.clock.now() - timedelta(minutes=1)
    await side.groups.sync(True, once=Once("", "x/SyncGroups", "", "h"))
    await room.until_idle(side)
    await room.later(2 * 86_400)
    await room.change("wr1", leave=["wm0"])
    await side.groups.sync(True, once=Once("", "x/SyncGroups", "", "h"))
    await room.until_idle(side)
    await _sent(room, "wr1")
    found = await side.join_ways.attribution("s1", "poster", begun, room.clock.now())
    assert (found.joined, found.members, found.present, found.groups) == (3, 3, 2, 1)
    assert (found.matured, found.stayed) == ((3, 0, 0), (3, 0, 0))
    assert (found.reached, found.campaigns) == (2, 1)
    elsewhere = await side.join_ways.attribution("s2", "poster", begun, room.clock.now())
    assert (elsewhere.joined, elsewhere.reached) == (0, 0)


async def _api(side):
    from services.campaign.pipeline.customer_calls import api_of

    return await api_of(side.join_ways._credentials, side.join_ways._wecom)


async def _sent(room, chat_id):
    now = room.clock.now()
    values = {
        "run_id": "run",
        "chat_id": chat_id,
        "campaign_id": "c1",
        "task_id": "t1",
        "owner": "ann",
        "name": "",
        "status": "sent",
        "reason": "",
        "error": "",
        "sent_at": now,
        "created_at": now,
        "updated_at": now,
    }
    async with room.database.write() as conn:
        await conn.execute(sa.insert(campaign_target).values(values))


async def test_two_ways_that_take_one_state_at_the_same_moment_are_both_as_the_platform_has_them(room):
    side = await ready(room)
    ways = [await made(side, replace(SPEC, state=f"old{n}")) for n in range(2)]
    ready_to_write = asyncio.Barrier(2)
    write = side.join_ways._updated

    async def together(conn, way, spec, once):
        if not ready_to_write.broken and room.database.dialect == "postgresql":
            try:
                await asyncio.wait_for(ready_to_write.wait(), 2)
            except (TimeoutError, asyncio.BrokenBarrierError):
                await ready_to_write.abort()
        await write(conn, way, spec, once)

    side.join_ways._updated = together
    calls = [
        side.join_ways.update(
            way.id, replace(SPEC, state="new"), ["state"], 0, None, once=once("UpdateJoinWay")
        )
        for way in ways
    ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    api = await _api(side)
    kept = await room.rows(join_way)
    for row in kept:
        assert (await api.join_way(row.config_id)).spec.state == row.spec["state"]
    assert sum(row.open_state == "new" for row in kept) == 1
    refused = [one for one in done if isinstance(one, BaseException)]
    assert all(isinstance(one, Invalid) for one in refused), done
    if room.database.dialect == "postgresql":
        assert refused == []
