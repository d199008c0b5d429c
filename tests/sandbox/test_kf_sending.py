"""What an app may say to a customer, how often and until when."""

from typing import Any

import aiohttp
import pytest

from tests.sandbox.conftest import Client, Open
from tests.sandbox.kf import HOUR, WK, WM, Kf


async def _errcodes(kf: Kf, count: int) -> list[int]:
    return [(await kf.send())["errcode"] for _ in range(count)]


async def test_a_customer_who_never_wrote_cannot_be_written_to(kf: Kf) -> None:
    assert await _errcodes(kf, 1) == [95018]


async def test_five_messages_follow_each_message_of_the_customer(kf: Kf) -> None:
    await kf.writes()
    assert await _errcodes(kf, 7) == [0] * 5 + [95001] * 2
    await kf.writes("还在吗")
    assert await _errcodes(kf, 6) == [0] * 5 + [95001]


async def test_the_window_closes_48_hours_after_the_last_message_of_the_customer(kf: Kf) -> None:
    await kf.client.post("/sandbox/clock", {"freeze": True})
    await kf.writes()
    await kf.later(48 * HOUR - 1)
    assert await _errcodes(kf, 1) == [0]
    await kf.later(1)
    assert await _errcodes(kf, 1) == [95002]
    assert (await kf.state())["service_state"] == 4
    await kf.client.post("/sandbox/profile", {"kf_after_window_errcode": 95018})
    assert await _errcodes(kf, 1) == [95018]
    await kf.writes()
    assert await _errcodes(kf, 1) == [0]


async def test_a_reply_takes_an_untreated_customer_to_the_assistant(kf: Kf) -> None:
    await kf.writes()
    assert (await kf.state())["service_state"] == 0
    await kf.send()
    assert (await kf.state())["service_state"] == 1


async def test_only_the_untreated_and_the_assistants_can_be_written_to(kf: Kf) -> None:
    await kf.writes()
    await kf.trans(2)
    assert await _errcodes(kf, 1) == [95018]
    await kf.trans(3, servicer_userid="zhangsan")
    assert await _errcodes(kf, 1) == [95018]
    await kf.trans(4)
    assert await _errcodes(kf, 1) == [95018]


async def test_the_sandbox_counts_for_itself_what_it_took_and_the_most_there_ever_was(kf: Kf) -> None:
    await kf.writes()
    await _errcodes(kf, 7)
    await kf.writes()
    await _errcodes(kf, 2)
    session = await kf.session()
    assert (session["accepted"], session["accepted_most"], session["customer_messages"]) == (2, 5, 2)
    assert session["window_ends_at"] > session["customer_wrote_at"]


async def test_the_count_tells_what_a_platform_without_the_limit_would_have_taken(open_sandbox: Open) -> None:
    kf = await Kf.of(await open_sandbox(kf_messages_per_window=0))
    await kf.writes()
    assert await _errcodes(kf, 9) == [0] * 9
    assert (await kf.session())["accepted_most"] == 9


async def test_a_msgid_is_taken_once_per_account(kf: Kf) -> None:
    await kf.writes()
    await kf.writes(open_kfid="wk2")
    assert (await kf.send(msgid="mine-1"))["msgid"] == "mine-1"
    assert (await kf.send(msgid="mine-1"))["errcode"] == 40058
    assert (await kf.send(msgid="mine-1", open_kfid="wk2"))["errcode"] == 0
    assert len(await kf.client.arrived(WM)) == 2


async def test_a_repeated_msgid_is_answered_as_the_profile_says_and_never_sends_again(kf: Kf) -> None:
    await kf.writes()
    await kf.send(msgid="mine-1")
    await kf.client.post("/sandbox/profile", {"kf_duplicate_msgid_errcode": 0})
    assert (await kf.send(msgid="mine-1")) == {"errcode": 0, "errmsg": "ok", "msgid": "mine-1"}
    assert (await kf.session())["accepted"] == 1


@pytest.mark.parametrize("msgid", ["a" * 33, "with space", "中"])
async def test_a_msgid_has_at_most_32_plain_characters(kf: Kf, msgid: str) -> None:
    await kf.writes()
    assert (await kf.send(msgid=msgid))["errcode"] == 40058


async def test_a_refused_send_does_not_use_up_its_msgid(kf: Kf) -> None:
    assert (await kf.send(msgid="mine-1"))["errcode"] == 95018
    await kf.writes()
    assert (await kf.send(msgid="mine-1"))["errcode"] == 0


@pytest.mark.parametrize(
    ("msgtype", "content"),
    [
        ("location", {"name": "店", "address": "路", "latitude": 31.2, "longitude": 121.4}),
        ("ca_link", {"link_url": "https://work.weixin.qq.com/ca/x"}),
        ("business_card", {"userid": "zhangsan"}),
        (
            "msgmenu",
            {
                "head_content": "满意吗？",
                "list": [
                    {"type": "click", "click": {"id": "1", "content": "满意"}},
                    {"type": "view", "view": {"url": "https://x.example", "content": "看"}},
                    {
                        "type": "miniprogram",
                        "miniprogram": {"appid": "wx1", "pagepath": "p", "content": "进"},
                    },
                    {"type": "text", "text": {"content": "谢谢", "no_newline": 1}},
                ],
                "tail_content": "再见",
            },
        ),
    ],
)
async def test_what_is_sent_arrives_as_it_was(kf: Kf, msgtype: str, content: dict[str, Any]) -> None:
    await kf.writes()
    assert (await kf.send(msgtype=msgtype, **{msgtype: content}))["errcode"] == 0
    (arrived,) = await kf.client.arrived(WM)
    assert (arrived["kind"], arrived["name"], arrived["sender"]) == ("customer", "小王", "门店客服")
    assert (arrived["msgtype"], arrived["content"]) == (msgtype, content)


async def test_files_are_uploaded_with_the_kf_token_and_sent_by_their_id(kf: Kf) -> None:
    await kf.writes()
    image = await kf.image()
    assert (await kf.send(msgtype="image", image={"media_id": image}))["errcode"] == 0
    link = {"title": "菜单", "desc": "今日" * 200, "url": "https://x.example", "thumb_media_id": image}
    assert (await kf.send(msgtype="link", link=link))["errcode"] == 0
    page = {"appid": "wx1", "title": "点单", "pagepath": "pages/a.html?x=1", "thumb_media_id": image}
    assert (await kf.send(msgtype="miniprogram", miniprogram=page))["errcode"] == 0
    shown = [line["content"] for line in await kf.phone() if line["direction"] == "out"]
    assert len(shown[1]["desc"].encode()) <= 512
    assert (await kf.send(msgtype="voice", voice={"media_id": image}))["errcode"] == 40007


def _menu(*items: dict[str, Any]) -> dict[str, Any]:
    return {"msgtype": "msgmenu", "msgmenu": {"head_content": "选", "list": list(items)}}


CLICK = {"type": "click", "click": {"id": "1", "content": "是"}}
TEXT = {"type": "text", "text": {"content": "或"}}


@pytest.mark.parametrize(
    ("message", "errcode"),
    [
        ({"msgtype": "markdown"}, 40008),
        ({"text": {"content": ""}}, 44004),
        ({"touser": ""}, 40058),
        ({"touser": "wmwrong"}, 40096),
        ({"open_kfid": "wkwrong"}, 95004),
        ({"open_kfid": "a b"}, 95000),
        ({"open_kfid": None}, 60251),
        (_menu(*[CLICK] * 11), 95008),
        (_menu({"type": "hover", "hover": {}}), 95009),
        (_menu({"type": "click", "click": {"id": "x" * 129, "content": "是"}}), 40058),
        (_menu({"type": "text", "text": {"content": "长" * 86}}), 40058),
        ({"msgtype": "link", "link": {"title": "长" * 43, "url": "https://x"}}, 40058),
        ({"msgtype": "location", "location": {"latitude": "31", "longitude": 121}}, 40058),
        ({"msgtype": "image", "image": {}}, 41006),
    ],
    ids=str,
)
async def test_what_is_wrong_is_refused_and_costs_nothing(
    kf: Kf, message: dict[str, Any], errcode: int
) -> None:
    await kf.writes()
    assert (await kf.send(**message))["errcode"] == errcode
    assert (await kf.session())["accepted"] == 0


async def test_text_is_cut_at_2048_bytes_or_refused(kf: Kf) -> None:
    await kf.writes()
    await kf.send("好" * 700)
    assert (await kf.phone())[-1]["content"]["content"] == "好" * 682
    await kf.client.post("/sandbox/profile", {"kf_text_overlong": "refuse"})
    assert (await kf.send("好" * 700))["errcode"] == 40058


async def test_menus_have_ten_items_or_fifty_of_which_ten_can_be_tapped(kf: Kf) -> None:
    await kf.writes()
    assert (await kf.send(**_menu(*[CLICK] * 10)))["errcode"] == 0
    await kf.client.post("/sandbox/profile", {"kf_menu_items": 50})
    assert (await kf.send(**_menu(*[CLICK] * 10, *[TEXT] * 40)))["errcode"] == 0
    assert (await kf.send(**_menu(*[CLICK] * 11)))["errcode"] == 95008
    assert (await kf.send(**_menu(*[TEXT] * 51)))["errcode"] == 95008


async def test_other_secrets_may_not_call_kf_unless_the_admin_let_the_app(client: Client, kf: Kf) -> None:
    apps = [{"agentid": 7, "secret": "s7", "calls_kf": True}]
    await client.post("/sandbox/directory", {"apps": apps})
    for secret, errcode in (("s1", 48002), ("contacts", 48002), ("s7", 0), ("kf-undeclared", 0)):
        token = await client.token(secret)
        answer = await client.post("/cgi-bin/kf/account/list", {}, access_token=token)
        assert answer["errcode"] == errcode, secret
    assert (await client.send(kf.token))["errcode"] == 48002


async def test_a_fault_finds_a_send_by_its_customer_and_it_may_arrive_unanswered(kf: Kf) -> None:
    await kf.writes()
    await kf.writes(external_userid="wm2")
    rule = {"path": "/cgi-bin/kf/*", "to": WM, "errcode": -1, "accepted": True, "count": 1}
    await kf.client.post("/sandbox/faults", rule)
    assert (await kf.send(touser="wm2"))["errcode"] == 0
    assert (await kf.send(msgid="once"))["errcode"] == -1
    assert (await kf.send(msgid="once"))["errcode"] == 40058
    assert len(await kf.client.arrived(WM)) == 1
    await kf.client.post("/sandbox/faults", rule | {"accepted": False})
    assert (await kf.state())["errcode"] == -1


async def test_a_send_may_arrive_and_its_answer_be_lost(kf: Kf) -> None:
    await kf.writes()
    rule = {"path": "/cgi-bin/kf/send_msg", "to": WM, "drop": "after-accept", "count": 1}
    await kf.client.post("/sandbox/faults", rule)
    with pytest.raises(aiohttp.ClientError):
        await kf.send(msgid="once")
    assert (await kf.session())["accepted"] == 1
    assert (await kf.send(msgid="once"))["errcode"] == 40058
    assert [one["msgid"] for one in await kf.client.arrived(WM)] == ["once"]


async def test_every_call_is_recorded_with_its_answer(kf: Kf) -> None:
    await kf.send()
    (call,) = (await kf.client.get("/sandbox/requests", path="/cgi-bin/kf/send_msg"))["requests"]
    assert (call["errcode"], call["body"]["touser"], call["query"]) == (
        95018,
        WM,
        {"access_token": kf.token[:4] + "***"},
    )


async def test_an_account_is_another_conversation(kf: Kf) -> None:
    await kf.writes()
    assert (await kf.send(open_kfid="wk2"))["errcode"] == 95018
    assert (await kf.session(WK))["customer_messages"] == 1
