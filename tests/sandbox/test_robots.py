import base64
import hashlib
from typing import Any

import pytest

from tests.sandbox.conftest import Client, Open

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def picture(raw: bytes, md5: str | None = None) -> dict[str, str]:
    digest = md5 or hashlib.md5(raw, usedforsecurity=False).hexdigest()
    return {"base64": base64.b64encode(raw).decode(), "md5": digest}


async def test_a_robot_message_arrives_in_its_group_with_its_mentions(client: Client) -> None:
    declared = {
        "users": [{"userid": "lisi", "mobile": "13800000000"}],
        "robots": [{"key": "k1", "group": "前厅群"}],
    }
    await client.post("/sandbox/directory", declared)
    text = {"content": "来了 <@wangwu>", "mentioned_list": ["@all"], "mentioned_mobile_list": ["13800000000"]}
    assert await client.robot("k1", text=text) == {"errcode": 0, "errmsg": "ok"}
    (arrived,) = await client.arrived("前厅群")
    assert arrived["mentions"] == ["@all", "lisi", "wangwu"]
    assert await client.arrived("k1") == [arrived]


@pytest.mark.parametrize(
    ("key", "errcode"), [("wrong-key", 93000), ("", 93000), ("disabled-robot", 93004), ("any", 0)]
)
async def test_the_key_decides(client: Client, key: str, errcode: int) -> None:
    assert (await client.robot(key))["errcode"] == errcode


async def test_the_twenty_first_message_in_a_minute_is_refused(client: Client) -> None:
    await client.post("/sandbox/clock", {"freeze": True})
    assert [(await client.robot("a"))["errcode"] for _ in range(21)] == [0] * 20 + [45009]
    assert (await client.robot("b"))["errcode"] == 0
    await client.post("/sandbox/clock", {"advance_seconds": 60})
    assert (await client.robot("a"))["errcode"] == 0
    assert len(await client.arrived("a")) == 21


@pytest.mark.parametrize(("window", "errcode"), [("sliding", 45009), ("fixed", 0)])
async def test_the_window_slides_or_is_fixed(open_sandbox: Open, window: str, errcode: int) -> None:
    client = await open_sandbox(rate_window=window)
    await client.post("/sandbox/clock", {"set": "2026-01-01T00:00:50Z", "freeze": True})
    for _ in range(20):
        await client.robot("a")
    await client.post("/sandbox/clock", {"set": "2026-01-01T00:01:05Z"})
    assert (await client.robot("a"))["errcode"] == errcode


@pytest.mark.parametrize(
    ("msgtype", "body", "errcode"),
    [
        ("text", {"content": "汉" * 683}, 40058),
        ("text", {"content": ""}, 44004),
        ("text", {"content": "a", "mentioned_list": "lisi"}, 40058),
        ("markdown", {"content": "a" * 4096}, 0),
        ("markdown", {"content": "a" * 4097}, 40058),
        ("markdown_v2", {"content": "a" * 4096}, 0),
        ("markdown_v2", {"content": "a" * 4097}, 40058),
        ("image", picture(PNG), 0),
        ("image", picture(PNG, "0" * 32), 301019),
        ("image", picture(PNG + bytes(2 * 1024 * 1024)), 40009),
        ("image", {"base64": "*", "md5": "x"}, 40058),
        ("news", {"articles": [{"title": "a", "url": "https://e.com"}]}, 0),
        ("news", {"articles": [{"title": "a"}]}, 40058),
        ("file", {"media_id": "no"}, 40007),
        ("textcard", {"title": "a"}, 40008),
        ("template_card", {"card_type": "vote_interaction"}, 40058),
    ],
)
async def test_each_type_keeps_its_limits(client: Client, msgtype: str, body: Any, errcode: int) -> None:
    answer = await client.robot(msgtype=msgtype, **{msgtype: body})
    assert answer["errcode"] == errcode, answer


async def test_the_text_limit_is_a_setting_and_is_named(open_sandbox: Open) -> None:
    client = await open_sandbox(robot_text_max_bytes=5120)
    assert (await client.robot(text={"content": "a" * 5120}))["errcode"] == 0
    answer = await client.robot(text={"content": "a" * 5121})
    assert answer["errmsg"].startswith("text.content exceed max length 5120. invalid Request Parameter")


async def test_mentions_do_not_work_in_markdown_v2(client: Client) -> None:
    await client.robot(msgtype="markdown", markdown={"content": "<@lisi>"})
    await client.robot(msgtype="markdown_v2", markdown_v2={"content": "<@lisi>"})
    assert [message["mentions"] for message in await client.arrived("k1")] == [["lisi"], []]


async def test_an_upload_is_for_its_own_robot_only(client: Client) -> None:
    upload = await client.upload(
        "/cgi-bin/webhook/upload_media", b"a long file", "表.txt", key="a", type="file"
    )
    file = {"media_id": upload["media_id"]}
    assert (await client.robot("a", msgtype="file", file=file))["errcode"] == 0
    assert (await client.robot("b", msgtype="file", file=file))["errcode"] == 40007
    refused = await client.upload("/cgi-bin/webhook/upload_media", PNG, key="a", type="image")
    assert refused["errcode"] == 40005
