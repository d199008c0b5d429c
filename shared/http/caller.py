"""One destination, called with bounds on everything and no second try."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from aiohttp import ClientRequest, ClientResponse
from multidict import CIMultiDict
from opentelemetry.trace import Span
from yarl import URL

from shared.errors import Invalid
from shared.http import classify
from shared.http.connector import Connector, Progress, progress_of_call
from shared.http.decode import Undecodable, decoded
from shared.http.failures import HttpFailure, Kind, NotSent, Unclear
from shared.http.tracing import TRACEPARENT, client_span

DEADLINE = 10.0
"""Seconds a call may take in all when its caller does not say."""

# What may stand in a request target as it is: no space, no control, no fragment, ASCII only.
_TARGET = re.compile(r"/[!-\"$-~]*\Z")
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered, whatever its status; redirects are answers too."""

    status: int
    body: bytes = field(repr=False)
    """The whole body, content coding undone."""

    headers: Mapping[str, str] = field(repr=False)
    """Looked up without regard to case."""


class _Stopped(Exception):
    """Carries a lost connection past aiohttp, which would silently send a GET again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


async def _once(
    request: ClientRequest, send: Callable[[ClientRequest], Awaitable[ClientResponse]]
) -> ClientResponse:
    """Middleware: at most one request on the wire, also for methods HTTP calls idempotent."""
    lost: Exception
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        lost = error
    raise _Stopped(lost)


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
        self._origin, self.host, self._prefix = _checked(base_url, allowed_hosts)
        self.base_url = self._origin + self._prefix
        self.limit = limit
        self._connect_timeout = connect_timeout
        self._pool_timeout = pool_timeout
        self._idle = idle
        self._max_reply_bytes = max_reply_bytes
        self._ssl: ssl.SSLContext | bool = ssl_context or True
        self._slots = asyncio.Semaphore(limit)
        self._session: aiohttp.ClientSession | None = None
        self._shut = False

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
        url = URL(self.base_url + path_and_query, encoded=True)
        if parent is None or not parent.is_recording():
            return _answer(await self._attempt(call, url, body, _out(headers, traceparent), deadline))
        with client_span(parent, call.method, call.host, url.port, call.path) as span:
            outcome = await self._attempt(call, url, body, _out(headers, span.traceparent), deadline)
            span.ended(outcome.kind if isinstance(outcome, HttpFailure) else outcome.status)
        return _answer(outcome)

    async def close(self) -> None:
        """Close every connection; calls under way fail. Later calls are not sent."""
        self._shut = True
        if self._session is not None:
            await self._session.close()

    async def _attempt(
        self, call: _Call, url: URL, body: bytes | None, headers: CIMultiDict[str], deadline: float
    ) -> Reply | HttpFailure:
        """The reply or the failure, as a value: raised outside any ``except``, it drags no URL along."""
        if self._shut:
            return call.failed(NotSent, Kind.SHUT)
        if deadline <= 0:
            return call.failed(NotSent, Kind.DEADLINE)
        progress = Progress()
        mark = progress_of_call.set(progress)
        bound = asyncio.timeout(deadline)
        try:
            async with bound:
                await self._take_place()
                try:
                    # From here on anything unforeseen counts as sent; the connector knows better.
                    progress.stood = True
                    return await self._exchange(call.method, url, body, headers)
                finally:
                    self._slots.release()
        except _NoSlot:
            return call.failed(NotSent, Kind.POOL_TIMEOUT)
        except Exception as error:
            # Whatever it was, the caller must learn whether the request may have been read.
            return call.classified(error, progress, bound)
        finally:
            progress_of_call.reset(mark)

    async def _take_place(self) -> None:
        """One of ``limit`` places. Ours rather than aiohttp's, to tell a full pool from a slow connect."""
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._pool_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise _NoSlot from None

    async def _exchange(self, method: str, url: URL, body: bytes | None, headers: CIMultiDict[str]) -> Reply:
        response = await self._opened().request(
            method, url, data=body, headers=headers, allow_redirects=False, ssl=self._ssl
        )
        try:
            raw = await self._read(response)
        except BaseException:
            response.close()
            raise
        plain = decoded(raw, response.headers.get("Content-Encoding", ""), self._max_reply_bytes)
        return Reply(response.status, plain, response.headers)

    async def _read(self, response: ClientResponse) -> bytes:
        """The body as it came, refused as soon as it passes the cap."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > self._max_reply_bytes:
                raise Undecodable(Kind.TOO_LARGE)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made on first use because it belongs to the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connector(limit=self.limit, idle=self._idle),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                middlewares=(_once,),
            )
        return self._session


class _NoSlot(Exception):
    """Every connection stayed busy."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What may be said about a call."""

    method: str
    host: str
    path: str

    def failed(self, how: type[HttpFailure], kind: Kind, detail: str = "") -> HttpFailure:
        return how(kind, method=self.method, host=self.host, path=self.path, detail=detail)

    def classified(self, error: Exception, progress: Progress, bound: asyncio.Timeout) -> HttpFailure:
        if isinstance(error, _Stopped):
            error = error.cause
        how = Unclear if progress.stood else NotSent
        if bound.expired() and isinstance(error, TimeoutError):
            return self.failed(how, Kind.DEADLINE)
        kind, detail = (classify.after_connection if progress.stood else classify.before_connection)(error)
        return self.failed(how, kind, detail)


def _answer(outcome: Reply | HttpFailure) -> Reply:
    if isinstance(outcome, HttpFailure):
        raise outcome
    return outcome


def _out(headers: Mapping[str, str], traceparent: str | None) -> CIMultiDict[str]:
    """The caller's headers and ours. No coding is asked for: answers are a few hundred bytes."""
    out = CIMultiDict({"Accept-Encoding": "identity", "User-Agent": "reach"})
    out.update(headers)
    if traceparent is not None and TRACEPARENT.match(traceparent):
        out["traceparent"] = traceparent
    return out


def _checked(base_url: str, allowed_hosts: Collection[str]) -> tuple[str, str, str]:
    """Origin, host and path of a base URL, after every check that needs no network."""
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
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + (f":{port}" if port else ""), host, prefix
