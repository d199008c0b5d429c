"""DashScope behind its front door: applications, and plain models in its own and in OpenAI's dialect."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import orjson
from starlette.types import Scope

from sandbox import wire
from sandbox.dashscope.account import TEXT_CHARS, AiCall
from sandbox.dashscope.codes import LOWER, Declined
from sandbox.faults import Fault
from sandbox.gateway import MAX_BODY
from sandbox.journal import CallRecord
from sandbox.world import World

_APP = re.compile(r"/api/v1/apps/([^/]+)/completion\Z")
_MODEL = "/api/v1/services/aigc/text-generation/generation"
_OPENAI = "/compatible-mode/v1/chat/completions"
_KEY_REFUSED = ("wrong", "invalid", "sk-wrong", "sk-invalid")
_HIDDEN = 24
"""Tokens of the instructions that an application adds to every prompt."""
_PIECES = 4
_EVENTS = "text/event-stream;charset=UTF-8"

Body = dict[str, object]


class DashScope:
    """One account; whatever key and application are not known to fail exist."""

    def __init__(self, world: World) -> None:
        self._world = world

    def open(self, record: CallRecord, scope: Scope) -> "_Visit":
        """A call has arrived, of which only the head was read."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scheme, _, key = headers.get("authorization", "").partition(" ")
        found = _APP.match(record.path)
        call = AiCall(
            record=record,
            app_id=found[1] if found else "",
            key=key.strip() if scheme.lower() == "bearer" else "",
            workspace=headers.get("x-dashscope-workspace", ""),
            request_id=self._world.ai.request_id(),
            stream=headers.get("x-dashscope-sse") == "enable" or "event-stream" in headers.get("accept", ""),
        )
        self._world.ai.opened(call)
        return _Visit(self._world, call, app=found is not None)


class _Visit:
    def __init__(self, world: World, call: AiCall, *, app: bool) -> None:
        self._world = world
        self._call = call
        self._app = app
        self._openai = call.record.path == _OPENAI
        self._raw = b""
        self._body: Body = {}
        self._prompt = ""

    def read(self, query: Mapping[str, str], body: bytes) -> None:
        self._raw = body
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        if not isinstance(parsed, dict):
            return
        self._body, call = parsed, self._call
        if not self._app:
            call.app_id = str(parsed.get("model", ""))
        if self._openai:
            call.stream = parsed.get("stream") is True
        asked = parsed if self._openai else _object(parsed, "input")
        self._prompt = _prompt(asked)
        call.prompt, call.session_id = self._prompt[:TEXT_CHARS], str(asked.get("session_id") or "")

    def answer(self, fault: Fault | None) -> wire.Reply:
        record = self._call.record
        try:
            reply = self._served(fault.spoil if fault is not None else None)
        except Declined as declined:
            return self._declined(declined)
        record.errcode = None
        return reply

    def refuse(self, fault: Fault) -> wire.Reply:
        return self._declined(Declined(str(fault.errcode), fault.errmsg))

    def _declined(self, declined: Declined) -> wire.Reply:
        call = self._call
        call.record.errcode = declined.code
        if self._openai:
            code = LOWER.get(declined.code, declined.code)
            error = {"code": code, "message": declined.message, "type": code, "param": None}
            return wire.Reply(declined.status, orjson.dumps({"error": error, "request_id": call.request_id}))
        body = orjson.dumps(
            {"code": declined.code, "message": declined.message, "request_id": call.request_id}
        )
        if call.stream:
            event = b"id:1\nevent:error\n:HTTP_STATUS/%d\ndata:%s\n\n" % (declined.status, body)
            return wire.Reply(declined.status, event, _EVENTS, streamed=True)
        return wire.Reply(declined.status, body)

    def _served(self, spoil: str | None) -> wire.Reply:
        world, call, now = self._world, self._call, self._world.clock.now()
        if call.record.method != "POST" or not (self._app or call.record.path in (_MODEL, _OPENAI)):
            raise Declined("InvalidURL")
        if not call.key or call.key.startswith(_KEY_REFUSED):
            raise Declined("InvalidApiKey")
        if len(self._raw) > MAX_BODY:
            raise Declined("BadRequest.TooLarge")
        if not self._prompt:
            raise Declined("BadRequest.EmptyInput")
        if not self._app and call.app_id.startswith(("wrong", "invalid", "nobody")):
            raise Declined("ModelNotFound")
        self._json_mode()
        app = world.ai.admit(call.app_id, now)
        before = world.ai.converse(call, now) if self._app else 0
        text = _spoilt(world.ai.say(app, self._prompt), spoil)
        models = (*app.models, "qwen-max") if spoil == "two_models" else app.models
        turn = _tokens(self._prompt) + _tokens(text)
        asked = before + _tokens(self._prompt) + (_HIDDEN if self._app else 0)
        usage = [(model, asked, _tokens(text)) for model in models]
        world.ai.bill(call, (sum(n for _, n, _ in usage), sum(n for _, _, n in usage)), now)
        world.ai.said(call, text, turn)
        world.journal.arrived.send()  # the page shows it
        finish = "length" if spoil == "cut" else "stop"
        answer = _Answer(call, text, finish, _counted(usage, spoil))
        if self._openai:
            return answer.openai()
        if self._app:
            return answer.app(self._body, spoil)
        return answer.model(self._body)

    def _json_mode(self) -> None:
        asked = self._body if self._openai else _object(self._body, "parameters")
        mode = asked.get("response_format")
        if (
            isinstance(mode, dict)
            and mode.get("type") == "json_object"
            and "json" not in self._prompt.lower()
        ):
            raise Declined("InvalidParameter", "'messages' must contain the word 'json' in some form.")


Usage = Sequence[tuple[str, object, object]] | None


class _Answer:
    """A model's answer, put into one of the platform's forms."""

    def __init__(self, call: AiCall, text: str, finish: str, usage: Usage) -> None:
        self._call = call
        self._text = text
        self._finish = finish
        self._usage = usage

    def app(self, body: Body, spoil: str | None) -> wire.Reply:
        parameters = _object(body, "parameters")
        if not self._call.stream:
            return self._json(
                self._app_event(self._text, self._finish, last=True, output=spoil != "no_output")
            )
        events: list[Body] = []
        if parameters.get("flow_stream_mode"):
            events += [self._node("Start_1", "Start"), self._node("LLM_1", "LLM")]
        else:
            deltas = parameters.get("incremental_output") is True
            events += [self._app_event(text, "null") for text in _pieces(self._text, deltas=deltas)]
        if spoil != "no_stop":
            deltas = parameters.get("incremental_output") is True and not parameters.get("flow_stream_mode")
            events.append(self._app_event("" if deltas else self._text, self._finish, last=True))
        return _stream(events)

    def model(self, body: Body) -> wire.Reply:
        parameters = _object(body, "parameters")
        message = parameters.get("result_format") == "message"
        if not self._call.stream:
            return self._json(self._model_event(self._text, self._finish, message=message))
        deltas = parameters.get("incremental_output") is True
        events = [
            self._model_event(text, "null", message=message) for text in _pieces(self._text, deltas=deltas)
        ]
        last = self._model_event("" if deltas else self._text, self._finish, message=message)
        return _stream([*events, last])

    def openai(self) -> wire.Reply:
        call = self._call
        head: Body = {
            "id": f"chatcmpl-{call.request_id}",
            "created": int(call.record.at),
            "model": call.app_id,
            "system_fingerprint": None,
        }
        usage: Body | None = None
        if self._usage is not None:
            _, asked, answered = self._usage[0]
            usage = {"prompt_tokens": asked, "completion_tokens": answered}
            if isinstance(asked, int) and isinstance(answered, int):
                usage["total_tokens"] = asked + answered
        if not call.stream:
            message: Body = {"role": "assistant", "content": self._text}
            choice: Body = {"index": 0, "message": message, "finish_reason": self._finish, "logprobs": None}
            body = {**head, "object": "chat.completion", "choices": [choice]}
            return self._json(body if usage is None else {**body, "usage": usage})
        chunk = {**head, "object": "chat.completion.chunk"}
        deltas = [{"content": text} for text in _pieces(self._text, deltas=True)]
        choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {"content": ""}, "finish_reason": self._finish})
        events: list[Body] = [{**chunk, "choices": [choice], "usage": None} for choice in choices]
        if usage is not None:
            events.append({**chunk, "choices": [], "usage": usage})
        lines = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
        return wire.Reply(200, b"".join((*lines, b"data: [DONE]\n\n")), _EVENTS, streamed=True)

    def _app_event(self, text: str, finish: str, *, last: bool = False, output: bool = True) -> Body:
        body: Body = {}
        if output:
            body["output"] = {"finish_reason": finish, "session_id": self._call.session_id, "text": text}
        if not last:
            body["usage"] = {}
        elif self._usage is not None:
            names = ("model_id", "input_tokens", "output_tokens")
            body["usage"] = {"models": [dict(zip(names, one, strict=True)) for one in self._usage]}
        return {**body, "request_id": self._call.request_id}

    def _node(self, node_id: str, kind: str) -> Body:
        message = {
            "node_id": node_id,
            "node_name": node_id,
            "node_type": kind,
            "node_status": "success",
            "node_is_completed": True,
            "node_msg_seq_id": 0,
            "message": {"role": "assistant", "content": self._text if kind == "LLM" else ""},
        }
        output = {"session_id": self._call.session_id, "finish_reason": "null", "workflow_message": message}
        return {"output": output, "usage": {}, "request_id": self._call.request_id}

    def _model_event(self, text: str, finish: str, *, message: bool) -> Body:
        output: Body = {"text": text, "finish_reason": finish}
        if message:
            choice = {"finish_reason": finish, "message": {"role": "assistant", "content": text}}
            output = {"text": None, "choices": [choice]}
        body: Body = {"output": output, "request_id": self._call.request_id}
        if self._usage is not None:
            _, asked, answered = self._usage[0]
            body["usage"] = {"input_tokens": asked, "output_tokens": answered}
            if isinstance(asked, int) and isinstance(answered, int):
                body["usage"] = {
                    "input_tokens": asked,
                    "output_tokens": answered,
                    "total_tokens": asked + answered,
                }
        return body

    @staticmethod
    def _json(body: Body) -> wire.Reply:
        return wire.Reply(200, orjson.dumps(body), "application/json;charset=UTF-8")


def _spoilt(text: str, spoil: str | None) -> str:
    if spoil == "fenced":
        return f"```json\n{text}\n```"
    if spoil == "chatty":
        return f"好的，以下是结果：\n{text}\n希望对您有帮助。"
    if spoil == "cut":
        return text[: len(text) * 2 // 3]
    if spoil == "wrong_schema":
        return '{"unexpected": ["another schema"]}'
    return "" if spoil == "empty" else text


def _counted(usage: Sequence[tuple[str, int, int]], spoil: str | None) -> Usage:
    if spoil == "no_usage":
        return None
    if spoil == "null_usage":
        return [(model, None, None) for model, _, _ in usage]
    if spoil == "text_usage":
        return [(model, str(asked), str(answered)) for model, asked, answered in usage]
    return usage


def _stream(events: Sequence[Body]) -> wire.Reply:
    lines = [
        b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%s\n\n" % (number, orjson.dumps(event))
        for number, event in enumerate(events, 1)
    ]
    return wire.Reply(200, b"".join(lines), _EVENTS, streamed=True)


def _pieces(text: str, *, deltas: bool) -> Iterator[str]:
    marks = [len(text) * index // _PIECES for index in range(_PIECES + 1)]
    for start, end in pairwise(marks):
        yield text[start:end] if deltas else text[:end]


def _tokens(text: str) -> int:
    return max(1, (len(text.encode()) + 2) // 3)


def _object(body: Body, name: str) -> Body:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _prompt(asked: Body) -> str:
    """What is asked: the prompt, or the messages one after the other."""
    messages = asked.get("messages")
    if isinstance(messages, list):
        contents = [one.get("content") for one in messages if isinstance(one, dict)]
        return "\n".join(content for content in contents if isinstance(content, str))
    prompt = asked.get("prompt")
    return prompt if isinstance(prompt, str) else ""
