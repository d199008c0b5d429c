"""One destination, called with bounds on everything and no second try."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from urllib.parse import urlsplit

from opentelemetry.trace import Span

from shared.errors import Invalid
from shared.http.connection import Answer, Lost
from shared.http.decode import Undecodable, decoded
from shared.http.failures import HttpFailure, Kind, NotSent, Unclear
from shared.http.pool import Pool, Unreachable
from shared.http.tracing import TRACEPARENT, client_span
from shared.values import value_class

DEADLINE = 10.0
"""Seconds a call may take in all when its caller does not say."""

# What may stand in a request target as it is: no space, no control, no fragment, ASCII only.
_TARGET = re.compile(r"/[!-\"$-~]*\Z")
_METHOD = re.compile(r"[A-Z]+\Z")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[\t -~]*\Z")
_OURS = "User-Agent: reach\r\nAccept: */*\r\nAccept-Encoding: identity"
_NO_HEADERS: Mapping[str, str] = {}


class Headers(Mapping[str, str]):
    """An answer's headers, looked up without regard to case; of one that came twice, the first."""

    def __init__(self, came: Sequence[tuple[bytes, bytes]]) -> None:
        self._came = came

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        for key, value in self._came:
            if key.lower() == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1").lower() for name, _ in self._came))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@value_class
class Reply:
    """What the server answered, whatever its status; redirects are answers too."""

    status: int
    body: bytes = field(repr=False)
    """The whole body, content coding undone."""

    headers: Mapping[str, str] = field(repr=False)
    """Looked up without regard to case."""


class Caller:
    """Calls one base URL over a bounded pool of keep-alive connections.

    Every call ends in a :class:`Reply`, :class:`NotSent` or :class:`Unclear` within its deadline,
    and puts at most one request on the wire. Redirects are returned, proxies and netrc ignored,
    cookies dropped, certificates verified. Cancelling a call closes its connection; whether the
    request was read is then unknown and for the canceller to record.

    Make it anywhere; use and close it within one event loop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        allowed_hosts: Collection[str],
        limit: int = 64,
        connect_timeout: float = 3.0,
        pool_timeout: float = 3.0,
        idle: float = 3.0,
        max_reply_bytes: int = 256 * 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """*base_url* is scheme, host, port and an optional path; its host must be allowed.

        *limit* connections at most; a call waits up to *pool_timeout* seconds for one, then up to
        *connect_timeout* for name, socket and TLS together. A connection idle for *idle* seconds
        is not used again (shorter than what servers commonly keep, so that we close first).
        Raises :class:`shared.errors.Invalid` for a URL it will not call.
        """
        scheme, self.host, port, self._prefix = _checked(base_url, allowed_hosts)
        named = f"[{self.host}]" if ":" in self.host else self.host
        self._authority = f"{named}:{port}" if port else named
        self.base_url = f"{scheme}://{self._authority}{self._prefix}"
        self.limit = limit
        self._max_reply_bytes = max_reply_bytes
        tls = (ssl_context or ssl.create_default_context()) if scheme == "https" else None
        self._port = port or (443 if tls else 80)
        self._pool = Pool(
            self.host,
            self._port,
            tls,
            limit=limit,
            wait=pool_timeout,
            connect_timeout=connect_timeout,
            idle=idle,
            max_body=max_reply_bytes,
        )

    async def post(
        self,
        path_and_query: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        parent: Span | None = None,
    ) -> Reply:
        """POST *body* as it is; see :meth:`request`."""
        return await self.request(
            "POST",
            path_and_query,
            body,
            headers=headers,
            deadline=deadline,
            traceparent=traceparent,
            parent=parent,
        )

    async def get(
        self,
        path_and_query: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        parent: Span | None = None,
    ) -> Reply:
        """GET; see :meth:`request`."""
        return await self.request(
            "GET",
            path_and_query,
            None,
            headers=headers,
            deadline=deadline,
            traceparent=traceparent,
            parent=parent,
        )

    async def request(
        self,
        method: str,
        path_and_query: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        parent: Span | None = None,
    ) -> Reply:
        """Send one request, wait at most *deadline* seconds for the whole answer.

        *path_and_query* is relative to the base URL, starts with ``/`` and is sent byte for byte.
        *traceparent* (W3C) is passed on if well formed; with a *parent* span that is recording, a
        client span is opened beneath it and takes its place. Raises :class:`NotSent`,
        :class:`Unclear`, or ``ValueError`` for a target that is none.
        """
        if not _TARGET.match(path_and_query):
            # The target itself stays out of the text: it may hold a token.
            raise ValueError("the path must start with / and hold printable ASCII only, without #")
        call = _Call(method, self.host, self._prefix + path_and_query.partition("?")[0])
        target = self._prefix + path_and_query
        if parent is None or not parent.is_recording():
            request = self._request(method, target, body, headers, traceparent)
            return _answer(await self._attempt(call, request, deadline))
        with client_span(parent, method, self.host, self._port, call.path) as span:
            request = self._request(method, target, body, headers, span.traceparent)
            outcome = await self._attempt(call, request, deadline)
            span.ended(outcome.kind if isinstance(outcome, HttpFailure) else outcome.status)
        return _answer(outcome)

    @property
    def spare(self) -> int:
        """How many open connections wait for their next call."""
        return self._pool.spare

    async def close(self) -> None:
        """Close every connection; calls under way fail. Later calls are not sent."""
        self._pool.close()

    def _request(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        traceparent: str | None,
    ) -> bytes:
        """The bytes of a request. No coding is asked for: answers are a few hundred bytes."""
        if not _METHOD.match(method) or method == "HEAD":
            raise ValueError("the method must be one whose answer has a body")
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}", _OURS]
        for name, value in headers.items():
            if not _NAME.match(name) or not _VALUE.match(value):
                raise ValueError(f"the header {name!r} cannot be sent as it is")
            lines.append(f"{name}: {value}")
        if traceparent is not None and "traceparent" not in headers and TRACEPARENT.match(traceparent):
            lines.append(f"traceparent: {traceparent}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join((*lines, "\r\n")).encode("ascii") + (body or b"")

    async def _attempt(self, call: _Call, request: bytes, deadline: float) -> Reply | HttpFailure:
        """The reply or the failure, as a value: raised outside any ``except``, it drags nothing along."""
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline
        if deadline <= 0:
            return call.failed(NotSent, Kind.DEADLINE)
        try:
            connection = await self._pool.take(until)
        except Unreachable as why:
            return call.failed(NotSent, why.kind, why.detail)
        except Exception as error:
            return call.failed(NotSent, Kind.UNEXPECTED, type(error).__name__)
        # From here on anything unforeseen counts as sent.
        timer = loop.call_at(until, connection.give_up, Kind.DEADLINE)
        try:
            return self._reply(await connection.begin(request))
        except (Lost, Undecodable) as why:
            return call.failed(Unclear, why.kind, why.detail)
        except BaseException as error:
            connection.give_up(Kind.CLOSED)
            if not isinstance(error, Exception):
                raise
            return call.failed(Unclear, Kind.UNEXPECTED, type(error).__name__)
        finally:
            timer.cancel()
            self._pool.back(connection)

    def _reply(self, answer: Answer) -> Reply:
        headers = Headers(answer.headers)
        coding = headers.get("Content-Encoding", "")
        return Reply(answer.status, decoded(answer.body, coding, self._max_reply_bytes), headers)


@value_class
class _Call:
    """What may be said about a call."""

    method: str
    host: str
    path: str

    def failed(self, how: type[HttpFailure], kind: Kind, detail: str = "") -> HttpFailure:
        return how(kind, method=self.method, host=self.host, path=self.path, detail=detail)


def _answer(outcome: Reply | HttpFailure) -> Reply:
    if isinstance(outcome, HttpFailure):
        raise outcome
    return outcome


def _checked(base_url: str, allowed_hosts: Collection[str]) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of a base URL, after every check that needs no network."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise Invalid.field("base_url", "is not a URL") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise Invalid.field("base_url", "must be http(s)://host[:port][/path]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Invalid.field("base_url", "must hold no user, query or fragment")
    if host not in {allowed.lower() for allowed in allowed_hosts}:
        raise Invalid.field(
            "base_url", f"host {host} is not in the list of allowed hosts", "HOST_NOT_ALLOWED"
        )
    prefix = parts.path.rstrip("/")
    if prefix and not _TARGET.match(prefix):
        raise Invalid.field("base_url", "its path must be printable ASCII")
    return parts.scheme, host, port, prefix
