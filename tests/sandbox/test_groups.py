"""Customer groups as the API shows them: who may see which, page by page."""

from typing import Any

import pytest

from tests.sandbox.conftest import Client, Open
from tests.sandbox.groups import DECLARED, GROUP, OTHER, Groups

LIST, GET = "groupchat/list", "groupchat/get"


async def test_groups_are_listed_in_the_order_they_were_made(groups: Groups) -> None:
    answer = await groups.call(LIST, limit=10)
    assert answer["group_chat_list"] == [{"chat_id": GROUP, "status": 0}, {"chat_id": OTHER, "status": 0}]
    assert not answer.get("next_cursor")


async def test_a_list_goes_on_after_its_cursor_and_holds_what_came_meanwhile(groups: Groups) -> None:
    first = await groups.call(LIST, limit=1)
    await groups.declare(chat_id="wr3", owner="lisi")
    rest = await groups.call(LIST, limit=10, cursor=first["next_cursor"])
    assert [one["chat_id"] for one in rest["group_chat_list"]] == [OTHER, "wr3"]
    assert len(await groups.list_all(limit=1)) == 3


async def test_the_list_is_filtered_by_owner_and_by_status(groups: Groups) -> None:
    await groups.change(OTHER, status=1)
    assert [one["chat_id"] for one in await groups.list_all(owner_filter={"userid_list": ["ZHANGSAN"]})] == [
        GROUP
    ]
    assert await groups.list_all(status_filter=1) == [{"chat_id": OTHER, "status": 1}]
    assert await groups.list_all(status_filter=3) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, 40058),
        ({"limit": 0}, 40058),
        ({"limit": 1001}, 40058),
        ({"limit": 10, "status_filter": 4}, 40058),
        ({"limit": 10, "cursor": "nonsense"}, 50100),
        ({"limit": 10, "cursor": "Zm9vOjE="}, 50100),
        ({"limit": 10, "owner_filter": {"userid_list": ["a"] * 101}}, 40058),
        ({"limit": 10, "owner_filter": {"userid_list": ["nobody"]}}, 60111),
    ],
    ids=str,
)
async def test_a_list_that_cannot_be_is_refused(groups: Groups, body: dict[str, Any], errcode: int) -> None:
    assert await groups.code(LIST, **body) == errcode


async def test_too_large_a_range_is_listed_by_owners_only(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_list_range=2))
    assert await groups.code(LIST, limit=10) == 81017
    assert len(await groups.list_all(owner_filter={"userid_list": ["zhangsan", "lisi"]})) == 2


async def test_a_group_shows_its_members_and_how_each_came(groups: Groups) -> None:
    group = await groups.get(need_name=1)
    assert (group["name"], group["owner"], group["notice"]) == ("浦东老客", "ZhangSan", "")
    owner, customer = group["member_list"]
    assert (owner["userid"], owner["type"], owner["join_scene"]) == ("ZhangSan", 1, 1)
    assert "state" not in owner
    assert (customer["userid"], customer["type"], customer["join_scene"]) == ("wm1", 2, 3)
    assert (customer["state"], customer["unionid"], customer["name"]) == ("poster", "u1", "小王")
    assert "name" not in (await groups.get())["member_list"][1]


async def test_a_group_that_is_not_there_is_refused_by_what_it_is(groups: Groups) -> None:
    await groups.declare(chat_id="wr-in", owner="lisi", internal=True)
    assert await groups.code(GET, chat_id="wr-none") == 40050
    assert await groups.code(GET, chat_id="wr-in") == 90501
    await groups.change(OTHER, dismiss=True)
    assert await groups.code(GET, chat_id=OTHER) == 49008
    assert await groups.code(GET) == 40058
    assert [one["chat_id"] for one in await groups.list_all()] == [GROUP]
    await groups.client.post(
        "/sandbox/profile", {"group_unknown_errcode": 40058, "group_internal_errcode": 90509}
    )
    assert await groups.code(GET, chat_id="wr-none") == 40058
    assert await groups.code(GET, chat_id="wr-in") == 90509


async def test_only_owners_in_range_with_permission_have_groups_that_an_app_sees(client: Client) -> None:
    groups = await Groups.of(client)
    await client.post(
        "/sandbox/directory",
        {
            "users": [{"userid": "wangwu", "no_customers": True}],
            "apps": [
                {
                    "agentid": 9,
                    "secret": "s9",
                    "calls_customers": True,
                    "visible": {"users": ["lisi", "wangwu"]},
                }
            ],
        },
    )
    await groups.declare(chat_id="wr3", owner="wangwu")
    groups.token = await client.token("s9")
    assert [one["chat_id"] for one in await groups.list_all()] == [OTHER]
    assert await groups.code(GET, chat_id=GROUP) == 60011
    assert await groups.code(LIST, limit=10, owner_filter={"userid_list": ["zhangsan"]}) == 60011
    assert await groups.code(LIST, limit=10, owner_filter={"userid_list": ["wangwu"]}) == 84074


@pytest.mark.parametrize("secret", ["s1", "kf-s1", "contacts-s1"])
async def test_only_the_customer_contact_secret_opens_customer_contact(groups: Groups, secret: str) -> None:
    groups.token = await groups.client.token(secret)
    assert await groups.code(LIST, limit=10) == 48002


async def test_the_customer_contact_secret_sends_no_app_message_and_opens_no_kf(groups: Groups) -> None:
    assert (await groups.client.send(groups.token))["errcode"] == 48002
    answer = await groups.client.post("/cgi-bin/kf/account/list", {}, access_token=groups.token)
    assert answer["errcode"] == 48002


async def test_a_group_may_lag_behind_what_happened_to_it(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_lag_seconds=2))
    await groups.client.post("/sandbox/clock", {"freeze": True})
    await groups.change(name="新名字", join=[{"external_userid": "wm2", "name": "小李"}])
    late = await groups.get()
    assert (late["name"], len(late["member_list"])) == ("浦东老客", 2)
    await groups.later(2)
    fresh = await groups.get()
    assert (fresh["name"], len(fresh["member_list"])) == ("新名字", 3)
    assert late["member_version"] != fresh["member_version"]


async def test_fifty_thousand_groups_are_made_at_once_and_listed_page_by_page(client: Client) -> None:
    groups = await Groups.of(client)
    made = await groups.declare(count=50_000, prefix="wrx", owners=["lisi", "wangwu"], customers=3)
    assert made == {"made": 50_000, "first": "wrx000001", "last": "wrx050000"}
    rows = await groups.list_all(owner_filter={"userid_list": ["wangwu"]})
    assert len(rows) == 25_000
    assert len((await groups.get("wrx000002"))["member_list"]) == 4
    shown = await client.get("/sandbox/groups", owner="wangwu", limit=1)
    assert (shown["total"], shown["count"], shown["more"]) == (50_002, 1, True)


async def test_an_opengid_leads_to_its_group(groups: Groups) -> None:
    assert (await groups.call("opengid_to_chatid", opengid=f"og-{GROUP}"))["chat_id"] == GROUP
    assert await groups.code("opengid_to_chatid", opengid="og-other") == 90511


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"owner": "nobody"},
        {"owner": "lisi", "chat_id": GROUP},
        {"owner": "lisi", "status": 4},
        {"owner": "lisi", "color": "red"},
        {"owner": "lisi", "members": [{"name": "谁"}]},
        {"owner": "lisi", "members": [{"external_userid": "wm1", "scene": 4}]},
        {"count": 5},
        {"count": 200_001, "owners": ["lisi"]},
    ],
    ids=str,
)
async def test_a_group_that_cannot_be_is_not_declared(groups: Groups, document: dict[str, Any]) -> None:
    assert "error" in await groups.client.post("/sandbox/groups", document)
    assert len(await groups.list_all()) == 2


async def test_a_reset_forgets_groups_unless_they_are_kept(groups: Groups) -> None:
    await groups.client.post("/sandbox/reset", {"keep": ["groups", "tokens"]})
    assert len(await groups.list_all()) == 2
    await groups.client.post("/sandbox/reset", {"keep": ["tokens"]})
    await groups.client.post("/sandbox/directory", DECLARED)
    assert await groups.list_all() == []
