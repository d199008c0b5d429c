"""``POST /events``: CloudEvents over HTTP, for publishers that have no broker.

Takes what the bus takes: structured (``application/cloudevents+json``), binary (``ce-…`` headers) and plain JSON (its
type in the body or the query, its store in the body or ``?store_id=``). Answers 202 once the event is recorded,
with its id; 400 naming every field that is wrong; 409 for an id that is known with other content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.notifier.pipeline.admission import Standing, by_rules
from services.notifier.pipeline.gathering import Gathering
from shared.bus import Incoming
from shared.clock import Clock
from shared.errors import Denied, Invalid, ReachError, Throttled, Unauthenticated
from shared.events.canonical import Unreadable
from shared.events.envelope import read_event
from shared.events.kinds import Event
from shared.rpc.guard import Authenticates
from shared.telemetry.traces import traceparent_or_new

SCOPE = "events.publish"
BODY_SECONDS = 5.0
"""How long a body may take to arrive, or slow senders would take all places."""

_STATUS: Mapping[type[ReachError], int] = {Invalid: 400, Unauthenticated: 401, Denied: 403, Throttled: 429}


class EventsDoor:
    """See the module."""

    def __init__(
        self,
        gathering: Gathering,
        authenticator: Authenticates,
        clock: Clock,
        *,
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        self._gathering = gathering
        self._authenticator = authenticator
        self._clock = clock
        self._default_store = default_store
        self._max_bytes = max_bytes

    @property
    def route(self) -> Route:
        """Where it is served."""
        return Route("/events", self._answer, methods=["POST"])

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._take(request)
        except ReachError as error:
            return _refusal(error)

    async def _take(self, request: Request) -> Response:
        caller = await self._authenticator.authenticate(_bearer(request))
        if SCOPE not in caller.scopes:
            raise Denied("SCOPE_MISSING", f"this needs scope {SCOPE}", scope=SCOPE)
        event = self._read(request, await self._body(request))
        if not caller.may_touch(event.store_id):
            raise Denied("STORE_FORBIDDEN", "this token does not list that store")
        admitted = await self._gathering.admit(by_rules(event))
        if admitted.standing is Standing.CONFLICT:
            return JSONResponse(
                {"code": "EVENT_ID_CONFLICT", "message": "this id is known with other content"}, 409
            )
        duplicate = admitted.standing is Standing.DUPLICATE
        return JSONResponse({"event_id": admitted.event_id, "duplicate": duplicate}, 202)

    def _read(self, request: Request, body: bytes) -> Event:
        headers: dict[str, object] = dict(request.headers)
        if store := request.query_params.get("store_id"):
            headers["store_id"] = store
        incoming = Incoming(
            body=body,
            content_type=request.headers.get("content-type", ""),
            routing_key=request.query_params.get("type", ""),
            message_id=request.query_params.get("id"),
            headers=headers,
            door="http",
        )
        return read_event(
            incoming,
            default_store=self._default_store,
            now=self._clock.now(),
            max_bytes=self._max_bytes,
            trace=traceparent_or_new,
        )

    async def _body(self, request: Request) -> bytes:
        """The body, of which no more is read than may be taken."""
        read = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    read += chunk
                    if len(read) > self._max_bytes:
                        raise Unreadable("oversize", f"at most {self._max_bytes} bytes are taken")
        except TimeoutError:
            raise Unreadable("decode", f"the body did not arrive within {BODY_SECONDS:g} s") from None
        return bytes(read)


def _bearer(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refusal(error: ReachError) -> Response:
    status = next((code for word, code in _STATUS.items() if isinstance(error, word)), 503)
    body: dict[str, object] = {"code": error.reason, "message": error.message}
    if error.violations:
        body["violations"] = [{"field": v.field, "description": v.description} for v in error.violations]
    return JSONResponse(body, status)
