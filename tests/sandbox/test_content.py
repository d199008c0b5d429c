from typing import Any

import pytest

from tests.sandbox.conftest import Client

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
CARD: dict[str, Any] = {
    "card_type": "text_notice",
    "main_title": {"title": "订单"},
    "card_action": {"type": 1, "url": "https://example.com"},
}
BUTTONS: dict[str, Any] = {
    "card_type": "button_interaction",
    "main_title": {"title": "处理"},
    "task_id": "t-1",
    "button_list": [{"text": "好", "key": "k"}],
}
TEXTCARD: dict[str, Any] = {"title": "标题", "description": "说明", "url": "https://example.com"}
NOTE: dict[str, Any] = {"appid": "wx1", "title": "预订成功", "content_item": [{"key": "人数", "value": "6"}]}


async def test_a_textcard_is_cut_where_documented(client: Client) -> None:
    card = {"title": "题" * 60, "description": "d" * 600, "url": "https://e.com", "btntxt": "查看全部详情"}
    assert (await client.send(await client.token(), msgtype="textcard", textcard=card))["errcode"] == 0
    content = (await client.arrived("zhangsan"))[0]["content"]
    assert (content["title"], len(content["description"]), content["btntxt"]) == ("题" * 42, 512, "查看全部")


@pytest.mark.parametrize(
    ("msgtype", "body", "errcode"),
    [
        ("textcard", TEXTCARD | {"title": ""}, 41016),
        ("textcard", TEXTCARD | {"description": ""}, 41033),
        ("textcard", TEXTCARD | {"url": ""}, 40058),
        ("textcard", TEXTCARD | {"url": "example.com"}, 45034),
        ("textcard", TEXTCARD | {"url": "https://" + "e" * 2048}, 40058),
        ("news", {"articles": []}, 40058),
        ("news", {"articles": [{"title": "a"}]}, 40058),
        ("news", {"articles": [{"title": "a", "url": "https://e.com"}] * 9}, 45008),
        ("news", {"articles": [{"title": "a", "appid": "wx", "pagepath": "p"}]}, 0),
        ("mpnews", {"articles": [{"title": "a"}]}, 41006),
        ("image", {}, 41006),
        ("image", {"media_id": "no"}, 40007),
        ("miniprogram_notice", NOTE, 0),
        ("miniprogram_notice", NOTE | {"appid": ""}, 90200),
        ("miniprogram_notice", NOTE | {"title": "短"}, 40058),
        ("miniprogram_notice", NOTE | {"content_item": [{"key": "k", "value": "v"}] * 11}, 90201),
        ("miniprogram_notice", NOTE | {"content_item": [{"key": "键" * 11, "value": "v"}]}, 90202),
        ("miniprogram_notice", NOTE | {"content_item": [{"key": "k", "value": "值" * 31}]}, 90203),
        ("template_card", CARD, 0),
        ("template_card", CARD | {"card_type": "odd"}, 40058),
        ("template_card", CARD | {"card_action": None}, 40058),
        ("template_card", CARD | {"main_title": {"title": "题" * 37}}, 40058),
        ("template_card", CARD | {"main_title": None}, 40058),
        ("template_card", CARD | {"horizontal_content_list": [{"keyname": "k"}] * 7}, 40058),
        ("template_card", CARD | {"action_menu": {"action_list": [{"text": "a", "key": "b"}]}}, 40058),
        ("template_card", CARD | {"card_type": "news_notice"}, 40058),
        ("template_card", CARD | {"card_type": "news_notice", "card_image": {"url": "https://e.com/i"}}, 0),
        ("template_card", BUTTONS, 0),
        ("template_card", BUTTONS | {"task_id": ""}, 40058),
        ("template_card", BUTTONS | {"button_list": [{"text": "好", "key": "k"}] * 7}, 40058),
        ("template_card", BUTTONS | {"card_type": "vote_interaction"}, 40058),
        ("template_card", BUTTONS | {"card_type": "multiple_interaction"}, 40058),
    ],
)
async def test_each_type_keeps_its_limits(client: Client, msgtype: str, body: Any, errcode: int) -> None:
    answer = await client.send(await client.token(), msgtype=msgtype, **{msgtype: body})
    assert answer["errcode"] == errcode, answer


async def test_only_an_interactive_card_gets_a_response_code(client: Client) -> None:
    token = await client.token()
    assert "response_code" not in await client.send(token, msgtype="template_card", template_card=CARD)
    assert (await client.send(token, msgtype="template_card", template_card=BUTTONS))["response_code"]


async def test_news_cannot_be_confidential(client: Client) -> None:
    news = {"articles": [{"title": "a", "url": "https://e.com"}]}
    assert (await client.send(await client.token(), msgtype="news", news=news, safe=1))["errcode"] == 40074


async def test_an_uploaded_picture_can_be_sent_by_the_same_corp_for_three_days(client: Client) -> None:
    token = await client.token()
    upload = await client.upload("/cgi-bin/media/upload", PNG, "照片.png", access_token=token, type="image")
    assert (upload["errmsg"], upload["type"], upload["created_at"].isdecimal()) == ("", "image", True)
    image = {"media_id": upload["media_id"]}
    assert (await client.send(token, msgtype="image", image=image))["errcode"] == 0
    assert (await client.arrived("zhangsan"))[0]["content"]["filename"] == "照片.png"
    assert (await client.send(token, msgtype="file", file=image))["errcode"] == 40007
    foreign = await client.token("s3", corp="ww-other")
    assert (await client.send(foreign, msgtype="image", image=image))["errcode"] == 40007
    await client.post("/sandbox/clock", {"advance_seconds": 3 * 86_400 + 1})
    assert (await client.send(await client.token(), msgtype="image", image=image))["errcode"] == 40007


async def test_media_get_gives_the_bytes_back_or_a_code(client: Client) -> None:
    token = await client.token()
    media_id = (await client.upload("/cgi-bin/media/upload", PNG, access_token=token, type="file"))[
        "media_id"
    ]
    path = f"{client.url}/cgi-bin/media/get"
    async with client.session.get(path, params={"access_token": token, "media_id": media_id}) as answer:
        assert await answer.read() == PNG
        assert answer.content_type == "image/png"
    assert (await client.get("/cgi-bin/media/get", access_token=token, media_id="no"))["errcode"] == 40007


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("sticker", PNG, 40005),
        ("image", b"", 44001),
        ("image", b"12345", 40006),
        ("image", b"not a picture", 40004),
        ("voice", PNG, 40004),
        ("voice", b"#!AMR\n" + b"\x04" * 13 * 3000, 0),
        ("voice", b"#!AMR\n" + b"\x04" * 13 * 3001, 45007),
        ("voice", b"#!AMR\n" + b"\x04" * (2 * 1024 * 1024), 45001),
        ("video", b"\0\0\0\x18ftypmp42", 0),
        ("file", b"123456", 0),
    ],
    ids=["type", "empty", "tiny", "image", "not-amr", "60s", "over-60s", "over-2MB", "video", "file"],
)
async def test_uploads_keep_the_limits_of_their_type(
    client: Client, kind: str, content: bytes, errcode: int
) -> None:
    token = await client.token()
    answer = await client.upload("/cgi-bin/media/upload", content, access_token=token, type=kind)
    assert answer["errcode"] == errcode


async def test_an_upload_without_its_part_is_refused(client: Client) -> None:
    token = await client.token()
    answer = await client.post("/cgi-bin/media/upload", b"raw", access_token=token, type="file")
    assert answer["errcode"] == 40058


async def test_a_permanent_picture_gets_an_address(client: Client) -> None:
    token = await client.token()
    path = "/cgi-bin/media/uploadimg"
    assert (await client.upload(path, PNG, access_token=token))["url"].startswith("https://")
    assert (await client.upload(path, b"no picture", access_token=token))["errcode"] == 40123
    assert (await client.upload(path, PNG + bytes(2 * 1024 * 1024), access_token=token))["errcode"] == 40009
