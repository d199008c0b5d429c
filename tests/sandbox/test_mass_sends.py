"""Mass sends to groups: what a task says, who carries it out, and what the platform tells of it."""

from typing import Any

import pytest

from tests.sandbox.conftest import Client, Open
from tests.sandbox.groups import GROUP, OTHER, Groups, mass_send

ADD, REMIND, CANCEL = "add_msg_template", "remind_groupmsg_send", "cancel_groupmsg_send"
TASK, RESULT = "get_groupmsg_task", "get_groupmsg_send_result"
DAY = 86_400


async def confirm(groups: Groups, userid: str = "zhangsan", **more: Any) -> Any:
    return await groups.play(f"owners/{userid}/confirm", **more)


async def behave(groups: Groups, behaviour: str, userid: str = "zhangsan", **more: Any) -> Any:
    return await groups.play(f"owners/{userid}/behaviour", behaviour=behaviour, **more)


async def sender_of(groups: Groups, msgid: str) -> Any:
    answer = await groups.call(TASK, msgid=msgid)
    (row,) = answer["task_list"]
    return row


async def results(groups: Groups, msgid: str, userid: str = "zhangsan", **more: Any) -> Any:
    return (await groups.call(RESULT, msgid=msgid, userid=userid, **more))["send_list"]


async def truth(groups: Groups, **query: Any) -> list[Any]:
    return list((await groups.client.get("/sandbox/mass-sends", **query))["mass_sends"])


async def test_nothing_arrives_until_the_owner_presses_send(groups: Groups) -> None:
    msgid = await mass_send(groups)
    assert await groups.client.arrived(GROUP) == []
    assert await sender_of(groups, msgid) == {"userid": "ZhangSan", "status": 0}
    assert await results(groups, msgid) == []
    await confirm(groups)
    (arrived,) = await groups.client.arrived(GROUP)
    assert (arrived["kind"], arrived["name"], arrived["sender"]) == ("group", "浦东老客", "张三")
    assert (arrived["msgid"], arrived["content"]["text"]) == (msgid, "周五上新")


async def test_a_sent_task_has_status_2_and_a_sent_group_status_1(groups: Groups) -> None:
    msgid = await mass_send(groups)
    await confirm(groups, msgid=msgid)
    sender = await sender_of(groups, msgid)
    assert (sender["status"], sender["send_time"] > 0) == (2, True)
    (row,) = await results(groups, msgid)
    assert (row["chat_id"], row["userid"], row["status"]) == (GROUP, "ZhangSan", 1)
    assert row["send_time"] == sender["send_time"]


async def test_a_group_that_was_not_sent_to_is_not_listed(groups: Groups) -> None:
    await groups.declare(chat_id="wr3", owner="zhangsan")
    msgid = await mass_send(groups, chat_id_list=[GROUP, "wr3"])
    await confirm(groups, msgid=msgid, chat_ids=["wr3"])
    assert [row["chat_id"] for row in await results(groups, msgid)] == ["wr3"]
    (shown,) = await truth(groups)
    assert [(one["chat_id"], one["outcome"]) for one in shown["outcomes"]] == [
        (GROUP, "unsent"),
        ("wr3", "sent"),
    ]
    await confirm(groups, msgid=msgid)
    assert [row["chat_id"] for row in await results(groups, msgid)] == ["wr3", GROUP]
    assert "error" in await groups.client.post(
        "/sandbox/owners/zhangsan/confirm", {"msgid": msgid, "chat_ids": ["wr3"]}
    )


async def test_a_group_that_is_gone_or_somebody_elses_by_then_is_passed_over(groups: Groups) -> None:
    for chat_id in ("wr3", "wr4"):
        await groups.declare(chat_id=chat_id, owner="zhangsan")
    msgid = await mass_send(groups, chat_id_list=[GROUP, "wr3", "wr4"])
    await groups.change("wr3", dismiss=True)
    await groups.change("wr4", owner="lisi")
    await confirm(groups)
    assert [row["chat_id"] for row in await results(groups, msgid)] == [GROUP]
    (shown,) = await truth(groups, chat_id="wr4")
    assert [one["outcome"] for one in shown["outcomes"]] == ["sent", "gone", "not_owner"]


async def test_groups_that_cannot_be_served_are_named_and_the_rest_is_made(groups: Groups) -> None:
    answer = await groups.call(
        ADD,
        chat_type="group",
        sender="zhangsan",
        chat_id_list=[GROUP, OTHER, "wr-none"],
        text={"content": "你好"},
    )
    assert (answer["errcode"], answer["fail_list"]) == (0, [OTHER, "wr-none"])
    (shown,) = await truth(groups, msgid=answer["msgid"])
    assert (shown["chat_ids"], shown["fail_list"]) == ([GROUP], [OTHER, "wr-none"])
    assert await mass_send_code(groups, chat_id_list=[OTHER]) == 41048
    await groups.client.post("/sandbox/profile", {"mass_send_unserved": "silent"})
    answer = await groups.call(
        ADD,
        chat_type="group",
        sender="zhangsan",
        chat_id_list=[GROUP, OTHER],
        text={"content": "你好"},
    )
    assert answer["fail_list"] == []


async def test_without_groups_the_owner_picks_them(groups: Groups) -> None:
    await groups.declare(chat_id="wr3", owner="zhangsan")
    msgid = await mass_send(groups, chat_id_list=None)
    await confirm(groups, msgid=msgid, chat_ids=["wr3"])
    assert [row["chat_id"] for row in await results(groups, msgid)] == ["wr3"]
    await confirm(groups, msgid=msgid)
    assert {row["chat_id"] for row in await results(groups, msgid)} == {GROUP, "wr3"}


async def mass_send_code(groups: Groups, **more: Any) -> int:
    body = {"chat_type": "group", "sender": "zhangsan", "text": {"content": "你好"}} | more
    return await groups.code(ADD, **body)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"sender": None}, 40058),
        ({"sender": "nobody"}, 60111),
        ({"chat_type": "both"}, 40058),
        ({"chat_type": "single"}, 41048),
        ({"chat_id_list": ["wr1"] * 2001}, 40058),
        ({"text": None}, 44004),
        ({"text": {"content": ""}, "attachments": []}, 41088),
        ({"text": {"content": "长" * 1334}}, 40058),
        ({"attachments": [{"msgtype": "link"}] * 10}, 41064),
        ({"attachments": [{"msgtype": "voice", "voice": {}}]}, 41065),
        ({"attachments": [{"msgtype": "image"}]}, 40058),
        ({"attachments": [{"msgtype": "image", "image": {}}]}, 41006),
        ({"attachments": [{"msgtype": "image", "image": {"media_id": "m-none"}}]}, 40007),
        ({"attachments": [{"msgtype": "image", "image": {"pic_url": "https://example.com/a.png"}}]}, 40058),
        ({"attachments": [{"msgtype": "link", "link": {"title": "t"}}]}, 40058),
        ({"attachments": [{"msgtype": "link", "link": {"title": "题" * 43, "url": "https://x"}}]}, 40058),
        ({"attachments": "none"}, 40058),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_mass_send_that_cannot_be_is_refused_and_prompts_nobody(
    groups: Groups, body: dict[str, Any], errcode: int
) -> None:
    assert await mass_send_code(groups, **body) == errcode
    assert await truth(groups) == []


async def test_a_sender_out_of_range_or_without_permission_is_refused(groups: Groups, client: Client) -> None:
    await client.post(
        "/sandbox/directory",
        {
            "users": [{"userid": "wangwu", "no_customers": True}],
            "apps": [
                {"agentid": 9, "secret": "s9", "calls_customers": True, "visible": {"users": ["wangwu"]}}
            ],
        },
    )
    groups.token = await client.token("s9")
    assert await mass_send_code(groups) == 60011
    assert await mass_send_code(groups, sender="wangwu") == 84074


@pytest.mark.parametrize("secret", ["s1", "kf-s1", "contacts-s1"])
async def test_only_the_customer_contact_secret_makes_mass_sends(groups: Groups, secret: str) -> None:
    groups.token = await groups.client.token(secret)
    assert await mass_send_code(groups) == 48002


async def test_pictures_by_upload_and_by_address_arrive_with_the_text(groups: Groups) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
    upload = groups.client.upload
    media = await upload("/cgi-bin/media/upload", png, access_token=groups.token, type="image")
    image = await upload("/cgi-bin/media/uploadimg", png, access_token=groups.token)
    link = {"title": "新品", "url": "https://m.example.com/1", "desc": "", "picurl": ""}
    mini = {"title": "下单", "pic_media_id": media["media_id"], "appid": "wx1", "page": "p"}
    attachments = [
        {"msgtype": "image", "image": {"media_id": media["media_id"], "pic_url": "https://ignored"}},
        {"msgtype": "image", "image": {"pic_url": image["url"]}},
        {"msgtype": "link", "link": link},
        {"msgtype": "miniprogram", "miniprogram": mini},
    ]
    await mass_send(groups, attachments=attachments)
    await confirm(groups)
    (arrived,) = await groups.client.arrived(GROUP)
    first, *rest = arrived["content"]["attachments"]
    assert first == {"msgtype": "image", "image": {"media_id": media["media_id"]}}
    assert rest == attachments[1:]


async def test_reminders_end_after_three_in_a_day(groups: Groups) -> None:
    msgid = await mass_send(groups)
    assert [await groups.code(REMIND, msgid=msgid) for _ in range(4)] == [0, 0, 0, 41094]
    await groups.later(DAY + 1)
    assert await groups.code(REMIND, msgid=msgid) == 0
    (shown,) = await truth(groups)
    assert len(shown["reminded_at"]) == 4


async def test_a_cancelled_task_is_never_sent_and_what_was_sent_stays(groups: Groups) -> None:
    await groups.declare(chat_id="wr3", owner="zhangsan")
    msgid = await mass_send(groups, chat_id_list=[GROUP, "wr3"])
    await confirm(groups, msgid=msgid, chat_ids=[GROUP])
    assert await groups.code(CANCEL, msgid=msgid) == 0
    assert "error" in await groups.client.post("/sandbox/owners/zhangsan/confirm", {"msgid": msgid})
    assert len(await groups.client.arrived(GROUP)) == 1
    for call in (CANCEL, REMIND, TASK, RESULT):
        assert await groups.code(call, msgid=msgid, userid="zhangsan") == 41093
    await groups.client.post("/sandbox/profile", {"mass_send_cancelled": "answered"})
    assert [row["chat_id"] for row in await results(groups, msgid)] == [GROUP]


async def test_a_msgid_that_is_missing_or_unknown_is_refused(groups: Groups) -> None:
    for call in (CANCEL, REMIND, TASK, RESULT):
        assert await groups.code(call, userid="zhangsan") == 41046
        assert await groups.code(call, userid="zhangsan", msgid="msg-none") == 41047


async def test_a_fresh_task_may_not_be_asked_after_for_some_seconds(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(mass_send_dispatch_seconds=5))
    msgid = await mass_send(groups)
    for call in (TASK, RESULT):
        assert await groups.code(call, msgid=msgid, userid="zhangsan") == 41063
    await groups.later(5)
    assert (await sender_of(groups, msgid))["status"] == 0


async def test_results_come_in_pages_and_a_limit_too_large_is_the_default(client: Client) -> None:
    groups = await Groups.of(client)
    await groups.declare(count=600, prefix="wrx", owners=["wangwu"])
    chat_ids = [f"wrx{index:06d}" for index in range(1, 601)]
    msgid = await mass_send(groups, sender="wangwu", chat_id_list=chat_ids)
    await confirm(groups, "wangwu")
    for limit in (None, 0, 1001):
        first = await groups.call(RESULT, msgid=msgid, userid="wangwu", limit=limit)
        assert len(first["send_list"]) == 500
    rest = await groups.call(RESULT, msgid=msgid, userid="wangwu", cursor=first["next_cursor"])
    found = [row["chat_id"] for row in first["send_list"] + rest["send_list"]]
    assert (found, rest["next_cursor"]) == (chat_ids, "")
    assert len(await results(groups, msgid, "wangwu", limit=1000)) == 600
    other = await mass_send(groups)
    assert await groups.code(RESULT, msgid=other, userid="zhangsan", cursor=first["next_cursor"]) == 50100


async def test_a_task_exists_although_the_call_that_made_it_failed(groups: Groups) -> None:
    path = "/cgi-bin/externalcontact/add_msg_template"
    await groups.play("faults", path=path, errcode=-1, accepted=True, to="zhangsan", count=1)
    assert await mass_send_code(groups, chat_id_list=[GROUP]) == -1
    (shown,) = await truth(groups)
    assert (shown["state"], shown["chat_ids"]) == ("waiting", [GROUP])
    await groups.play("faults", path=path, errcode=-1, to=GROUP, count=1)
    assert await mass_send_code(groups, chat_id_list=[GROUP]) == -1
    assert len(await truth(groups)) == 1
