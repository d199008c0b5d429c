"""What tells the app that there is something to fetch, and what may happen to it on the way."""

from typing import Any

import pytest
from aiohttp import web

from tests.sandbox.conftest import AGENT, Client, Open
from tests.sandbox.door import App, opened
from tests.sandbox.kf import WK, WM, Kf


async def test_each_message_calls_back_sealed_and_signed_without_its_content(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    await kf.writes("秘密")
    await kf.enters()
    (first, second) = await kf.deliveries()
    assert (first["state"], first["tries"]) == ("done", [{"status": 200, "body": "success"}])
    events = [opened(request) for request in app.requests]
    for event in events:
        assert (event["MsgType"], event["Event"], event["OpenKfId"]) == ("event", "kf_msg_or_event", WK)
        assert (event["ToUserName"], "秘密" in str(event)) == ("ww1", False)
    assert events[0]["Token"] != events[1]["Token"]
    assert (second["open_kfid"], second["event"]) == (WK, "kf_msg_or_event")


async def test_what_an_app_sends_or_moves_calls_nobody_back(kf: Kf, app: App) -> None:
    await kf.writes()
    await kf.door(app.url)
    await kf.send()
    await kf.trans(3, servicer_userid="zhangsan")
    assert len(await kf.deliveries()) == 1
    assert app.requests == []


async def test_a_failed_send_calls_back(kf: Kf, app: App) -> None:
    await kf.writes()
    await kf.door(app.url)
    await kf.play("fail", external_userid=WM)
    await kf.send()
    await kf.deliveries()
    assert len(app.requests) == 1


async def test_without_a_url_nothing_leaves_and_it_shows(kf: Kf) -> None:
    await kf.writes()
    assert [one["state"] for one in await kf.deliveries()] == ["nowhere"]


async def test_callbacks_are_lost_on_demand_while_the_messages_stay(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    await kf.steer(lose=1)
    for text in ("一", "二"):
        await kf.writes(text)
    assert [one["state"] for one in await kf.deliveries()] == ["lost", "done"]
    await kf.steer(silent=True)
    await kf.writes("三")
    assert len(app.requests) == 1
    assert len((await kf.sync())["msg_list"]) == 3


async def test_copies_are_the_same_bytes_or_signed_anew(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    await kf.steer(copies=3)
    await kf.writes()
    (one,) = await kf.deliveries()
    assert [len(tries) for tries in one["copies"]] == [1, 1]
    assert (len(app.requests), len(set(app.requests))) == (3, 1)
    await kf.steer(resigned=True)
    await kf.writes()
    await kf.deliveries()
    assert len(set(app.requests)) == 4
    assert len({opened(request)["Token"] for request in app.requests}) == 2


@pytest.mark.parametrize("order", ["given", "reversed", "together"])
async def test_callbacks_are_held_and_released_in_any_order(kf: Kf, app: App, order: str) -> None:
    await kf.door(app.url)
    await kf.steer(hold=True)
    await kf.writes("一")
    await kf.writes("二", open_kfid="wk2")
    assert [one["state"] for one in await kf.deliveries()] == ["held", "held"]
    released = await kf.steer(release=order, hold=False)
    assert {one["state"] for one in released} == {"done"}
    accounts = [opened(request)["OpenKfId"] for request in app.requests]
    expected = {"given": [WK, "wk2"], "reversed": ["wk2", WK]}
    assert accounts == expected.get(order, accounts)
    assert len(accounts) == 2


async def test_a_failure_is_tried_three_times_and_an_answer_never_again_unless_the_profile_says_so(
    kf: Kf, app: App
) -> None:
    await kf.door("http://127.0.0.1:1/cb")
    await kf.writes()
    await kf.door(app.url)
    app.answer = lambda: web.Response(status=503)
    assert [set(one) for one in (await kf.deliveries())[0]["tries"]] == [{"failure"}] * 3
    await kf.writes()
    answered = (await kf.deliveries())[-1]
    assert [one["status"] for one in answered["tries"]] == [503]
    await kf.client.post("/sandbox/profile", {"callback_retry_non_200": True})
    await kf.writes()
    assert [one["status"] for one in (await kf.deliveries())[-1]["tries"]] == [503] * 3


async def test_a_slow_receiver_is_a_failure_and_holds_nobody_up(open_sandbox: Open, app: App) -> None:
    kf = await Kf.of(await open_sandbox(callback_seconds=1, callback_tries=1))
    await kf.door(app.url)
    app.pause = 30
    await kf.writes()
    assert (await kf.send())["errcode"] == 0
    assert (await kf.deliveries())[0]["tries"] == [{"failure": "TimeoutError"}]


async def test_the_sandbox_stops_while_a_callback_is_under_way(open_sandbox: Open, app: App) -> None:
    kf = await Kf.of(await open_sandbox())
    await kf.door(app.url)
    app.pause = 30
    await kf.writes()
    answer = await kf.client.get("/sandbox/callbacks/deliveries")
    assert (answer["deliveries"][0]["state"], answer["under_way"]) == ("under_way", 1)


async def test_a_reset_forgets_what_is_held_or_under_way(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    app.pause = 30
    await kf.writes()
    await kf.steer(hold=True)
    await kf.writes()
    await kf.client.post("/sandbox/reset", {"keep": ["directory", "tokens"]})
    assert await kf.deliveries() == []
    assert await kf.steer(release="given") == []


async def test_an_account_handed_over_or_taken_back_is_announced(kf: Kf, app: App) -> None:
    await kf.door(app.url)
    await kf.play("accounts", open_kfid=WK, authorised=False)
    await kf.play("accounts", open_kfid=WK, authorised=True)
    await kf.deliveries()
    events = sorted(
        (opened(request) for request in app.requests), key=lambda event: "AuthAddOpenKfId" in event
    )
    assert [event["Event"] for event in events] == ["kf_account_auth_change"] * 2
    assert (events[0]["AuthDelOpenKfId"], events[1]["AuthAddOpenKfId"]) == (WK, WK)


async def test_the_doors_of_app_and_kf_stand_apart(client: Client, app: App) -> None:
    kf = await Kf.of(client)
    await kf.door(app.url, kind="app")
    await kf.writes()
    assert (await kf.deliveries())[0]["state"] == "nowhere"
    await kf.door(app.url)
    assert (await client.get("/sandbox/callbacks"))["callbacks"] == [
        {"url": app.url, "corp_id": "ww1", "agentid": None},
        {"url": app.url, "corp_id": "ww1", "kind": "kf"},
    ]
    assert "agentid" in (await kf.door(app.url, agentid=AGENT))["error"]
    assert "kind" in (await kf.door(app.url, kind="fax"))["error"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "app"},
        {"kind": "kf", "copies": 0},
        {"kind": "kf", "copies": 21},
        {"kind": "kf", "lose": -1},
        {"kind": "kf", "hold": 1},
        {"kind": "kf", "release": "sideways"},
        {"kind": "kf", "color": "red"},
    ],
    ids=str,
)
async def test_a_plan_that_cannot_be_is_refused(client: Client, document: dict[str, Any]) -> None:
    assert "error" in await client.post("/sandbox/callbacks/deliveries", document)
