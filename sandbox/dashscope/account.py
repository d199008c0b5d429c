"""The account behind the keys: its applications, what they were asked and billed, its limits and conversations."""

import itertools
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from sandbox.clock import rfc3339
from sandbox.dashscope import making
from sandbox.dashscope.codes import Declined
from sandbox.journal import CallRecord
from sandbox.profile import Profile
from sandbox.ring import Ring
from sandbox.windows import RateWindows

_ACCOUNT = "account"
_SESSIONS_KEPT = 10_000
TEXT_CHARS = 64 * 1024
"""What is kept of a prompt and of a reply."""
_BRIEF_CHARS = 600


@dataclass(slots=True)
class App:
    """An application as declared. `replies` are given in turn, the last one again and again."""

    app_id: str
    replies: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    models: Sequence[str] = ("qwen-plus",)
    published: bool = True
    denied: bool = False
    given: int = 0

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "app_id": self.app_id,
            "replies": list(self.replies),
            "schema": self.schema,
            "models": list(self.models),
            "published": self.published,
            "denied": self.denied,
            "given": self.given,
        }


@dataclass(slots=True)
class AiCall:
    """One call of the platform. `billed` is (input, output) tokens, or None when no answer was made."""

    record: CallRecord
    app_id: str
    key: str
    workspace: str
    request_id: str
    stream: bool = False
    prompt: str = ""
    session_id: str = ""
    reply: str | None = None
    billed: tuple[int, int] | None = None

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/ai/requests` shows it: of the key, enough to tell it from others."""
        record, billed = self.record, self.billed or (0, 0)
        return {
            "number": record.number,
            "at": rfc3339(record.at),
            "path": record.path,
            "app_id": self.app_id,
            "key": masked(self.key),
            "workspace": self.workspace,
            "request_id": self.request_id,
            "stream": self.stream,
            "prompt": self.prompt,
            "session_id": self.session_id,
            "reply": self.reply,
            "input_tokens": billed[0],
            "output_tokens": billed[1],
            "code": record.errcode,
            "http_status": record.http_status,
            "fault": record.fault,
            "traceparent": record.traceparent or None,
            "client_left": record.client_left,
        }

    def brief(self) -> dict[str, object]:
        """As the page shows it."""
        return {
            **self.view(),
            "prompt": self.prompt[:_BRIEF_CHARS],
            "reply": None if self.reply is None else self.reply[:_BRIEF_CHARS],
        }


@dataclass(slots=True)
class Entry:
    """What was counted under one name."""

    requests: int = 0
    answered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def view(self) -> dict[str, int]:
        """As JSON shows it."""
        return {
            "requests": self.requests,
            "answered": self.answered,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        }


@dataclass(slots=True)
class _Session:
    app_id: str
    key: str
    until: float
    rounds: int = 0
    tokens: int = 0
    """Of everything that was said in it."""


class Account:
    """One account, whatever keys call it."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._ids = itertools.count(1)
        self._prefix = secrets.token_hex(8)
        self.calls: Ring[AiCall] = Ring(profile.ai_requests_kept)
        self.clear()

    def clear(self) -> None:
        """Forget declarations, calls, ledger, limits and conversations."""
        self.apps: dict[str, App] = {}
        self.total = Entry()
        self.by_app: dict[str, Entry] = {}
        self.by_key: dict[str, Entry] = {}
        self.by_workspace: dict[str, Entry] = {}
        self._requests = RateWindows(60)
        self._burst = RateWindows(1)
        self._tokens: deque[tuple[float, int]] = deque()
        self._sessions: dict[str, _Session] = {}
        self.calls.clear()

    def opened(self, call: AiCall) -> None:
        """Note that a call arrived."""
        self.calls.append(call)
        for entry in self._entries(call):
            entry.requests += 1

    def request_id(self) -> str:
        """An id for an answer, in the form of a UUID."""
        number = f"{next(self._ids):016x}"
        return f"{self._prefix[:8]}-{self._prefix[8:12]}-{self._prefix[12:]}-{number[:4]}-{number[4:]}"

    def declare(self, document: object) -> Sequence[App]:
        """Take applications in, each instead of the one of its id; ValueError names what does not fit, and nothing is
        changed then."""
        apps = document.get("apps") if isinstance(document, dict) and "apps" in document else [document]
        if not isinstance(apps, list):
            raise ValueError("apps is a list")
        read = [_app(one) for one in apps]
        self.apps.update({app.app_id: app for app in read})
        return read

    def admit(self, app_id: str, now: float) -> App:
        """The application, when account and limits let the call in; Declined."""
        profile = self._profile
        if profile.ai_arrears:
            raise Declined("Arrearage")
        app = self._app(app_id)
        if app.denied:
            raise Declined("App.AccessDenied")
        if not app.published:
            raise Declined("FlowNotPublished")
        kind = profile.rate_window
        if not self._burst.room(_ACCOUNT, profile.ai_burst_per_second, now, kind):
            raise Declined("Throttling.BurstRate")
        if not self._requests.room(_ACCOUNT, profile.ai_requests_per_minute, now, kind):
            raise Declined("Throttling.RateQuota")
        while self._tokens and self._tokens[0][0] <= now - 60:
            self._tokens.popleft()
        limit = profile.ai_tokens_per_minute
        if limit and sum(tokens for _, tokens in self._tokens) >= limit:
            raise Declined("Throttling.AllocationQuota")
        self._burst.take(_ACCOUNT, now)
        self._requests.take(_ACCOUNT, now)
        return app

    def say(self, app: App, prompt: str) -> str:
        """The application's answer to a prompt; Declined with AppProcessFailed when its schema is beyond us."""
        app.given += 1
        if app.replies:
            return app.replies[min(app.given, len(app.replies)) - 1]
        schema = app.schema or making.schema_in(prompt)
        if schema is None:
            return making.words(prompt)
        try:
            return orjson.dumps(making.made(schema, prompt)).decode()
        except (ValueError, LookupError, TypeError) as error:
            raise Declined("AppProcessFailed", str(error)) from None

    def converse(self, call: AiCall, now: float) -> int:
        """Open a call's conversation, a new one unless it goes on with its own; the tokens of what was said in it."""
        profile = self._profile
        known = self._sessions.get(call.session_id)
        if (
            known is None
            or (known.app_id, known.key) != (call.app_id, call.key)
            or known.until <= now
            or known.rounds >= profile.ai_session_rounds
        ):
            known, call.session_id = _Session(call.app_id, call.key, 0), secrets.token_hex(16)
            self._sessions[call.session_id] = known
            if len(self._sessions) > _SESSIONS_KEPT:
                del self._sessions[next(iter(self._sessions))]
        known.until = now + profile.ai_session_seconds
        return known.tokens

    def said(self, call: AiCall, reply: str, tokens: int) -> None:
        """Keep the answer to a call, and a turn of its conversation, in which *tokens* were said."""
        if (session := self._sessions.get(call.session_id)) is not None:
            session.rounds += 1
            session.tokens += tokens
        call.reply = reply[:TEXT_CHARS]

    def bill(self, call: AiCall, tokens: tuple[int, int], now: float) -> None:
        """Charge what an answer cost."""
        call.billed = tokens
        self._tokens.append((now, sum(tokens)))
        for entry in self._entries(call):
            entry.answered += 1
            entry.input_tokens += tokens[0]
            entry.output_tokens += tokens[1]

    def ledger(self) -> dict[str, object]:
        """As `GET /sandbox/ai/ledger` shows it."""
        return {
            "total": self.total.view(),
            "by_app": {name: entry.view() for name, entry in sorted(self.by_app.items())},
            "by_key": {masked(name): entry.view() for name, entry in sorted(self.by_key.items())},
            "by_workspace": {name: entry.view() for name, entry in sorted(self.by_workspace.items())},
        }

    def _entries(self, call: AiCall) -> Sequence[Entry]:
        named = ((self.by_app, call.app_id), (self.by_key, call.key), (self.by_workspace, call.workspace))
        return (self.total, *(entries.setdefault(name, Entry()) for entries, name in named))

    def _app(self, app_id: str) -> App:
        known = self.apps.get(app_id)
        if known is not None:
            return known
        if self._profile.directory == "strict" or app_id.startswith(("wrong", "invalid", "nobody")):
            raise Declined("NotFound", f"App {app_id} not found.")
        app = App(app_id, published=not app_id.startswith("unpublished"), denied=app_id.startswith("denied"))
        self.apps[app_id] = app
        return app


def masked(key: str) -> str:
    """A key as it may be shown: enough to tell it from others."""
    return f"{key[:3]}***{sha256(key.encode()).hexdigest()[:6]}" if key else ""


def _app(document: object) -> App:
    if not isinstance(document, dict):
        raise ValueError("an app is a JSON object")
    unknown = sorted(set(document) - {"app_id", "replies", "schema", "models", "published", "denied"})
    if unknown:
        raise ValueError(f"an app has no field {unknown[0]!r}")
    app_id, replies, schema = document.get("app_id"), document.get("replies", []), document.get("schema")
    models = document.get("models", ["qwen-plus"])
    if not isinstance(app_id, str) or not app_id:
        raise ValueError("app_id is a text and needed")
    if not isinstance(replies, list):
        raise ValueError("replies is a list of texts and of values that are given as JSON")
    if schema is not None and not isinstance(schema, dict):
        raise ValueError("schema is a JSON Schema")
    if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
        raise ValueError("models is a list of names")
    texts = [reply if isinstance(reply, str) else orjson.dumps(reply).decode() for reply in replies]
    flags = {name: document.get(name, default) for name, default in (("published", True), ("denied", False))}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise ValueError("published and denied are true or false")
    return App(app_id, texts, schema, models, **flags)
