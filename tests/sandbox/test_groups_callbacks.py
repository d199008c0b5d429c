"""What the app is told of groups that change, and how those who change them are played."""

from typing import Any

import pytest

from tests.sandbox.door import App, opened
from tests.sandbox.groups import GROUP, OTHER, Groups


async def told(groups: Groups, app: App) -> list[Any]:
    """The events that have arrived, once none is under way; forgotten then."""
    await groups.deliveries()
    events = [opened(request) for request in app.requests]
    app.requests.clear()
    return events


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"owner": "wangwu"}, {"ChangeType": "update", "UpdateDetail": "change_owner"}),
        ({"name": "新名字"}, {"ChangeType": "update", "UpdateDetail": "change_name"}),
        ({"notice": "明天打烊"}, {"ChangeType": "update", "UpdateDetail": "change_notice"}),
        ({"dismiss": True}, {"ChangeType": "dismiss"}),
        (
            {"join": [{"external_userid": "wm7", "scene": 3}]},
            {"UpdateDetail": "add_member", "JoinScene": "3", "MemChangeCnt": "1"},
        ),
        ({"join": [{"userid": "wangwu"}]}, {"UpdateDetail": "add_member", "JoinScene": "0"}),
        ({"leave": ["wm1"]}, {"UpdateDetail": "del_member", "QuitScene": "0", "MemChangeCnt": "1"}),
        ({"leave": ["wm1"], "removed": True}, {"UpdateDetail": "del_member", "QuitScene": "1"}),
    ],
    ids=str,
)
async def test_each_change_calls_back_sealed_and_signed(
    groups: Groups, app: App, change: dict[str, Any], expected: dict[str, str]
) -> None:
    await groups.door(app.url)
    await groups.change(**change)
    (event,) = await told(groups, app)
    assert (event["ToUserName"], event["FromUserName"], event["MsgType"]) == ("ww1", "sys", "event")
    assert (event["Event"], event["ChatId"]) == ("change_external_chat", GROUP)
    assert expected.items() <= event.items()


async def test_the_versions_of_an_event_lead_from_what_was_read_to_what_is(groups: Groups, app: App) -> None:
    before = (await groups.get())["member_version"]
    await groups.door(app.url)
    await groups.change(join=[{"external_userid": "wm7"}, {"external_userid": "wm8"}])
    (event,) = await told(groups, app)
    assert event["LastMemVer"] == before
    assert event["CurMemVer"] == (await groups.get())["member_version"]
    assert (event["MemChangeCnt"], event["MemChangeList"]) == ("2", "wm7 wm8")


async def test_without_a_url_nothing_leaves_and_it_shows(groups: Groups) -> None:
    await groups.change(name="新名字")
    (delivery,) = await groups.deliveries()
    assert (delivery["state"], delivery["chat_id"]) == ("nowhere", GROUP)
    assert (delivery["change_type"], delivery["update_detail"]) == ("update", "change_name")


async def test_a_new_owner_is_in_the_group_and_the_old_one_stays(groups: Groups) -> None:
    await groups.change(owner="WANGWU")
    group = await groups.get()
    assert group["owner"] == "wangwu"
    assert [one["userid"] for one in group["member_list"]] == ["ZhangSan", "wm1", "wangwu"]


async def test_an_inheritance_shows_in_the_list_and_calls_nobody_back(groups: Groups, app: App) -> None:
    await groups.door(app.url)
    await groups.change(OTHER, status=2)
    assert (await groups.list_all(status_filter=2))[0]["chat_id"] == OTHER
    assert await told(groups, app) == []


async def test_declaring_calls_back_only_when_it_is_announced(groups: Groups, app: App) -> None:
    await groups.door(app.url)
    await groups.declare(chat_id="wr8", owner="lisi")
    await groups.declare(chat_id="wr9", owner="lisi", announce=True)
    (event,) = await told(groups, app)
    assert (event["ChatId"], event["ChangeType"]) == ("wr9", "create")


async def test_what_the_api_does_calls_nobody_back(groups: Groups, app: App) -> None:
    await groups.door(app.url)
    await groups.call("groupchat/add_join_way", scene=2, chat_id_list=[GROUP])
    assert await told(groups, app) == []


@pytest.mark.parametrize(
    "change",
    [
        {"join": [{"external_userid": "wm1"}]},
        {"join": [{"external_userid": "wm7", "scene": 1}, {"external_userid": "wm8", "scene": 3}]},
        {"leave": ["wm9"]},
        {"leave": ["ZhangSan"]},
        {"owner": "nobody"},
        {"name": "新", "status": 9},
        {"color": "red"},
    ],
    ids=str,
)
async def test_a_change_that_cannot_be_changes_nothing(groups: Groups, change: dict[str, Any]) -> None:
    before = await groups.get()
    assert "error" in await groups.client.post(f"/sandbox/groups/{GROUP}", change)
    assert await groups.get() == before
    assert await groups.deliveries() == []


async def test_a_dismissed_group_changes_no_more(groups: Groups) -> None:
    await groups.change(dismiss=True)
    assert "dismissed" in (await groups.client.post(f"/sandbox/groups/{GROUP}", {"name": "x"}))["error"]
    assert "error" in await groups.client.post("/sandbox/groups/wr-none", {"name": "x"})


async def test_callbacks_of_customers_are_steered_apart_from_those_of_kf(groups: Groups, app: App) -> None:
    await groups.door(app.url)
    await groups.play("callbacks/deliveries", kind="kf", silent=True)
    await groups.play("callbacks/deliveries", kind="customer", copies=2)
    await groups.change(name="新名字")
    assert len(await told(groups, app)) == 2
