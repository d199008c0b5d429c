"""DashScope's failures over a real socket: what each becomes, and that it was one request."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import timedelta
from typing import Any

import pytest

from sandbox.dashscope.codes import CODES
from services.ai_orchestrator.domain.call import Call, CallProblem, Completion, Tokens, Usage
from services.ai_orchestrator.domain.failures import failure_of
from shared.clock import ManualClock
from shared.errors import Invalid
from tests.ai_orchestrator.provider.door import KEY, Door, provider
from tests.http.wire import Peer, free_port, serve

ANSWER = {"output": {"finish_reason": "stop", "session_id": "s", "text": "好"}, "request_id": "r"}


def said(status: int, body: object, **headers: str) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {"http_status": status, "text": text, "headers": headers}


# Every row of the page's table that a call without a stream can meet: what the server does, what the call becomes, and
# whether its whole hold is charged.
ROWS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "429 JSON": ({"errcode": "Throttling"}, "throttled", False),
    "429 with Retry-After": (
        said(429, {"code": "Throttling", "message": "m"}, **{"Retry-After": "1"}),
        "throttled",
        False,
    ),
    "429, and 200 if it were asked again": ({"errcode": "Throttling", "count": 1}, "throttled", False),
    "400 Arrearage": ({"errcode": "Arrearage"}, "arrears", False),
    "400 DataInspectionFailed": ({"errcode": "DataInspectionFailed"}, "content_refused", True),
    "401 InvalidApiKey": ({"errcode": "InvalidApiKey"}, "key_refused", False),
    "404": (said(404, {"code": "NotFound", "message": "m"}), "app_missing", False),
    "408 RequestTimeOut": ({"errcode": "RequestTimeOut"}, "server_timeout", True),
    "500 JSON InternalError": ({"errcode": "InternalError"}, "server_error", True),
    "500 HTML": ({"http_status": 500}, "server_error", True),
    "502 HTML": ({"http_status": 502}, "server_error", True),
    "502 empty": (said(502, ""), "server_error", True),
    "500 with broken JSON": (said(500, '{"code": "Inter'), "server_error", True),
    "error body is a list": (said(400, [1]), "refused", True),
    "error body is null": (said(400, None), "refused", True),
    "error body without code": (said(400, {"message": "m"}), "refused", True),
    "a code that is no text": (said(500, {"code": {"a": 1}}), "server_error", True),
    "200, and a code that is no text": (said(200, {**ANSWER, "code": {"a": 1}}), "bad_reply", True),
    "429 PostpaidBillOverdue": ({"errcode": "PostpaidBillOverdue"}, "arrears", False),
    "200, broken JSON": ({"malformed": "truncated"}, "bad_reply", True),
    "200, HTML": ({"malformed": "html"}, "bad_reply", True),
    "200, not UTF-8": ({"malformed": "non_utf8"}, "bad_reply", True),
    "200, empty": ({"malformed": "empty"}, "bad_reply", True),
    "200, a list": ({"malformed": "array"}, "bad_reply", True),
    "200, too large": ({"malformed": "huge"}, "unknown", True),
    "200, no output": ({"spoil": "no_output"}, "bad_reply", True),
    "200 + code": ({"errcode": "BailianGateway.Workspace.NotAuthorised"}, "workspace_refused", False),
    "200 + code + output": (said(200, {**ANSWER, "code": "Throttling", "message": "m"}), "throttled", False),
    "302": (said(302, "", Location="/elsewhere"), "bad_reply", True),
    "reset before the request is read": ({"drop": "before-read", "reset": True}, "unknown", True),
    "reset before it is accepted": ({"drop": "before-accept", "reset": True}, "unknown", True),
    "closed before it is accepted": ({"drop": "before-accept"}, "unknown", True),
    "reset after it ran": ({"drop": "after-accept", "reset": True}, "unknown", True),
    "closed after it ran": ({"drop": "after-accept"}, "unknown", True),
    "body cut short": ({"short": True}, "unknown", True),
    "no answer": ({"hang": True}, "timeout", True),
    "no answer, but it ran": ({"hang": True, "accepted": True}, "timeout", True),
    "bytes every 50 ms": ({"drip_ms": 50}, "timeout", True),
}


async def test_every_failure_is_one_request_and_told_for_what_it_is(door: Door) -> None:
    found = {}
    for name, (fault, _, _) in ROWS.items():
        outcome, requests = await door.struck(timeout=0.4 if ROWS[name][1] == "timeout" else 5, **fault)
        assert isinstance(outcome, CallProblem), (name, outcome)
        found[name] = (outcome.reason, outcome.tokens is Tokens.HOLD, outcome.sent, requests)
    assert found == {name: (reason, hold, True, 1) for name, (_, reason, hold) in ROWS.items()}


async def test_every_code_of_the_platform_is_one_request(door: Door) -> None:
    for code, (status, words) in CODES.items():
        outcome, requests = await door.struck(errcode=code)
        assert isinstance(outcome, CallProblem), code
        failure = failure_of(code, status, words)
        assert (outcome.code, outcome.http_status, outcome.message, requests) == (code, status, words, 1)
        assert (outcome.reason, outcome.scope, outcome.count) == (
            failure.reason,
            failure.scope,
            failure.count,
        )
        assert outcome.request_id, code
        assert (outcome.retry_at is not None) == (failure.rest is not None)


async def test_an_answer_brings_text_conversation_and_tokens(door: Door) -> None:
    first = await door.completed("一")
    assert (first.finish_reason, first.text != "", first.took > timedelta(0)) == ("stop", True, True)
    assert first.usage is not None
    assert first.usage.models == ("qwen-plus",)
    assert first.usage.total == (await door.ledger())["total_tokens"]
    again = await door.completed("二", session_id=first.session_id)
    assert again.session_id == first.session_id
    (_, second) = await door.calls()
    assert (second["request_id"], second["key"][:3]) == (again.request_id, KEY[:3])


async def test_tokens_of_all_models_are_added_and_what_is_not_told_is_not_guessed(door: Door) -> None:
    (two, _), (text, _), (null, _), (missing, _) = [
        await door.struck(spoil=spoil) for spoil in ("two_models", "text_usage", "null_usage", "no_usage")
    ]
    first, second, *_ = await door.calls()
    assert isinstance(two, Completion)
    assert two.usage == Usage(first["input_tokens"], first["output_tokens"], ("qwen-plus", "qwen-max"))
    assert isinstance(text, Completion)
    assert text.usage == Usage(second["input_tokens"], second["output_tokens"], ("qwen-plus",))
    for outcome in (null, missing):
        assert isinstance(outcome, Completion)
        assert (outcome.usage, outcome.text != "") == (None, True)


async def test_what_the_model_spoils_is_a_whole_answer_for_others_to_judge(door: Door) -> None:
    await door.sandbox.post("/sandbox/ai/apps", app_id="app3", replies=[{"score": 7}])
    texts = {}
    for spoil in ("fenced", "chatty", "cut", "wrong_schema", "empty"):
        outcome, requests = await door.struck(spoil=spoil)
        assert isinstance(outcome, Completion)
        assert requests == 1
        texts[spoil] = (outcome.text, outcome.finish_reason)
    assert texts["fenced"] == ('```json\n{"score":7}\n```', "stop")
    assert texts["cut"] == ('{"score', "length")
    assert texts["empty"] == ("", "stop")


async def test_a_hang_ends_at_its_limit_frees_the_socket_and_leaves_the_loop_free(door: Door) -> None:
    await door.completed()  # the first call sets the SDK up
    await door.sandbox.fault(path="/api/v1/*", hang=True)
    loop, slowest, started = asyncio.get_running_loop(), 0.0, time.monotonic()
    hanging = asyncio.create_task(door.ask(timeout=0.5))
    while not hanging.done():
        before = loop.time()
        await door.sandbox.get("/sandbox/healthz")
        slowest = max(slowest, loop.time() - before)
    outcome = await hanging
    assert isinstance(outcome, CallProblem)
    assert (outcome.reason, outcome.sent) == ("timeout", True)
    assert 0.5 <= outcome.took.total_seconds() <= time.monotonic() - started < 1.5
    assert slowest < 0.25
    await client_left(door)
    await door.sandbox.clear_faults()
    await door.completed()


async def client_left(door: Door) -> None:
    """Wait until the platform sees that the last call's socket is closed."""
    async with asyncio.timeout(5):
        while True:
            if (await door.calls())[-1]["client_left"]:
                return


async def test_a_cancelled_call_closes_its_socket(door: Door) -> None:
    await door.sandbox.fault(path="/api/v1/*", hang=True)
    call = asyncio.create_task(door.ask(timeout=60))
    async with asyncio.timeout(5):
        while not await door.seen():
            pass
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await client_left(door)


async def test_who_asks_too_often_rests_as_long_as_the_platform_says_within_reason(
    door: Door, manual_clock: ManualClock
) -> None:
    rests = []
    for after in ("7", "0", "999999", "tomorrow", ""):
        throttled, _ = await door.struck(**said(429, {"code": "Throttling"}, **{"Retry-After": after}))
        assert isinstance(throttled, CallProblem)
        assert throttled.retry_at is not None
        rests.append((throttled.retry_at - manual_clock.now()).total_seconds())
    assert rests == [7, 1, 300, 30, 30]


async def test_nothing_leaves_without_an_application_or_a_key(door: Door, manual_clock: ManualClock) -> None:
    for app_id in ("", "../services/x", "a/b", "a" * 65, "应用", "a\n"):
        outcome = await door.failed(app_id=app_id)
        assert (outcome.reason, outcome.sent) == ("app_not_configured", False)
        assert "DASHSCOPE_APP_ID_APP3_CLUE" in outcome.message
    for key in ("", "sk 1", "密钥"):
        async with provider(door.sandbox.url, manual_clock, key=key) as keyless:
            outcome = await Door(keyless, door.sandbox).failed()
            assert (outcome.reason, outcome.sent, outcome.tokens) == (
                "key_not_configured",
                False,
                Tokens.RELEASE,
            )
    assert await door.seen() == 0


async def test_a_connection_that_is_refused_sent_nothing(manual_clock: ManualClock) -> None:
    async with provider(f"http://127.0.0.1:{free_port()}", manual_clock) as refused:
        outcome = await refused.complete(Call("app3_clue", "app3", "一", timedelta(seconds=5)))
    assert isinstance(outcome, CallProblem)
    assert (outcome.reason, outcome.sent, outcome.tokens) == ("unreachable", False, Tokens.RELEASE)
    assert outcome.repeatable


async def test_only_allowed_hosts_are_called(manual_clock: ManualClock) -> None:
    with pytest.raises(Invalid) as refused:
        async with provider("http://dashscope.example", manual_clock):
            pass
    assert refused.value.reason == "HOST_NOT_ALLOWED"


async def test_proxies_cookies_and_settings_of_the_shell_do_not_matter(
    manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(json.dumps(ANSWER).encode(), extra="Set-Cookie: a=b; Path=/\r\n")

    for name, value in {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "NO_PROXY": "",
        "no_proxy": "",
        "DASHSCOPE_MAX_RETRIES": "5",
        "DASHSCOPE_API_KEY": "sk-of-the-shell",
        "DASHSCOPE_PROTOCOL": "openai",
        "DASHSCOPE_WORKSPACE": "ws-of-the-shell",
        "DASHSCOPE_CONFIG": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    async with serve(behave) as wire, provider(wire.url, manual_clock) as quiet:
        for _ in range(2):
            outcome = await quiet.complete(Call("app3_clue", "app3", "一", timedelta(seconds=5)))
            assert isinstance(outcome, Completion), outcome
    for request in wire.requests:
        head = request.lower()
        assert request.startswith(b"POST /api/v1/apps/app3/completion HTTP/1.1\r\n")
        assert head.count(b"\r\nuser-agent:") == 1
        assert f"authorization: bearer {KEY}".encode() in head
        assert b"cookie" not in head
        assert b"of-the-shell" not in head


async def test_the_platforms_words_are_cut_and_masked(door: Door) -> None:
    message = f"bad\n\x1b[31mkey {KEY} of 13812345678 " + "长" * 2000
    outcome, _ = await door.struck(**said(400, {"code": "InvalidParameter", "message": message}))
    assert isinstance(outcome, CallProblem)
    assert len(outcome.message) <= 300
    assert (KEY in outcome.message, "13812345678" in outcome.message, "\x1b" in outcome.message) == (
        False,
        False,
        False,
    )


async def test_many_calls_at_once_are_as_many_requests_and_none_gets_anothers_answer(door: Door) -> None:
    await door.sandbox.post("/sandbox/ai/apps", app_id="app3", schema={"type": "integer", "maximum": 10**9})
    outcomes = await asyncio.gather(*(door.completed(f"第{number}问") for number in range(40)))
    calls = await door.calls()
    assert len(calls) == 40
    replies = {call["request_id"]: (call["prompt"], call["reply"]) for call in calls}
    assert [replies[outcome.request_id] for outcome in outcomes] == [
        (f"第{number}问", outcome.text) for number, outcome in enumerate(outcomes)
    ]
