import asyncio
from typing import Any

import pytest

from tests.sandbox.conftest import AGENT, Client, Open


async def test_a_first_message_needs_no_preparation(client: Client) -> None:
    answer = await client.send(await client.token(), touser="ZhangSan")
    assert answer["errcode"] == 0
    (arrived,) = await client.arrived("zhangsan")
    assert arrived["content"] == {"content": "你好"}
    assert arrived["msgid"] == answer["msgid"]
    assert (arrived["agentid"], arrived["dropped"]) == (AGENT, False)


async def test_some_invalid_receivers_are_named_in_lower_case(client: Client) -> None:
    answer = await client.send(
        await client.token(), touser="lisi|Invalid-One|unlicensed-Two", toparty="x", totag="y"
    )
    assert answer["errcode"] == 0
    assert answer["invaliduser"] == "invalid-one"
    assert answer["unlicenseduser"] == "unlicensed-two"
    assert (answer["invalidparty"], answer["invalidtag"]) == ("x", "y")
    assert len(await client.arrived("lisi")) == 1
    assert await client.arrived("unlicensed-Two") == []


async def test_all_receivers_invalid_is_an_error_with_the_lists(client: Client) -> None:
    answer = await client.send(await client.token(), touser="invalid-A|invalid-b")
    assert answer["errcode"] == 81013
    assert answer["errmsg"].startswith("user & party & tag all invalid")
    assert answer["invaliduser"] == "invalid-a|invalid-b"


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"touser": ""}, 82001),
        ({"touser": "|".join(f"u{i}" for i in range(1001))}, 40032),
        ({"toparty": "|".join(map(str, range(101)))}, 82002),
        ({"totag": "|".join(map(str, range(101)))}, 82003),
        ({"msgtype": "telegram"}, 40008),
        ({"text": {"content": ""}}, 44004),
        ({"text": None}, 40058),
        ({"text": {"content": 7}}, 40058),
        ({"touser": 1.5}, 40058),
    ],
)
async def test_a_send_that_does_not_fit_is_refused(client: Client, body: Any, errcode: int) -> None:
    token = await client.token()
    assert (await client.send(token, **body))["errcode"] == errcode
    assert (await client.get("/sandbox/stats"))["messages"]["accepted"] == 0


async def test_a_thousand_receivers_fit_and_everyone_overrides_parties(client: Client) -> None:
    token = await client.token()
    assert (await client.send(token, touser="|".join(f"u{i}" for i in range(1000))))["errcode"] == 0
    assert (await client.send(token, touser="@all", toparty="nonsense"))["errcode"] == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"touser": NaN}'])
async def test_bad_json_is_answered_as_such(client: Client, body: bytes) -> None:
    answer = await client.post("/cgi-bin/message/send", body, access_token=await client.token())
    assert answer["errcode"] == 40058
    assert "wrong json format" in answer["errmsg"]


async def test_the_wrong_method_is_a_business_failure(client: Client) -> None:
    assert (await client.get("/cgi-bin/message/send", access_token=await client.token()))["errcode"] == 40063


async def test_long_text_is_cut_at_a_whole_character(client: Client) -> None:
    await client.send(await client.token(), text={"content": "汉" * 700})
    (arrived,) = await client.arrived("zhangsan")
    assert arrived["content"]["content"] == "汉" * 682


async def test_long_text_may_be_refused_instead(open_sandbox: Open) -> None:
    client = await open_sandbox(app_text_overlong="refuse")
    token = await client.token()
    assert (await client.send(token, text={"content": "a" * 2048}))["errcode"] == 0
    assert (await client.send(token, text={"content": "a" * 2049}))["errcode"] == 45002


async def test_long_markdown_names_field_and_limit(client: Client) -> None:
    answer = await client.send(await client.token(), msgtype="markdown", markdown={"content": "汉" * 683})
    assert answer["errcode"] == 40058
    assert answer["errmsg"].startswith("markdown.content exceed max length 2048. invalid Request Parameter")


async def test_the_thirty_first_message_in_a_minute_vanishes_without_a_word(client: Client) -> None:
    await client.post("/sandbox/clock", {"freeze": True})
    token = await client.token()
    answers = [await client.send(token, touser="lisi", text={"content": str(i)}) for i in range(32)]
    assert all(answer["errcode"] == 0 and answer["msgid"] for answer in answers)
    assert len(await client.arrived("lisi")) == 30
    assert [m["dropped"] for m in await client.arrived("lisi", dropped=1)].count(True) == 2
    assert len(await client.arrived("lisi", dropped="only")) == 2
    assert (await client.get("/sandbox/stats"))["messages"]["dropped"] == 2
    await client.send(token, touser="wangwu")
    await client.post("/sandbox/clock", {"advance_seconds": 61})
    await client.send(token, touser="LiSi")
    assert len(await client.arrived("lisi")) == 31
    assert len(await client.arrived("wangwu")) == 1


async def test_the_hourly_limit_drops_too(open_sandbox: Open) -> None:
    client = await open_sandbox(member_per_minute=0, member_per_hour=5)
    token = await client.token()
    for _ in range(7):
        await client.send(token)
    assert len(await client.arrived("zhangsan")) == 5
    await client.post("/sandbox/clock", {"advance_seconds": 3601})
    await client.send(token)
    assert len(await client.arrived("zhangsan")) == 6


async def test_an_identical_request_within_the_interval_is_not_delivered_again(client: Client) -> None:
    token, checked = await client.token(), {"enable_duplicate_check": 1, "duplicate_check_interval": 600}
    first = await client.send(token, **checked)
    second = await client.send(token, **checked)
    assert (second["errcode"], second["msgid"]) == (0, first["msgid"])
    assert (await client.send(token, **checked, text={"content": "别的"}))["msgid"] != first["msgid"]
    assert len(await client.arrived("zhangsan")) == 2
    assert (await client.get("/sandbox/stats"))["messages"]["suppressed"] == 1
    await client.post("/sandbox/clock", {"advance_seconds": 601})
    await client.send(token, **checked)
    assert len(await client.arrived("zhangsan")) == 3


async def test_the_suppressed_answer_may_lack_a_msgid(open_sandbox: Open) -> None:
    client = await open_sandbox(duplicate_answer="without_msgid")
    token = await client.token()
    await client.send(token, enable_duplicate_check=1)
    assert await client.send(token, enable_duplicate_check=1) == {"errcode": 0, "errmsg": "ok"}


async def test_without_the_check_an_identical_request_arrives_twice(client: Client) -> None:
    token = await client.token()
    await client.send(token)
    await client.send(token)
    assert len(await client.arrived("zhangsan")) == 2


async def test_another_app_may_send_the_same(client: Client) -> None:
    for secret in ("s1", "s2"):
        await client.send(await client.token(secret), enable_duplicate_check=1)
    assert len(await client.arrived("zhangsan")) == 2


async def test_the_daily_account_cap_counts_persons(open_sandbox: Open) -> None:
    client = await open_sandbox(account_cap=1)
    token = await client.token()
    assert (await client.send(token, touser="|".join(f"u{i}" for i in range(200))))["errcode"] == 0
    assert (await client.send(token))["errcode"] == 45009
    await client.post("/sandbox/clock", {"advance_seconds": 86_400})
    assert (await client.send(await client.token()))["errcode"] == 0


async def test_recall_is_for_the_sender_and_for_a_day(client: Client) -> None:
    token, other = await client.token("s1"), await client.token("s2")
    msgid = (await client.send(token))["msgid"]

    async def recall(by: str, which: str) -> int:
        return int(
            (await client.post("/cgi-bin/message/recall", {"msgid": which}, access_token=by))["errcode"]
        )

    assert await recall(other, msgid) == 40058
    assert await recall(token, "unknown") == 40058
    assert await recall(token, msgid) == 0
    assert (await client.arrived("zhangsan"))[0]["recalled_at"] is not None
    await client.post("/sandbox/clock", {"advance_seconds": 86_401})
    assert await recall(await client.token("s1"), msgid) == 42052


async def test_statistics_count_todays_and_yesterdays_persons(client: Client) -> None:
    await client.post("/sandbox/clock", {"set": "2026-03-01T04:00:00Z"})
    token = await client.token()
    await client.send(token, touser="a|b")
    path = "/cgi-bin/message/get_statistics"
    today = (await client.post(path, {"time_type": 0}, access_token=token))["statistics"]
    assert today == [{"agentid": AGENT, "app_name": f"应用 {AGENT}", "count": 2}]
    await client.post("/sandbox/clock", {"advance_seconds": 86_400})
    token = await client.token()
    assert (await client.post(path, {"time_type": 0}, access_token=token))["statistics"] == []
    assert (await client.post(path, {"time_type": 1}, access_token=token))["statistics"] == today


async def test_the_concurrency_cap_strikes_calls_in_flight(open_sandbox: Open) -> None:
    client = await open_sandbox(concurrent_calls=2)
    token = await client.token()
    await client.post("/sandbox/faults", {"path": "/cgi-bin/message/send", "latency_ms": 150})
    codes = [answer["errcode"] for answer in await asyncio.gather(*(client.send(token) for _ in range(4)))]
    assert sorted(codes) == [0, 0, 45033, 45033]
