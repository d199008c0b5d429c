"""WeCom's server API, one HTTP request a call.

Nothing here repeats a send. A refused token is forgotten and reported as ``rejected_retryable`` with
class ``refresh``; the caller records that attempt and makes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote_plus, urlencode

import orjson
from opentelemetry.trace import Span

from shared.clock import Clock
from shared.http import Caller, HttpFailure, Reply
from shared.http.caller import DEADLINE
from shared.values import value_class
from shared.wecom.answers import Garbage, outcome_of_failure, outcome_of_reply, parsed
from shared.wecom.credentials import App, Robot
from shared.wecom.errcodes import RetryClass
from shared.wecom.gettoken import TokenUnavailable
from shared.wecom.multipart import one_file
from shared.wecom.outcome import Outcome, State
from shared.wecom.tokens import TokenAuthority

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_NO_DATA: Mapping[str, object] = {}
_TOO_LATE = Outcome(State.NOT_SENT, "too_late", "nothing was sent: the time to send it had passed")


@value_class
class Answer:
    """An outcome and, where one was understood, the JSON object that came with it."""

    outcome: Outcome
    data: Mapping[str, object] = field(default_factory=dict, repr=False)
    date: datetime | None = None
    """The platform's own time, in whole seconds, where its answer to a read told it."""


@value_class
class _Request:
    """One request but for its credential."""

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    parent: Span | None = None
    wants_data: bool = True
    still: Callable[[], bool] | None = None

    def target(self, name: str, credential: str) -> str:
        target = f"{self.path}?{name}={quote_plus(credential)}"
        return f"{target}&{urlencode(self.params)}" if self.params else target


class WeComClient:
    """Sends for any number of apps and robots to one API base.

    Every method returns within its *deadline* (seconds, token included) and raises nothing but
    ``ValueError`` for arguments that cannot be sent. *traceparent* and *parent* are as in
    :class:`shared.http.Caller`.
    """

    def __init__(self, caller: Caller, tokens: TokenAuthority, clock: Clock) -> None:
        self._caller = caller
        self._tokens = tokens
        self._clock = clock

    async def send_app(
        self,
        app: App,
        payload: bytes,
        *,
        traceparent: str | None = None,
        parent: Span | None = None,
        deadline: float = DEADLINE,
    ) -> Outcome:
        """``message/send`` of *payload*, which goes out byte for byte (a resend must be identical)."""
        request = _Request(
            "POST",
            "/cgi-bin/message/send",
            payload,
            _JSON,
            traceparent=traceparent,
            parent=parent,
            wants_data=False,
        )
        return (await self._for_app(app, request, deadline)).outcome

    async def update_card(
        self, app: App, payload: bytes, *, traceparent: str | None = None, deadline: float = DEADLINE
    ) -> Outcome:
        """``message/update_template_card``; the code in *payload* is taken once, so that a repeat does no harm."""
        request = _Request(
            "POST",
            "/cgi-bin/message/update_template_card",
            payload,
            _JSON,
            traceparent=traceparent,
            wants_data=False,
        )
        return (await self._for_app(app, request, deadline)).outcome

    async def send_robot(
        self,
        robot: Robot,
        payload: bytes,
        *,
        traceparent: str | None = None,
        parent: Span | None = None,
        deadline: float = DEADLINE,
    ) -> Outcome:
        """``webhook/send`` of *payload*; the platform gives no msgid and cannot tell a repeat."""
        request = _Request(
            "POST",
            "/cgi-bin/webhook/send",
            payload,
            _JSON,
            traceparent=traceparent,
            parent=parent,
            wants_data=False,
        )
        return (
            await self._exchange(request, request.target("key", robot.key), deadline, [robot.key])
        ).outcome

    async def upload_media(
        self, sender: App | Robot, kind: str, filename: str, content: bytes, *, deadline: float = DEADLINE
    ) -> Answer:
        """Upload a temporary file (*kind*: image, voice, video, file); ``data["media_id"]`` lives 3 days.

        Robots take ``file`` and ``voice`` only, and their ids work for that robot only.
        """
        body, content_type = one_file(filename, content)
        path = "/cgi-bin/media/upload" if isinstance(sender, App) else "/cgi-bin/webhook/upload_media"
        request = _Request("POST", path, body, {"Content-Type": content_type}, {"type": kind})
        if isinstance(sender, App):
            return await self._for_app(sender, request, deadline)
        return await self._exchange(request, request.target("key", sender.key), deadline, [sender.key])

    async def ready(self, app: App, *, deadline: float = DEADLINE) -> None:
        """Have a token at hand, so that the next call leaves at once. Where there is none, that call says why."""
        with suppress(TokenUnavailable):
            await self._tokens.token(app, deadline=deadline)

    async def get(
        self, app: App, path: str, params: Mapping[str, str] | None = None, *, deadline: float = DEADLINE
    ) -> Answer:
        """A read such as ``/cgi-bin/getcallbackip`` or ``/cgi-bin/agent/get``."""
        return await self._for_app(app, _Request("GET", path, params=params or {}), deadline)

    async def post(
        self,
        app: App,
        path: str,
        asked: Mapping[str, object],
        *,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        still: Callable[[], bool] | None = None,
    ) -> Answer:
        """What the platform wants posted, such as ``/cgi-bin/user/getuserid``.

        *still* is asked once the token is there, right before the request leaves: False, and the outcome is
        ``not_sent`` (``too_late``).
        """
        request = _Request("POST", path, orjson.dumps(asked), _JSON, traceparent=traceparent, still=still)
        return await self._for_app(app, request, deadline)

    async def _for_app(self, app: App, request: _Request, deadline: float) -> Answer:
        """With a token, whose time counts; a refused one is forgotten."""
        clock = asyncio.get_running_loop().time
        ends_at = clock() + deadline
        try:
            token = await self._tokens.token(app, deadline=deadline)
        except TokenUnavailable as failure:
            return Answer(_without_token(failure))
        if request.still is not None and not request.still():
            return Answer(_TOO_LATE)
        target = request.target("access_token", token.value)
        secrets = (token.value, app.secret)
        answer = await self._exchange(request, target, ends_at - clock(), secrets, token.generation)
        if answer.outcome.retry_class is RetryClass.REFRESH:
            await self._tokens.invalidate(app, token.generation)
        return answer

    async def _exchange(
        self,
        request: _Request,
        target: str,
        deadline: float,
        secrets: Collection[str],
        generation: int | None = None,
    ) -> Answer:
        try:
            reply = await self._caller.request(
                request.method,
                target,
                request.body,
                headers=request.headers,
                deadline=deadline,
                traceparent=request.traceparent,
                parent=request.parent,
            )
        except HttpFailure as failure:
            return Answer(outcome_of_failure(failure, generation))
        outcome = outcome_of_reply(reply, secrets, now=self._clock.now, generation=generation)
        if not request.wants_data:
            return Answer(outcome, _NO_DATA)
        return Answer(outcome, _data(reply), _date(reply))


def _data(reply: Reply) -> Mapping[str, object]:
    if reply.status != 200:
        return {}
    try:
        return parsed(reply.body)
    except Garbage:
        return {}


def _date(reply: Reply) -> datetime | None:
    try:
        date = parsedate_to_datetime(reply.headers.get("Date", ""))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _without_token(failure: TokenUnavailable) -> Outcome:
    return Outcome(
        State.NOT_SENT,
        failure.cause,
        failure.detail,
        errcode=failure.errcode,
        retry_class=failure.retry_class,
        retry_after=failure.retry_after,
    )
