import asyncio
import json
from typing import Any

import jsonschema
import orjson
import pytest

from tests.sandbox.ai import KEY, ask, path_of, post, text_of
from tests.sandbox.conftest import Client, Open

CLUES = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["clues", "score"],
    "additionalProperties": False,
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "amount": {"type": "string", "pattern": r"^\d+\.\d{2}$"},
        "day": {"type": "string", "format": "date"},
        "note": {"type": ["string", "null"], "maxLength": 8},
        "clues": {"type": "array", "minItems": 2, "maxItems": 4, "items": {"$ref": "#/$defs/clue"}},
    },
    "$defs": {
        "clue": {
            "type": "object",
            "required": ["category", "emoji", "summary", "detail", "providers"],
            "properties": {
                "category": {"enum": ["客户基础", "消费习惯"]},
                "emoji": {"type": "string", "minLength": 1, "maxLength": 2},
                "summary": {"type": "string", "minLength": 4},
                "detail": {"type": "string", "minLength": 40},
                "providers": {"type": "string"},
            },
        }
    },
}


def events(stream: str) -> list[Any]:
    return [
        orjson.loads(line.removeprefix("data:")) for line in stream.split("\n") if line.startswith("data:{")
    ]


async def ledger(client: Client) -> Any:
    return await client.get("/sandbox/ai/ledger")


async def test_an_answer_has_the_documented_form_and_is_billed(client: Client) -> None:
    status, body = await ask(client, "今天生意如何")
    assert status == 200
    assert set(body) == {"output", "usage", "request_id"}
    assert (set(body["output"]), body["output"]["finish_reason"]) == (
        {"finish_reason", "session_id", "text"},
        "stop",
    )
    (model,) = body["usage"]["models"]
    assert (await ledger(client))["by_app"]["app1"] == {
        "requests": 1,
        "answered": 1,
        "input_tokens": model["input_tokens"],
        "output_tokens": model["output_tokens"],
        "total_tokens": model["input_tokens"] + model["output_tokens"],
    }


async def test_the_answer_meets_the_schema_that_the_prompt_asks_for_and_is_the_same_again(
    client: Client,
) -> None:
    prompt = f'请分析。资料：{{"type": "visit"}} {{不是 JSON}}\n只回答符合下列结构的 JSON：\n{json.dumps(CLUES, ensure_ascii=False)}'
    first = text_of(await ask(client, prompt))
    jsonschema.Draft202012Validator(CLUES).validate(json.loads(first))
    assert text_of(await ask(client, prompt)) == first
    assert text_of(await ask(client, prompt + "改")) != first


async def test_a_declared_application_says_what_it_is_told_in_turn_or_meets_its_schema(
    client: Client,
) -> None:
    apps = [
        {"app_id": "told", "replies": [{"clues": []}, "不是 JSON"]},
        {"app_id": "shaped", "schema": CLUES},
    ]
    await client.post("/sandbox/ai/apps", {"apps": apps})
    said = [text_of(await ask(client, app_id="told")) for _ in range(3)]
    assert said == ['{"clues":[]}', "不是 JSON", "不是 JSON"]
    jsonschema.validate(json.loads(text_of(await ask(client, app_id="shaped"))), CLUES)


@pytest.mark.parametrize(
    "app", [{"app_id": ""}, {"replies": []}, {"app_id": "a", "repplies": []}, {"app_id": "a", "schema": 1}]
)
async def test_a_declaration_that_makes_no_sense_is_refused(client: Client, app: Any) -> None:
    assert "error" in await client.post("/sandbox/ai/apps", app)
    assert (await client.get("/sandbox/ai/apps"))["apps"] == []


async def test_requests_are_shown_with_what_was_asked_and_billed_and_the_key_is_not(client: Client) -> None:
    await ask(client, "一", headers={"traceparent": "00-aa-bb-01", "X-DashScope-WorkSpace": "ws1"})
    await ask(client, "二", app_id="app2")
    shown = await client.get("/sandbox/ai/requests")
    assert KEY not in str(shown)
    first, second = shown["requests"]
    assert (first["app_id"], first["prompt"], first["workspace"], first["traceparent"]) == (
        "app1",
        "一",
        "ws1",
        "00-aa-bb-01",
    )
    assert (first["http_status"], first["code"], second["app_id"]) == (200, None, "app2")
    assert (await client.get("/sandbox/ai/requests", app_id="app2"))["count"] == 1
    assert (await client.get("/sandbox/ai/requests", after=first["number"]))["requests"] == [second]


@pytest.mark.parametrize(
    ("app_id", "key", "prompt", "expected"),
    [
        ("app1", "", "一", (401, "InvalidApiKey")),
        ("app1", "Bearer sk-wrong-key", "一", (401, "InvalidApiKey")),
        ("nobody1", None, "一", (404, "NotFound")),
        ("unpublished1", None, "一", (400, "FlowNotPublished")),
        ("denied1", None, "一", (403, "App.AccessDenied")),
        ("app1", None, "", (400, "BadRequest.EmptyInput")),
    ],
)
async def test_what_cannot_be_is_answered_with_its_code_and_costs_nothing(
    client: Client, app_id: str, key: str | None, prompt: str, expected: tuple[int, str]
) -> None:
    status, body = await ask(client, prompt, app_id, headers={} if key is None else {"Authorization": key})
    assert (status, body["code"]) == expected
    assert (await ledger(client))["total"]["total_tokens"] == 0


async def test_limits_of_the_account_count_all_its_applications(open_sandbox: Open) -> None:
    async def codes(**limits: int) -> list[str]:
        client = await open_sandbox(**limits)
        await client.post("/sandbox/clock", {"freeze": True})
        answers = [await ask(client, app_id=f"app{number}") for number in range(3)]
        await client.post("/sandbox/clock", {"advance_seconds": 60})
        answers.append(await ask(client))
        return [body.get("code", "") for _, body in answers]

    assert await codes(ai_requests_per_minute=2) == ["", "", "Throttling.RateQuota", ""]
    assert await codes(ai_burst_per_second=1) == ["", "Throttling.BurstRate", "Throttling.BurstRate", ""]
    assert await codes(ai_tokens_per_minute=1) == [
        "",
        "Throttling.AllocationQuota",
        "Throttling.AllocationQuota",
        "",
    ]


async def test_an_account_in_arrears_is_refused_until_it_has_paid(client: Client) -> None:
    await client.post("/sandbox/profile", {"ai_arrears": True})
    status, body = await ask(client)
    assert (status, body["code"]) == (400, "Arrearage")
    await client.post("/sandbox/profile", {"ai_arrears": False})
    assert (await ask(client))[0] == 200


async def test_a_conversation_goes_on_for_an_hour_and_belongs_to_its_application(client: Client) -> None:
    await client.post("/sandbox/clock", {"freeze": True})
    _, first = await ask(client, "一")
    session = first["output"]["session_id"]
    _, second = await ask(client, "二", session_id=session)
    assert second["output"]["session_id"] == session
    assert second["usage"]["models"][0]["input_tokens"] > first["usage"]["models"][0]["input_tokens"]
    _, other = await ask(client, "二", "app2", session_id=session)
    assert other["output"]["session_id"] != session
    await client.post("/sandbox/clock", {"advance_seconds": 3600})
    _, late = await ask(client, "三", session_id=session)
    assert late["output"]["session_id"] != session


async def test_a_stream_is_written_as_the_platform_writes_it(client: Client) -> None:
    await client.post("/sandbox/ai/apps", {"app_id": "app1", "replies": ["一二三四五六七八"]})
    sse = {"headers": {"X-DashScope-SSE": "enable"}}
    _, whole = await ask(client, **sse)
    assert whole.startswith("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{")
    assert [event["output"]["text"] for event in events(whole)] == [
        "一二",
        "一二三四",
        "一二三四五六",
        "一二三四五六七八",
        "一二三四五六七八",
    ]
    finishes = [event["output"]["finish_reason"] for event in events(whole)]
    assert finishes == ["null"] * 4 + ["stop"]
    assert events(whole)[-1]["usage"]["models"][0]["output_tokens"] == 8
    _, deltas = await ask(client, parameters={"incremental_output": True}, **sse)
    assert "".join(event["output"]["text"] for event in events(deltas)) == "一二三四五六七八"
    _, flow = await ask(client, parameters={"flow_stream_mode": "message_format"}, **sse)
    start, node, last = (event["output"] for event in events(flow))
    assert (start["workflow_message"]["node_is_completed"], "text" in node) == (True, False)
    assert (last["text"], last["finish_reason"]) == ("一二三四五六七八", "stop")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("fenced", '```json\n{"score":7}\n```'),
        ("chatty", '好的，以下是结果：\n{"score":7}\n希望对您有帮助。'),
        ("cut", '{"score'),
        ("wrong_schema", '{"unexpected": ["another schema"]}'),
        ("empty", ""),
    ],
)
async def test_a_spoilt_answer_is_whole_on_the_wire_and_billed(client: Client, spoil: str, text: str) -> None:
    await client.post("/sandbox/ai/apps", {"app_id": "app1", "replies": [{"score": 7}]})
    await client.post("/sandbox/faults", {"path": "/api/v1/*", "spoil": spoil, "count": 1})
    _, body = await ask(client)
    assert body["output"]["text"] == text
    assert body["output"]["finish_reason"] == ("length" if spoil == "cut" else "stop")
    assert (await ledger(client))["total"]["answered"] == 1
    assert text_of(await ask(client)) == '{"score":7}'


async def test_usage_may_be_missing_null_text_or_of_two_models(client: Client) -> None:
    usages = []
    for spoil in ("no_usage", "null_usage", "text_usage", "two_models"):
        await client.post("/sandbox/faults", {"path": path_of("app1"), "spoil": spoil, "count": 1})
        usages.append((await ask(client))[1].get("usage", {}).get("models"))
    missing, null, text, two = usages
    assert missing is None
    assert null[0]["input_tokens"] is None
    assert text[0]["output_tokens"].isdecimal()
    assert [model["model_id"] for model in two] == ["qwen-plus", "qwen-max"]
    assert (await ledger(client))["total"]["answered"] == 4


async def test_a_code_is_answered_with_its_status_and_strikes_no_call_of_wecom(client: Client) -> None:
    await client.post("/sandbox/faults", {"errcode": "Throttling", "errmsg": "慢一点"})
    status, body = await ask(client)
    assert (status, body["code"], body["message"]) == (429, "Throttling", "慢一点")
    assert (await client.robot())["errcode"] == 0
    await client.delete("/sandbox/faults")
    await client.post("/sandbox/faults", {"errcode": -1})
    assert (await ask(client))[0] == 200
    assert (await ledger(client))["total"]["answered"] == 1
    await client.post("/sandbox/faults", {"errcode": "InternalError", "accepted": True})
    assert (await ask(client))[0] == 500
    assert (await ledger(client))["total"]["answered"] == 2


async def test_a_call_that_is_cut_off_or_left_hanging_is_counted(client: Client) -> None:
    await client.post("/sandbox/faults", {"path": "/api/*", "drop": "before-read", "count": 1})
    with pytest.raises(Exception, match="disconnected"):
        await ask(client)
    await client.post("/sandbox/faults", {"path": "/api/*", "hang": True})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(client), 0.2)
    async with asyncio.timeout(5):
        left = False
        while not left:
            shown = (await client.get("/sandbox/ai/requests"))["requests"]
            left = shown[-1]["client_left"]
    assert [call["app_id"] for call in shown] == ["app1", "app1"]
    assert (await ledger(client))["total"] == {
        "requests": 2,
        "answered": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
    }


async def test_plain_models_answer_in_both_dialects(client: Client) -> None:
    messages = [{"role": "user", "content": "你好"}]
    native = "/api/v1/services/aigc/text-generation/generation"
    parameters = {"result_format": "message"}
    _, body = await post(
        client, native, {"model": "qwen-plus", "input": {"messages": messages}, "parameters": parameters}
    )
    assert body["output"]["text"] is None
    assert body["output"]["choices"][0]["message"]["content"]
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]
    _, body = await post(client, native, {"model": "qwen-plus", "input": {"prompt": "你好"}})
    assert body["output"]["text"]
    openai = "/compatible-mode/v1/chat/completions"
    _, body = await post(client, openai, {"model": "qwen-plus", "messages": messages})
    assert body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] > 0
    _, stream = await post(client, openai, {"model": "qwen-plus", "messages": messages, "stream": True})
    assert stream.endswith("data: [DONE]\n\n")
    assert (await ledger(client))["by_app"]["qwen-plus"]["answered"] == 4
    mode = {"response_format": {"type": "json_object"}}
    status, body = await post(client, openai, {"model": "qwen-plus", "messages": messages, **mode})
    assert (status, body["error"]["code"]) == (400, "InvalidParameter")
    await client.post("/sandbox/faults", {"errcode": "Throttling.RateQuota"})
    status, body = await post(client, openai, {"model": "qwen-plus", "messages": messages})
    assert (status, body["error"]["code"]) == (429, "limit_requests")


async def test_reset_forgets_the_account_unless_it_is_kept(client: Client) -> None:
    await client.post("/sandbox/ai/apps", {"app_id": "app1", "replies": ["好"]})
    await ask(client)
    await client.post("/sandbox/reset", {"keep": ["ai"]})
    assert (await ledger(client))["total"]["answered"] == 1
    await client.post("/sandbox/reset")
    assert (await client.get("/sandbox/ai/requests"))["requests"] == []
    assert (await ledger(client))["by_app"] == {}
    assert (await client.get("/sandbox/ai/apps"))["apps"] == []
