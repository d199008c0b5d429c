"""Ways into groups: their fields, their QR code, and who comes by it."""

from typing import Any

import pytest

from tests.sandbox.conftest import Client, Open
from tests.sandbox.door import App, opened
from tests.sandbox.groups import GROUP, OTHER, Groups

ADD, READ, UPDATE, DELETE = (f"groupchat/{verb}_join_way" for verb in ("add", "get", "update", "del"))


async def way(groups: Groups, **more: Any) -> str:
    """The config_id of a new way into both groups."""
    body = {"scene": 2, "chat_id_list": [GROUP, OTHER], "state": "poster"} | more
    answer = await groups.call(ADD, **body)
    assert answer["errcode"] == 0, answer
    return str(answer["config_id"])


async def scan(groups: Groups, config_id: str, external_userid: str) -> Any:
    return await groups.play(f"join-ways/{config_id}/scan", external_userid=external_userid, name="扫码客")


async def test_a_way_is_read_as_it_was_made(groups: Groups) -> None:
    config_id = await way(groups, remark="门" * 31, room_base_name="老客群", room_base_id=7)
    found = (await groups.call(READ, config_id=config_id))["join_way"]
    assert (found["config_id"], found["scene"], found["state"]) == (config_id, 2, "poster")
    assert (found["remark"], found["auto_create_room"]) == ("门" * 30, 1)
    assert (found["room_base_name"], found["room_base_id"]) == ("老客群", 7)
    assert found["chat_id_list"] == [GROUP, OTHER]


async def test_its_code_is_a_picture_that_the_sandbox_serves(groups: Groups) -> None:
    config_id = await way(groups)
    address = (await groups.call(READ, config_id=config_id))["join_way"]["qr_code"]
    assert address.startswith(groups.client.url)
    async with groups.client.session.get(address) as answer:
        assert answer.content_type == "image/png"
        assert (await answer.read()).startswith(b"\x89PNG\r\n\x1a\n")
    await groups.call(DELETE, config_id=config_id)
    async with groups.client.session.get(address) as answer:
        assert answer.status == 404


async def test_an_update_overwrites_every_field(groups: Groups) -> None:
    config_id = await way(groups, room_base_name="老客群")
    assert await groups.code(UPDATE, config_id=config_id, scene=1, chat_id_list=[OTHER]) == 0
    found = (await groups.call(READ, config_id=config_id))["join_way"]
    assert (found["scene"], found["chat_id_list"], found["state"], found["room_base_name"]) == (
        1,
        [OTHER],
        "",
        "",
    )


async def test_a_deleted_way_is_not_there_any_more(groups: Groups) -> None:
    config_id = await way(groups)
    assert await groups.code(DELETE, config_id=config_id) == 0
    for call in (READ, DELETE):
        assert await groups.code(call, config_id=config_id) == 40058


async def test_another_apps_way_is_not_to_be_seen(groups: Groups, client: Client) -> None:
    config_id = await way(groups)
    groups.token = await client.token("customer-other")
    assert await groups.code(READ, config_id=config_id) == 40058


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"scene": 3}, 40058),
        ({"scene": None}, 40058),
        ({"chat_id_list": []}, 40058),
        ({"chat_id_list": [GROUP] * 6}, 41091),
        ({"chat_id_list": ["wr-none"]}, 40050),
        ({"state": "长" * 31}, 40058),
        ({"room_base_name": "名" * 41}, 40058),
        ({"auto_create_room": 2}, 40058),
        ({"mark_source": "yes"}, 40058),
    ],
    ids=str,
)
async def test_a_way_that_cannot_be_is_refused(groups: Groups, body: dict[str, Any], errcode: int) -> None:
    assert await groups.code(ADD, **({"scene": 2, "chat_id_list": [GROUP]} | body)) == errcode


async def test_who_scans_is_in_the_group_with_the_ways_state_and_the_app_is_told(
    groups: Groups, app: App
) -> None:
    config_id = await way(groups)
    await groups.door(app.url)
    assert await scan(groups, config_id, "wm5") == {
        "chat_id": GROUP,
        "name": "浦东老客",
        "joined": True,
        "members": 3,
    }
    member = (await groups.get())["member_list"][-1]
    assert (member["userid"], member["state"], member["join_scene"]) == ("wm5", "poster", 3)
    await groups.deliveries()
    (event,) = [opened(request) for request in app.requests]
    assert (event["UpdateDetail"], event["JoinScene"], event["ChatId"]) == ("add_member", "3", GROUP)


async def test_who_scans_twice_is_in_once(groups: Groups) -> None:
    config_id = await way(groups)
    await scan(groups, config_id, "wm5")
    again = await scan(groups, config_id, "wm5")
    assert (again["joined"], again["members"]) == (False, 3)


async def test_full_groups_are_followed_by_new_ones_with_running_numbers(
    open_sandbox: Open, app: App
) -> None:
    groups = await Groups.of(await open_sandbox(group_members=2))
    config_id = await way(groups, room_base_name="老客群", room_base_id=7)
    await groups.door(app.url)
    came = [await scan(groups, config_id, f"wm{number}0") for number in range(1, 4)]
    assert [one["name"] for one in came] == ["徐汇老客", "老客群7", "老客群8"]
    made = await groups.get(came[1]["chat_id"])
    assert (made["owner"], len(made["member_list"])) == ("ZhangSan", 2)
    await groups.deliveries()
    assert [opened(request)["ChangeType"] for request in app.requests].count("create") == 2
    (shown,) = (await groups.client.get("/sandbox/join-ways"))["join_ways"]
    assert shown["made"] == [came[1]["chat_id"], came[2]["chat_id"]]


async def test_a_way_that_makes_no_groups_turns_people_away_when_all_are_full(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_members=2))
    config_id = await way(groups, auto_create_room=0, chat_id_list=[GROUP])
    path = f"/sandbox/join-ways/{config_id}/scan"
    assert "full" in (await groups.client.post(path, {"external_userid": "wm5"}))["error"]
    assert "error" in await groups.client.post("/sandbox/join-ways/jw-none/scan", {"external_userid": "wm5"})
