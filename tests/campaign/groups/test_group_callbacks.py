"""Callbacks of customer groups: hints that have a group read at once, in whatever order and however often they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import campaign_service_pb2_grpc, group_pb2

from services.campaign.store.group_tables import group_change
from services.campaign.usecases.group_ringing import Verdict
from tests.campaign.groups.house import AES_KEY, SETTINGS, TOKEN, House, build, populate
from tests.e2e.harness import CORP, Reach, Sandbox, embedded, eventually

LIST = "/cgi-bin/externalcontact/groupchat/list"
YEARLY = "0 0 1 1 *"
"""A schedule that is silent for as long as any test takes."""


def rang(chat_id: str, change: str = "update", **more: str) -> dict[str, str]:
    """The fields of a callback."""
    fields = {"MsgType": "event", "Event": "change_external_chat", "ChatId": chat_id, "ChangeType": change}
    return fields | more


async def take(room: House, side: Any, **fields: str) -> Verdict:
    """Let it be taken as the door lets it be."""

    async def work(conn: Any) -> Any:
        return await side.ringing.take(conn, fields, room.clock.now())

    verdict: Verdict = await room.database.transact(work)
    return verdict


async def kinds(room: House, chat_id: str) -> list[tuple[str, str, str]]:
    rows = await room.rows(
        sa.select(group_change)
        .where(group_change.c.chat_id == chat_id)
        .order_by(group_change.c.at, group_change.c.id)
    )
    return [(row.kind, row.before, row.after) for row in rows]


async def test_a_hint_has_one_group_read_and_no_other_as_soon_as_the_platform_has_settled(room: House):
    for chat_id in ("wr1", "wr2"):
        await room.declare(chat_id)
    side = room.side()
    await room.until_idle(side)
    await room.world.profile(group_lag_seconds=2)
    await room.change("wr1", owner="ben")
    before = len(await room.world.requests())
    assert await take(room, side, **rang("wr1", UpdateDetail="change_owner")) is Verdict.HINT
    assert (await side.syncing.step()).total_seconds() == 3
    await room.later(3)
    await side.syncing.step()
    called = (await room.world.requests())[before:]
    assert [one["body"]["chat_id"] for one in called if "groupchat/get" in one["path"]] == ["wr1"]
    found = (await room.groups())["wr1"]
    assert (found.owner, found.store_id, found.read_due_at) == ("ben", "s2", None)
    assert await kinds(room, "wr1") == [("owner", "ann", "ben"), ("store", "s1", "s2")]
    assert (await room.groups())["wr2"].owner == "ann"


async def test_a_hint_that_comes_while_the_group_is_read_has_it_read_once_more(room: House):
    await room.declare("wr1")
    side = room.side()
    await room.until_idle(side)
    await take(room, side, **rang("wr1"))
    await room.later(3)
    ask = side.syncing._reader.ask

    async def slow(api: Any, batch: Any) -> Any:
        answered = await ask(api, batch)
        await room.change("wr1", owner="ben")
        await take(room, side, **rang("wr1"))
        return answered

    side.syncing._reader.ask = slow
    await side.syncing.step()
    assert (await room.groups())["wr1"].owner == "ann"
    side.syncing._reader.ask = ask
    await room.until_idle(side)
    assert (await room.groups())["wr1"].owner == "ben"


async def test_a_lively_group_is_read_however_often_it_is_told_of(room: House):
    await room.declare("wr1")
    side = room.side()
    await room.until_idle(side)
    begun = room.clock.now()
    for _ in range(6):  # once a second, while a reading waits three
        await take(room, side, **rang("wr1", UpdateDetail="add_member"))
        await room.later(1)
        await side.syncing.step()
    assert (await room.groups())["wr1"].read_at > begun


async def test_nothing_goes_to_a_dismissed_group_from_the_moment_it_is_told_and_a_false_word_is_undone(
    room: House,
):
    for chat_id in ("wr1", "wr2"):
        await room.declare(chat_id)
    side = room.side()
    await room.until_idle(side)
    await room.change("wr1", dismiss=True)
    for chat_id in ("wr1", "wr2"):  # of the second it is not true, or not any more
        assert await take(room, side, **rang(chat_id, "dismiss")) is Verdict.DISMISSED
        assert (await side.groups.get(chat_id, None, 0)).judged.verdict.reason == "dismissed"
    await room.later(3)
    await room.until_idle(side)
    found = await room.groups()
    assert (found["wr1"].gone_reason, found["wr2"].gone_reason) == ("dismissed", "")
    assert await kinds(room, "wr2") == [("gone", "", "dismissed"), ("back", "dismissed", "")]
    # An older word that comes behind it changes nothing either.
    await take(room, side, **rang("wr1", "update", UpdateDetail="change_name"))
    await room.later(3)
    await room.until_idle(side)
    assert (await room.groups())["wr1"].gone_reason == "dismissed"
    assert await kinds(room, "wr1") == [("gone", "", "dismissed")]


async def test_a_new_group_is_here_with_its_callback_and_counts_as_new_in_no_later_report(room: House):
    side = room.side()
    await room.until_idle(side)
    await room.declare("wr1")
    await take(room, side, **rang("wr1", "create"))
    await room.later(3)
    await side.syncing.step()
    assert (await side.groups.get("wr1", None, 0)).judged.verdict.reason == ""
    await room.later(601)
    report = await room.until_idle(side)
    assert (report.listed, report.added, report.changed) == (1, 0, 0)


async def test_a_callback_of_a_group_that_is_none_of_customers_leaves_nothing_to_send_to(room: House):
    side = room.side()
    await room.until_idle(side)
    await take(room, side, **rang("wr-nobody"))
    await room.later(3)
    await room.until_idle(side)
    found = (await room.groups())["wr-nobody"]
    assert (found.gone_reason, found.read_at) == ("not_in_range", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"MsgType": "event", "Event": "change_external_contact", "ChatId": "wr1"},
        {"MsgType": "text", "Event": "change_external_chat", "ChatId": "wr1"},
        rang(""),
        rang("wr 1\n"),
        rang("x" * 65),
        {},
    ],
)
async def test_what_is_no_change_of_a_group_changes_nothing(room: House, fields: dict[str, str]):
    side = room.side()
    assert await take(room, side, **fields) is Verdict.IGNORED
    assert await room.groups() == {}


# --- Through the door -----------------------------------------------------------------------------------


@pytest.fixture
async def served(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """The room in a process whose schedule is silent, with its callback set up as the admin page does it."""
    await populate(world)
    for chat_id in ("wr1", "wr2", "wr3"):
        await world.post("/sandbox/groups", chat_id=chat_id, owner="ann", name=chat_id)
    more = SETTINGS | {"WECOM_CUSTOMER_SYNC_CRON": YEARLY}
    async with embedded(world.url, tmp_path / "home", builds=[build], **more) as reach:
        url = f"http://{reach.http}/callback/external-contact"
        await world.post(
            "/sandbox/callbacks", url=url, token=TOKEN, aes_key=AES_KEY, corp_id=CORP, kind="customer"
        )
        yield reach


async def test_what_people_do_with_groups_is_known_within_seconds_and_without_another_list(
    world: Sandbox, served: Reach
):
    stub: Any = campaign_service_pb2_grpc.CampaignServiceStub(served.channel)  # type: ignore[no-untyped-call]

    async def groups() -> dict[str, Any]:
        found = await stub.ListGroups(group_pb2.ListGroupsRequest(include_gone=True))
        return {one.chat_id: one for one in found.groups}

    async def synced() -> bool:
        sync = (await stub.GetGroupSync(group_pb2.GetGroupSyncRequest())).sync
        return bool(sync.status == group_pb2.SYNC_STATUS_FINISHED) and len(await groups()) == 3

    await eventually(synced)
    listed = len(await world.requests(LIST))
    await world.post("/sandbox/callbacks/deliveries", kind="customer", copies=3)
    await world.post("/sandbox/groups/wr1", owner="ben")
    await world.post("/sandbox/groups/wr2", join=[{"external_userid": "wm1", "scene": 3}])
    await world.post("/sandbox/groups/wr3", dismiss=True)
    await world.post("/sandbox/groups", chat_id="wr4", owner="cy", name="新群", announce=True)

    async def known() -> bool:
        found = await groups()
        return (
            len(found) == 4
            and (found["wr1"].owner, found["wr1"].store_id) == ("ben", "s2")
            and found["wr2"].customer_count == 1
            and found["wr3"].gone_reason == "dismissed"
            and (found["wr4"].owner, found["wr4"].eligible) == ("cy", True)
        )

    await eventually(known)
    assert len(await world.requests(LIST)) == listed


async def test_a_callback_that_nobody_signed_is_refused(served: Reach):
    url = f"http://{served.http}/callback/external-contact"
    query = {"msg_signature": "0" * 40, "timestamp": "1767000000", "nonce": "n"}
    body = "<xml><ToUserName>x</ToUserName><Encrypt>AAAA</Encrypt></xml>"
    async with served.session.post(url, params=query, data=body) as answer:
        assert (answer.status, await answer.text()) == (403, "")
