"""Codes that let an app say one thing, and sends that fail after they were accepted."""

from typing import Any

import pytest

from tests.sandbox.kf import HOUR, WK, WM, Kf

MENU = {"msgtype": "msgmenu", "msgmenu": {"head_content": "选", "list": []}}


async def _fails(kf: Kf) -> list[tuple[str, int]]:
    events = [item["event"] for item in (await kf.sync())["msg_list"] if item["msgtype"] == "event"]
    return [(event["fail_msgid"], event["fail_type"]) for event in events]


async def test_entering_tells_the_scene_and_brings_a_welcome_that_serves_once(kf: Kf) -> None:
    code = await kf.enters(scene="table", scene_param="t=5", wechat_channels={"nickname": "店", "scene": 1})
    (item,) = (await kf.sync())["msg_list"]
    event = item["event"]
    assert (event["event_type"], event["scene"], event["scene_param"]) == ("enter_session", "table", "t=5")
    assert (event["wechat_channels"]["nickname"], event["welcome_code"]) == ("店", code)
    answer = await kf.on_event(code, msgid="hi")
    assert (answer["errcode"], answer["msgid"]) == (0, "hi")
    assert [(line["by"], line["content"]["content"]) for line in await kf.phone()] == [
        ("event_reply", "欢迎")
    ]
    assert (await kf.on_event(code))["errcode"] == 40058
    assert (await kf.state())["service_state"] == 4


async def test_a_welcome_is_too_late_after_twenty_seconds(kf: Kf) -> None:
    await kf.client.post("/sandbox/clock", {"freeze": True})
    early, late = await kf.enters(), await kf.enters()
    await kf.later(19)
    assert (await kf.on_event(early, **MENU))["errcode"] == 0
    await kf.later(1)
    assert (await kf.on_event(late))["errcode"] == 40058


async def test_who_was_welcomed_in_48_hours_or_has_written_is_not_welcomed(kf: Kf) -> None:
    await kf.on_event(await kf.enters())
    assert await kf.enters() is None
    assert "welcome_code" not in (await kf.sync())["msg_list"][-1]["event"]
    await kf.later(48 * HOUR)
    assert await kf.enters()
    await kf.writes()
    await kf.later(48 * HOUR)
    assert await kf.enters() is None
    await kf.client.post("/sandbox/profile", {"kf_welcome_once_written": "after_48h"})
    assert await kf.enters()


async def test_the_pool_and_the_servicer_bring_one_code_each_for_a_text(kf: Kf) -> None:
    await kf.writes()
    pool = (await kf.trans(2))["msg_code"]
    assert (await kf.on_event(pool, **MENU))["errcode"] == 40008
    await kf.later(47 * HOUR)
    assert (await kf.on_event(pool))["errcode"] == 0
    human = (await kf.trans(3, servicer_userid="zhangsan"))["msg_code"]
    assert "msg_code" not in await kf.trans(3, servicer_userid="lisi")
    assert (await kf.on_event(human))["errcode"] == 0


async def test_a_code_serves_only_while_the_session_stays_where_it_was_given(kf: Kf) -> None:
    await kf.writes()
    pool = (await kf.trans(2))["msg_code"]
    await kf.servicer("accept")
    assert (await kf.on_event(pool))["errcode"] == 95018


async def test_a_last_word_has_twenty_seconds_and_may_be_a_menu(kf: Kf) -> None:
    await kf.client.post("/sandbox/clock", {"freeze": True})
    await kf.writes()
    await kf.trans(3, servicer_userid="zhangsan")
    code = (await kf.trans(4))["msg_code"]
    assert (await kf.on_event(code, **MENU))["errcode"] == 0
    await kf.writes()
    await kf.trans(3, servicer_userid="zhangsan")
    code = (await kf.servicer("end"))["msg_code"]
    await kf.later(20)
    assert (await kf.on_event(code))["errcode"] == 40058


async def test_what_is_wrong_with_a_reply_does_not_spend_its_code(kf: Kf) -> None:
    code = await kf.enters()
    assert (await kf.on_event(code, text={"content": ""}))["errcode"] == 44004
    assert (await kf.on_event(code, msgid="?"))["errcode"] == 40058
    assert (await kf.on_event(code))["errcode"] == 0


@pytest.mark.parametrize(("counted", "left"), [(False, 5), (True, 4)])
async def test_whether_a_reply_counts_towards_the_five_is_a_setting(kf: Kf, counted: bool, left: int) -> None:
    await kf.client.post("/sandbox/profile", {"kf_event_reply_counted": counted})
    code = await kf.enters()
    await kf.writes()
    assert (await kf.on_event(code))["errcode"] == 0
    assert [(await kf.send())["errcode"] for _ in range(6)].count(0) == left
    session = await kf.session()
    assert (session["accepted"], session["event_replies"]) == (left, 1)


async def test_accepted_sends_fail_later_on_demand(kf: Kf) -> None:
    await kf.writes()
    await kf.play("fail", external_userid=WM, open_kfid=WK, count=2, fail_type=13)
    answers = [await kf.send(msgid=f"m{i}") for i in range(3)]
    assert [answer["errcode"] for answer in answers] == [0, 0, 0]
    assert await _fails(kf) == [("m0", 13), ("m1", 13)]
    assert [line["fail_type"] for line in (await kf.phone())[1:]] == [13, 13, None]
    assert [one["msgid"] for one in await kf.client.arrived(WM)] == ["m2"]
    assert [one["msgid"] for one in await kf.client.arrived(WM, dropped="only")] == ["m0", "m1"]
    assert (await kf.session())["accepted"] == 3


async def test_who_refuses_gets_nothing(kf: Kf) -> None:
    await kf.writes()
    await kf.play(f"customers/{WM}", refuses=True)
    await kf.send(msgid="m1")
    assert await _fails(kf) == [("m1", 10)]
    await kf.play(f"customers/{WM}", refuses=False)
    await kf.send(msgid="m2")
    assert len(await _fails(kf)) == 1


@pytest.mark.parametrize(
    ("path", "document", "words"),
    [
        ("messages", {"external_userid": WM, "open_kfid": WK}, "text"),
        ("messages", {"external_userid": WM, "open_kfid": "wkwrong", "text": "x"}, "no KF account"),
        ("messages", {"external_userid": "wmnobody", "open_kfid": WK, "text": "x"}, "no customer"),
        ("messages", {"external_userid": WM, "open_kfid": WK, "text": "x", "color": "red"}, "color"),
        ("messages", {"external_userid": WM, "open_kfid": WK, "msgtype": "hologram"}, "msgtype"),
        ("enter", {"external_userid": WM, "open_kfid": WK, "scene": 1}, "scene"),
        ("servicer", {"action": "dance"}, "action"),
        ("servicer", {"action": "status", "open_kfid": WK, "userid": "zhangsan", "status": "off"}, "status"),
        ("fail", {"external_userid": WM, "count": 0}, "count"),
        ("customers/wmnobody", {}, "no customer"),
        ("sync", {"open_kfid": WK, "empty_pages": -1}, "empty_pages"),
        ("accounts", {"open_kfid": WK, "authorised": "yes"}, "authorised"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_with_a_reason(
    kf: Kf, path: str, document: dict[str, Any], words: str
) -> None:
    assert words in (await kf.client.post(f"/sandbox/kf/{path}", document))["error"]


async def test_reset_forgets_what_was_said_and_keeps_who_was_declared_if_told_to(kf: Kf) -> None:
    await kf.writes()
    await kf.play("fail", external_userid=WM)
    await kf.client.post("/sandbox/reset", {"keep": ["directory", "tokens"]})
    assert await kf.client.get("/sandbox/kf/sessions") == {"sessions": [], "failing": []}
    assert await kf.phone() == []
    assert (await kf.sync())["msg_list"] == []
    people = (await kf.client.get("/sandbox/directory"))["kf"]
    assert [account["open_kfid"] for account in people["accounts"]] == [WK, "wk2"]
    await kf.client.post("/sandbox/reset")
    assert (await kf.client.get("/sandbox/directory"))["kf"] == {"accounts": [], "customers": []}
