"""DashScope (百炼) through its own SDK: one request on the wire for each call, whatever happens to it.

The SDK's retries are off, since every request is paid for and every one passes the gates. Its transport is ours
(:class:`shared.http.Caller`): no proxy, no redirect, no cookie, only allowed hosts, an answer of bounded size, and an end
to the question whether anything was sent. The answer is read here, since the SDK drops one whose token counts are odd.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from typing import TYPE_CHECKING, Final

import httpx
import structlog

from services.ai_orchestrator.domain import failures
from services.ai_orchestrator.domain.call import Call, CallProblem, Completion, Usage
from services.ai_orchestrator.domain.failures import Failure, failure_of
from services.ai_orchestrator.domain.lifecycle import CANCELLED
from services.ai_orchestrator.telemetry import CallTelemetry
from shared.clock import Clock
from shared.http import Caller
from shared.http.httpx_transport import CallerTransport
from shared.telemetry.metrics import Metrics
from shared.telemetry.redaction import redact, register_secret

if TYPE_CHECKING:
    from dashscope import AsyncClient

REPLY_BYTES: Final = 4 * 1024 * 1024
"""Most that is read of an answer."""
CONNECTIONS: Final = 256

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""The SDK pastes the id into the URL as it is."""
_KEY = re.compile(r"[!-~]{1,256}\Z")
_COUNT = re.compile(r"[0-9]{1,12}\Z", re.ASCII)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_MESSAGE_CHARS = 300
_WORD_CHARS = 128
_REST = (timedelta(seconds=1), timedelta(minutes=5))
_FOREVER = 86_400.0
"""Of the transport's own deadline: each call's is around the whole of it."""

_log = structlog.get_logger("reach.dashscope")


@dataclass(slots=True)
class _Exchange:
    """What went over the wire for the call under way, where the SDK does not show it."""

    traceparent: str
    reply: httpx.Response | None = None


_exchange: ContextVar[_Exchange] = ContextVar("dashscope_exchange")


class DashScope:
    """See ``pipeline.ports.Provider``. Use and close it within one event loop."""

    def __init__(
        self,
        client: AsyncClient,
        http: httpx.AsyncClient,
        clock: Clock,
        telemetry: CallTelemetry,
        *,
        key: bool,
    ) -> None:
        """See :meth:`open`."""
        self._client = client
        self._http = http
        self._clock = clock
        self._telemetry = telemetry
        self._key = key

    @classmethod
    async def open(
        cls,
        base_url: str,
        key: str,
        clock: Clock,
        numbers: Metrics,
        *,
        allowed_hosts: Collection[str],
        connect_timeout: float = 3.0,
        content: bool = False,
    ) -> DashScope:
        """Ready to call *base_url*, which ends in ``/api/v1``, with *key*; empty: every call is refused here.

        *content*: spans bear what was asked and answered. ``Invalid`` for a host that is not allowed. The SDK is imported
        only now, beside the loop: it takes half a second and 65 MB.
        """
        caller = Caller(
            base_url,
            allowed_hosts=allowed_hosts,
            limit=CONNECTIONS,
            connect_timeout=connect_timeout,
            max_reply_bytes=REPLY_BYTES,
        )
        url = httpx.URL(caller.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        usable = bool(_KEY.match(key))
        if usable:
            register_secret(key)
        http = httpx.AsyncClient(
            base_url=caller.base_url,
            transport=CallerTransport(caller, deadline=_FOREVER),
            headers={"Authorization": f"Bearer {key}"} if usable else {},
            event_hooks={"request": [_traced], "response": [_kept]},
            follow_redirects=False,
            trust_env=False,
        )
        http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        sdk = await asyncio.to_thread(import_module, "dashscope")
        # It warns of every failure, which is recorded and told already.
        logging.getLogger("dashscope").setLevel(logging.ERROR)
        client = sdk.AsyncClient(
            api_key=key or "unset",
            base_url=caller.base_url,
            max_retries=0,
            protocol="native",
            http_client=http,
        )
        return cls(client, http, clock, CallTelemetry(numbers, url.host, port, content=content), key=usable)

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self._http.aclose()

    async def complete(self, call: Call) -> Completion | CallProblem:
        """Ask, within the call's time-out; never raises but for cancellation, which closes the socket."""
        started = time.monotonic()
        outcome: Completion | CallProblem = CallProblem(CANCELLED, message="broken off by its caller")
        try:
            outcome = await self._complete(call)
        finally:
            outcome = replace(outcome, took=timedelta(seconds=time.monotonic() - started))
            self._telemetry.told(call, outcome)
        return outcome

    async def _complete(self, call: Call) -> Completion | CallProblem:
        if self._http.is_closed:
            return _unsent(failures.SHUT, "this process is ending")
        if not self._key:
            return _unsent(
                failures.NO_KEY, "set DASHSCOPE_API_KEY to the key of the workspace that holds the apps"
            )
        if not _APP_ID.match(call.app_id):
            variable = f"DASHSCOPE_APP_ID_{call.app_type.upper()}"
            return _unsent(
                failures.NO_APP, f"set {variable} to the application's id: letters, digits, _ and -"
            )
        exchange = _Exchange(call.traceparent)
        token = _exchange.set(exchange)
        try:
            return await self._asked(call, exchange)
        finally:
            _exchange.reset(token)

    async def _asked(self, call: Call, exchange: _Exchange) -> Completion | CallProblem:
        from dashscope.v2.errors import APIConnectionError, DashScopeError

        try:
            async with asyncio.timeout(call.timeout.total_seconds()):
                await self._client.apps.completions.create(
                    app_id=call.app_id, prompt=call.prompt, session_id=call.session_id or None
                )
        except TimeoutError:
            seconds = call.timeout.total_seconds()
            return _problem(failures.TIMED_OUT, message=f"no whole answer within {seconds:g} s")
        except APIConnectionError as error:
            return _disconnected(error)
        except DashScopeError as error:
            return self._refused(
                error.code, error.status_code, error.message, error.request_id, error.headers
            )
        except Exception as error:
            # An answer that the SDK cannot read: whatever it raised, the answer itself says more.
            if exchange.reply is None:
                _log.exception("dashscope.unexpected", app_type=call.app_type)
                return _problem(failures.BROKEN_OFF, message=type(error).__name__)
        return self._read(exchange.reply)

    def _refused(
        self,
        code: object,
        status: int | None,
        message: object,
        request_id: object,
        headers: Mapping[str, str],
    ) -> CallProblem:
        word, said = _word(code), str(message or "")
        failure = failure_of(word, status, said)
        problem = _problem(failure, code=word, status=status, message=said, request_id=_word(request_id))
        if failure.rest is None:
            return problem
        return replace(problem, retry_at=self._clock.now() + (_rest(headers) or failure.rest))

    def _read(self, reply: httpx.Response | None) -> Completion | CallProblem:
        if reply is None:
            return _problem(failures.UNREADABLE, message="the SDK answered without a reply")
        try:
            body = reply.json()
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            failure = (
                failures.UNREADABLE if reply.status_code == 200 else failure_of("", reply.status_code, "")
            )
            return _problem(failure, status=reply.status_code, message="the answer is no JSON object")
        request_id = _word(body.get("request_id"))
        if reply.status_code != 200 or body.get("code"):
            return self._refused(
                body.get("code"), reply.status_code, body.get("message"), request_id, reply.headers
            )
        output = body.get("output")
        text = output.get("text") if isinstance(output, dict) else None
        if not isinstance(output, dict) or not isinstance(text, str):
            message = "the answer has no output.text"
            return _problem(
                failures.UNREADABLE, status=reply.status_code, message=message, request_id=request_id
            )
        return Completion(
            text=text,
            session_id=_word(output.get("session_id")),
            finish_reason=_word(output.get("finish_reason")),
            usage=usage_of(body.get("usage")),
            request_id=request_id,
            took=timedelta(0),
        )


def usage_of(usage: object) -> Usage | None:
    """The tokens of a reply, all models together; None when it does not tell of every one of them."""
    models = usage.get("models") if isinstance(usage, dict) else None
    if not isinstance(models, list) or not models or not all(isinstance(model, dict) for model in models):
        return None
    asked = [_count(model.get("input_tokens")) for model in models]
    answered = [_count(model.get("output_tokens")) for model in models]
    counted = [count for count in (*asked, *answered) if count is not None]
    if len(counted) < 2 * len(models):
        return None
    names = tuple(_word(model.get("model_id")) for model in models)
    return Usage(
        sum(counted[: len(models)]), sum(counted[len(models) :]), tuple(name for name in names if name)
    )


def _count(value: object) -> int | None:
    if isinstance(value, str) and _COUNT.match(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _disconnected(error: Exception) -> CallProblem:
    cause = error.__cause__
    if isinstance(cause, httpx.PoolTimeout):
        return _unsent(failures.BUSY, str(cause))
    if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout)):
        return _unsent(failures.UNREACHABLE, str(cause))
    return _problem(failures.BROKEN_OFF, message=str(cause or error))


def _unsent(failure: Failure, message: str) -> CallProblem:
    return replace(_problem(failure, message=message), sent=False)


def _problem(
    failure: Failure, *, code: str = "", status: int | None = None, message: str = "", request_id: str = ""
) -> CallProblem:
    return CallProblem(
        reason=failure.reason,
        code=code,
        http_status=status,
        message=_CONTROLS.sub(" ", redact(message[: 4 * _MESSAGE_CHARS])).strip()[:_MESSAGE_CHARS],
        request_id=request_id,
        scope=failure.scope,
        count=failure.count,
        tokens=failure.tokens,
        repeatable=failure.repeatable,
    )


def _rest(headers: Mapping[str, str]) -> timedelta | None:
    """What Retry-After asks for, within bounds."""
    value = headers.get("retry-after", "")
    if not _COUNT.match(value):
        return None
    return min(max(timedelta(seconds=min(int(value), 86_400)), _REST[0]), _REST[1])


def _word(value: object) -> str:
    """A stranger's short word: text without controls, cut."""
    return _CONTROLS.sub("", value)[:_WORD_CHARS] if isinstance(value, str) else ""


async def _traced(request: httpx.Request) -> None:
    if traceparent := _exchange.get().traceparent:
        request.headers["traceparent"] = traceparent


async def _kept(response: httpx.Response) -> None:
    _exchange.get().reply = response
