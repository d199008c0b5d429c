"""Cards with buttons: who presses them, what the app is told, and how they change."""

from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from sandbox.cipher import key_of
from tests.sandbox.conftest import AGENT, Client, Open
from tests.sandbox.door import AES_KEY, TOKEN, App

CARD = {
    "card_type": "button_interaction",
    "main_title": {"title": "断电"},
    "task_id": "task-1",
    "button_list": [{"text": "收到", "key": "ok"}, {"text": "转派", "key": "on"}],
}
UPDATE = "/cgi-bin/message/update_template_card"


async def _set_up(client: Client, url: str, **more: Any) -> Any:
    body = {"url": url, "token": TOKEN, "aes_key": AES_KEY, "corp_id": "ww1", "verify": False, **more}
    return await client.post("/sandbox/callbacks", body)


async def _send(client: Client, **more: Any) -> tuple[str, Any]:
    token = await client.token()
    answer = await client.send(token, msgtype="template_card", template_card=CARD, **more)
    assert answer["errcode"] == 0
    return token, answer


async def _update(client: Client, token: str, code: str, **more: Any) -> Any:
    body = {
        "atall": 1,
        "agentid": AGENT,
        "response_code": code,
        "button": {"replace_name": "张三 已确认"},
        **more,
    }
    return await client.post(UPDATE, body, access_token=token)


async def _buttons(client: Client, who: str) -> list[str]:
    return [one["text"] for one in (await client.arrived(who))[-1]["content"]["button_list"]]


async def _press(client: Client, **more: Any) -> Any:
    return await client.post(
        "/sandbox/clicks", {"userid": "zhangsan", "task_id": "task-1", "key": "ok", **more}
    )


async def test_an_update_shows_on_every_copy_and_takes_its_code_once(client: Client) -> None:
    token, sent = await _send(client, touser="zhangsan|lisi")
    assert (await _update(client, token, sent["response_code"]))["errcode"] == 0
    assert await _buttons(client, "zhangsan") == await _buttons(client, "lisi") == ["张三 已确认"]
    assert (await _update(client, token, sent["response_code"]))["errcode"] == 40058


async def test_an_update_for_some_leaves_the_others_their_buttons(client: Client) -> None:
    token, sent = await _send(client, touser="zhangsan|lisi")
    answer = await _update(client, token, sent["response_code"], atall=0, userids=["LISI", "nemo"])
    assert (answer["errcode"], answer["invaliduser"]) == (0, ["nemo"])
    assert await _buttons(client, "lisi") == ["张三 已确认"]
    assert await _buttons(client, "zhangsan") == ["收到", "转派"]


async def test_a_code_lives_three_days_and_serves_its_own_app_only(client: Client) -> None:
    token, sent = await _send(client)
    other = await client.token(secret="s2")
    foreign = await client.post(
        UPDATE,
        {"atall": 1, "agentid": 7, "response_code": sent["response_code"], "button": {"replace_name": "x"}},
        access_token=other,
    )
    assert foreign["errcode"] == 40058
    await client.post("/sandbox/clock", {"advance_seconds": 72 * 3600})
    token = await client.token()
    assert (await _update(client, token, sent["response_code"]))["errcode"] == 40058


@pytest.mark.parametrize(
    "changes",
    [
        {"button": {"replace_name": "十一个字就太长了不行的"}},
        {"button": {}},
        {"atall": 0},
        {"userids": "x", "atall": 0},
    ],
)
async def test_what_is_wrong_with_an_update_does_not_spend_its_code(
    client: Client, changes: dict[str, Any]
) -> None:
    token, sent = await _send(client)
    assert (await _update(client, token, sent["response_code"], **changes))["errcode"] != 0
    assert (await _update(client, token, sent["response_code"]))["errcode"] == 0


async def test_a_press_reaches_the_app_sealed_and_signed_and_brings_a_code(client: Client, app: App) -> None:
    token, _ = await _send(client)
    await _set_up(client, app.url)
    (done,) = (await _press(client))["clicks"]
    assert done["tries"] == [{"status": 200, "body": "success"}]
    query, body = app.requests[0]
    assert set(parse_qs(query)) == {"msg_signature", "timestamp", "nonce"}
    assert b"<Encrypt>" in body
    assert b"zhangsan" not in body
    assert (await _update(client, token, done["response_code"]))["errcode"] == 0
    assert (await _press(client))["error"].startswith("the card has no button 'ok' now; it has none")


async def test_only_who_has_the_card_presses_its_buttons_unless_told_to_anyway(
    client: Client, app: App
) -> None:
    await _send(client)
    await _set_up(client, app.url)
    assert "does not have that card" in (await _press(client, userid="eve"))["error"]
    assert "no button 'nope' now; it has ok, on" in (await _press(client, key="nope"))["error"]
    assert "no such card" in (await _press(client, task_id="other"))["error"]
    assert app.requests == []
    assert (await _press(client, userid="eve", anyway=True))["clicks"][0]["tries"][0]["status"] == 200


async def test_copies_are_the_same_bytes_or_signed_anew(client: Client, app: App) -> None:
    await _send(client)
    await _set_up(client, app.url)
    await _press(client, copies=3)
    assert len(app.requests) == 3
    assert len(set(app.requests)) == 1
    await _press(client, copies=3, resigned=True)
    assert len(set(app.requests)) == 4


async def test_events_may_overtake_each_other(client: Client, app: App) -> None:
    await _send(client, touser="zhangsan|lisi")
    await _set_up(client, app.url)
    clicks = [{"userid": who, "task_id": "task-1", "key": "ok"} for who in ("zhangsan", "lisi")]
    for order, expected in (("given", ["zhangsan", "lisi"]), ("reversed", ["lisi", "zhangsan"])):
        answer = await client.post("/sandbox/clicks", {"clicks": clicks, "order": order})
        assert [one["userid"] for one in answer["clicks"]] == expected
    answer = await client.post("/sandbox/clicks", {"clicks": clicks, "order": "together"})
    assert len(answer["clicks"]) == 2


async def test_a_failure_is_tried_three_times_and_an_answer_never_again_unless_the_profile_says_so(
    client: Client, app: App
) -> None:
    await _send(client)
    await _set_up(client, "http://127.0.0.1:1/cb")
    failed = (await _press(client))["clicks"][0]["tries"]
    assert len(failed) == 3
    assert all("failure" in one for one in failed)
    await _set_up(client, app.url)
    app.answer = lambda: web.Response(status=503)
    assert [one["status"] for one in (await _press(client))["clicks"][0]["tries"]] == [503]
    await client.post("/sandbox/profile", {"callback_retry_non_200": True})
    assert [one["status"] for one in (await _press(client))["clicks"][0]["tries"]] == [503] * 3


async def test_a_slow_answer_is_a_failure(open_sandbox: Open, app: App) -> None:
    client = await open_sandbox(callback_seconds=1, callback_tries=1)
    await _send(client)
    await _set_up(client, app.url)
    app.pause = 30
    assert (await _press(client))["clicks"][0]["tries"] == [{"failure": "TimeoutError"}]


async def test_a_url_that_does_not_answer_as_it_must_is_not_taken(client: Client, app: App) -> None:
    refused = await _set_up(client, app.url, verify=True)
    assert "could not be verified" in refused["error"]
    assert (await client.get("/sandbox/callbacks"))["callbacks"] == []
    assert "could not be verified" in (await _set_up(client, "http://127.0.0.1:1/x", verify=True))["error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aes_key": "short"}, "aes_key"),
        ({"url": "ftp://x"}, "url"),
        ({"token": ""}, "token"),
        ({"agentid": "7"}, "agentid"),
        ({"verify": "no"}, "verify"),
        ({"color": "red"}, "color"),
    ],
)
async def test_a_callback_that_cannot_be_is_refused(
    client: Client, changes: dict[str, Any], words: str
) -> None:
    body = {"url": "http://127.0.0.1:1/x", "token": TOKEN, "aes_key": AES_KEY, "corp_id": "ww1"}
    assert words in (await client.post("/sandbox/callbacks", body | changes))["error"]


async def test_callbacks_are_listed_without_their_secrets_and_forgotten(client: Client, app: App) -> None:
    await _set_up(client, app.url, agentid=AGENT)
    assert (await client.get("/sandbox/callbacks"))["callbacks"] == [
        {"url": app.url, "corp_id": "ww1", "agentid": AGENT}
    ]
    await _send(client)
    await client.delete("/sandbox/callbacks")
    assert "no callback URL" in (await _press(client))["error"]


def test_a_key_has_forty_three_characters() -> None:
    assert len(key_of(AES_KEY)) == 32
    with pytest.raises(ValueError, match="43"):
        key_of(AES_KEY + "A")
