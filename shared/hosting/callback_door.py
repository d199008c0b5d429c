"""A callback door: the platform tells what happened, under a signature, in a cipher.

GET verifies the URL and answers the bare plaintext. POST answers 200 ``success`` once the effect is committed, also
for a repeat and for an event that means nothing here. Whatever is not a genuine, fresh callback for us gets 403 and
an empty body, always the same one: nobody learns how far a forgery got. 503 means that our database is away: the
platform may repeat after a failure, and what it does not repeat, each service's own timers catch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.clock import Clock
from shared.db import callbacks
from shared.db.engine import Database
from shared.errors import ReachError
from shared.settings import Callback
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.callback import MOST_BYTES, CallbackKey, Forged, Opened, Stamp, repeat_keys

BODY_SECONDS = 3.0
"""How long a body may take to arrive; the platform gives the whole answer five seconds."""

Take = Callable[[AsyncConnection, Mapping[str, str], datetime], Awaitable[str]]
"""Has the effect of a genuine callback's fields, in the transaction that remembers it; what it came to, in a word."""

_log = structlog.get_logger("reach.callback")


def callback_key(corp_id: str | None, door: Callback) -> CallbackKey | None:
    """What the callbacks of *door* are checked with; None where none is configured, and there is no such door then."""
    if door.token is None or door.aes_key is None or not corp_id:
        return None
    return CallbackKey(door.token.get_secret_value(), door.aes_key.get_secret_value(), corp_id)


class CallbackDoor:
    """One callback URL: *path*, whose last word is its name in logs and figures, of *service*."""

    def __init__(
        self,
        service: str,
        path: str,
        database: Database,
        key: CallbackKey,
        take: Take,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._service, self._path = service, path
        self._name = path.rpartition("/")[2]
        self._database = database
        self._key = key
        self._take = take
        self._clock = clock
        self._numbers = numbers

    @property
    def route(self) -> Route:
        """Where it is served."""
        return Route(self._path, self._answer, methods=["GET", "POST"])

    async def _answer(self, request: Request) -> Response:
        try:
            stamp = Stamp.of_query(request.scope["query_string"])
            if request.method == "POST":
                return await self._delivery(stamp, request)
            if request.method == "HEAD":
                raise Forged("the platform asks with GET")
            text = self._key.echo(stamp, self._clock.now())
            self._count("verified")
            return Response(text, media_type="text/plain")
        except Forged as why:
            _log.warning("a callback was refused", door=self._name, why=str(why))
            self._count("refused")
            return Response(status_code=403)

    async def _delivery(self, stamp: Stamp, request: Request) -> Response:
        opened = self._key.open(stamp, await _body(request), self._clock.now())
        said = opened.fields()
        try:
            verdict = await self._database.transact(lambda conn: self._record(conn, opened, said))
        except ReachError as error:
            if not error.transient:
                raise Forged(f"it holds what cannot be written: {error.message}") from error
            _log.error("a callback could not be recorded", door=self._name, reason=error.reason)
            self._count("unavailable")
            return Response(status_code=503)
        self._count(verdict)
        return Response("success", media_type="text/plain")

    async def _record(self, conn: AsyncConnection, opened: Opened, said: Mapping[str, str]) -> str:
        now = self._clock.now()
        if not await callbacks.is_new(conn, repeat_keys(opened, said), now):
            return "duplicate"
        return str(await self._take(conn, said, now))

    def _count(self, verdict: str) -> None:
        self._numbers.add(metrics.CALLBACKS, service=self._service, door=self._name, verdict=verdict)


async def _body(request: Request) -> bytes:
    """The body, of which no more is read than may be taken."""
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                read += chunk
                if len(read) > MOST_BYTES:
                    raise Forged("the body is too long")
    except TimeoutError:
        raise Forged("the body did not arrive in time") from None
    return bytes(read)
