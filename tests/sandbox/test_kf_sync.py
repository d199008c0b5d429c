"""Reading what customers wrote: cursors, pages, tokens, three days."""

from typing import Any

import pytest

from tests.sandbox.conftest import Open
from tests.sandbox.door import App, opened
from tests.sandbox.kf import HOUR, WK, WM, Kf


def _texts(answer: Any) -> list[str]:
    assert answer["errcode"] == 0, answer
    return [item["text"]["content"] for item in answer["msg_list"]]


async def test_a_message_of_a_customer_is_read_with_its_menu_id(kf: Kf) -> None:
    msgid = await kf.writes("是", menu_id="m1")
    (item,) = (await kf.sync())["msg_list"]
    assert item.pop("send_time") > 0
    assert item == {
        "msgid": msgid,
        "open_kfid": WK,
        "external_userid": WM,
        "origin": 3,
        "msgtype": "text",
        "text": {"content": "是", "menu_id": "m1"},
    }


async def test_pages_follow_one_another_by_cursor_and_nothing_comes_twice(kf: Kf) -> None:
    for i in range(5):
        await kf.writes(str(i))
    seen, cursor, more = [], "", 1
    while more:
        page = await kf.sync(cursor=cursor, limit=2)
        seen += _texts(page)
        cursor, more = page["next_cursor"], page["has_more"]
        assert len(cursor.encode()) <= 64
    assert seen == ["0", "1", "2", "3", "4"]
    again = await kf.sync(cursor=cursor)
    assert (again["msg_list"], again["has_more"]) == ([], 0)
    await kf.writes("5")
    assert _texts(await kf.sync(cursor=again["next_cursor"])) == ["5"]


async def test_a_cursor_belongs_to_its_account(kf: Kf) -> None:
    await kf.writes()
    await kf.writes("别处", open_kfid="wk2")
    cursor = (await kf.sync())["next_cursor"]
    assert (await kf.sync(cursor=cursor, open_kfid="wk2"))["errcode"] == 50100
    assert (await kf.sync(cursor="nonsense"))["errcode"] == 50100
    assert (await kf.sync(cursor="x" * 65))["errcode"] == 40058
    assert _texts(await kf.sync(open_kfid="wk2")) == ["别处"]


async def test_a_cursor_outlives_a_reset_and_one_of_an_earlier_run_leads_to_the_start(
    kf: Kf, open_sandbox: Open
) -> None:
    await kf.writes("旧")
    cursor = (await kf.sync())["next_cursor"]
    await kf.client.post("/sandbox/reset", {"keep": ["directory", "tokens"]})
    await kf.writes("新")
    assert _texts(await kf.sync(cursor=cursor)) == ["新"]
    other = await Kf.of(await open_sandbox())
    await other.writes("重启之后")
    assert _texts(await other.sync(cursor=cursor)) == ["重启之后"]


async def test_only_three_days_are_kept(kf: Kf) -> None:
    await kf.writes("早")
    await kf.later(48 * HOUR)
    await kf.writes("晚")
    await kf.later(25 * HOUR)
    assert _texts(await kf.sync()) == ["晚"]


async def test_what_an_app_sends_does_not_come_back_and_what_a_servicer_types_does(kf: Kf) -> None:
    await kf.writes("客")
    await kf.send("机器人")
    await kf.trans(3, servicer_userid="zhangsan")
    await kf.servicer("write", text="人工")
    first, second = (await kf.sync())["msg_list"]
    assert (first["origin"], first["text"]["content"]) == (3, "客")
    assert (second["origin"], second["servicer_userid"]) == (5, "zhangsan")


async def test_pages_may_be_empty_or_short_although_there_is_more(kf: Kf) -> None:
    for i in range(3):
        await kf.writes(str(i))
    await kf.play("sync", open_kfid=WK, empty_pages=2)
    await kf.client.post("/sandbox/profile", {"kf_sync_page": 2})
    cursor, seen, cursors = "", [], set()
    for _ in range(4):
        page = await kf.sync(cursor=cursor)
        cursors.add(page["next_cursor"])
        seen.append((_texts(page), page["has_more"]))
        cursor = page["next_cursor"]
    assert seen == [([], 1), ([], 1), (["0", "1"], 1), (["2"], 0)]
    assert len(cursors) == 4


async def test_a_callback_brings_a_token_that_serves_its_account_for_ten_minutes(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    await kf.writes()
    await kf.deliveries()
    event = opened(app.requests[0])
    token = event["Token"]
    assert len(token.encode()) <= 128
    assert [len(_texts(await kf.sync(token=token))) for _ in range(20)] == [1] * 20
    assert (await kf.sync(token=token, open_kfid="wk2"))["errcode"] == 95007
    assert (await kf.sync(token="made-up"))["errcode"] == 95007
    await kf.later(600)
    assert (await kf.sync(token=token))["errcode"] == 95007
    assert (await kf.sync())["errcode"] == 0


async def test_calls_without_a_token_are_few_a_minute(open_sandbox: Open) -> None:
    kf = await Kf.of(await open_sandbox(kf_tokenless_per_minute=2))
    assert [(await kf.sync())["errcode"] for _ in range(3)] == [0, 0, 45009]
    assert (await kf.sync(open_kfid="wk2"))["errcode"] == 0
    await kf.later(61)
    assert (await kf.sync())["errcode"] == 0


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"limit": 1001}, 40058),
        ({"limit": "5"}, 40058),
        ({"voice_format": 2}, 40058),
        ({"token": "x" * 129}, 40058),
        ({"open_kfid": ""}, 60251),
        ({"open_kfid": "wkwrong"}, 95004),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused(kf: Kf, body: dict[str, Any], errcode: int) -> None:
    assert (await kf.sync(**body))["errcode"] == errcode


async def test_customers_send_anything_and_their_files_can_be_fetched(kf: Kf) -> None:
    spot = {"latitude": 31.2, "longitude": 121.4, "name": "店", "address": "路"}
    pair = {"external_userid": WM, "open_kfid": WK}
    await kf.play("messages", **pair, msgtype="location", location=spot)
    await kf.play("messages", **pair, msgtype="image", image={"base64": "iVBORw0KGgo=", "filename": "a.png"})
    first, second = (await kf.sync())["msg_list"]
    assert (first["msgtype"], first["location"]) == ("location", spot)
    url, query = f"{kf.client.url}/cgi-bin/media/get", {"media_id": second["image"]["media_id"]}
    async with kf.client.session.get(url, params=query | {"access_token": kf.token}) as answer:
        assert await answer.read() == b"\x89PNG\r\n\x1a\n"
