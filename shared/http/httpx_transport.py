"""httpx's interface over :class:`shared.http.Caller`, with classes that keep their meaning.

For those who want httpx's models outside the hot path. With the ready-made aiohttp transport a POST
the server read and then dropped raises the ``ConnectTimeout`` a refused connection raises; here a
``ConnectError`` or ``ConnectTimeout`` (or ``PoolTimeout``) means that nothing was sent.
"""

from __future__ import annotations

import httpx

from shared.http.caller import DEADLINE, Caller, Reply
from shared.http.failures import HttpFailure, Kind, NotSent

_NOT_SENT: dict[Kind, type[httpx.TransportError]] = {
    Kind.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    Kind.DEADLINE: httpx.ConnectTimeout,
    Kind.POOL_TIMEOUT: httpx.PoolTimeout,
}
_UNCLEAR: dict[Kind, type[httpx.TransportError]] = {
    Kind.DEADLINE: httpx.ReadTimeout,
    Kind.RESET: httpx.ReadError,
    Kind.TOO_LARGE: httpx.ReadError,
}
# The Caller says who it is, frames messages, negotiates codings and undoes them itself.
_OURS_OUT = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent"}
)
_OURS_IN = frozenset({"connection", "content-length", "transfer-encoding", "content-encoding"})


class CallerTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests for one origin through a :class:`Caller`, which it closes.

    The answer is read whole, within the caller's cap. httpx's own time-outs are per read and do not
    stop a drip, so *deadline*, in seconds for the whole call, takes their place.
    """

    def __init__(self, caller: Caller, *, deadline: float = DEADLINE) -> None:
        self._caller = caller
        self._deadline = deadline
        self._base = httpx.URL(caller.base_url)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, one answer; raises httpx's transport errors with our texts."""
        target = self._target(request)
        body = await request.aread()
        headers = {k: v for k, v in request.headers.items() if k not in _OURS_OUT}
        outcome: Reply | HttpFailure
        try:
            outcome = await self._caller.request(
                request.method,
                target,
                body or None,
                headers=headers,
                deadline=self._deadline,
                traceparent=headers.get("traceparent"),
            )
        except HttpFailure as failure:
            outcome = failure
        if isinstance(outcome, HttpFailure):
            raise _as_httpx(outcome, request)
        kept = [(k, v) for k, v in outcome.headers.items() if k.lower() not in _OURS_IN]
        return httpx.Response(outcome.status, headers=kept, content=outcome.body, request=request)

    async def aclose(self) -> None:
        """Close the caller beneath."""
        await self._caller.close()

    def _target(self, request: httpx.Request) -> str:
        """The part after the base URL; another origin is refused before any connection."""
        ours, theirs = self._base, request.url
        target = theirs.raw_path.decode("ascii")
        prefix = ours.raw_path.decode("ascii").rstrip("/")
        same = (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)
        if not same or not target.startswith(prefix + "/"):
            raise httpx.ConnectError(f"only {self._caller.base_url} may be called from here", request=request)
        return target.removeprefix(prefix)


def _as_httpx(failure: HttpFailure, request: httpx.Request) -> httpx.TransportError:
    if isinstance(failure, NotSent):
        kind = _NOT_SENT.get(failure.kind, httpx.ConnectError)
    else:
        kind = _UNCLEAR.get(failure.kind, httpx.RemoteProtocolError)
    return kind(str(failure), request=request)
