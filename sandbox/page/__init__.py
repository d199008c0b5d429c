"""The page at `/`: phones and groups as they receive, over server-sent events."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path

import jinja2
import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.journal import Arrival
from sandbox.world import World

_HERE = Path(__file__).parent
_BATCH = 300
_HISTORY = 500
_HEARTBEAT_SECONDS = 5.0
_CSP = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STATIC = {"style.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}


def _event(name: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(value))


def _state(world: World) -> dict[str, object]:
    return {
        "clock": world.clock.view(),
        "faults": [fault.view() for fault in world.faults],
        "totals": world.journal.stats()["messages"],
        "requests": world.journal.totals["requests"],
        "epoch": world.epoch,
        "recalled": list(world.journal.recalled),
    }


def _first_look(world: World) -> int:
    """The number after which a newcomer starts: the newest `_HISTORY` arrivals."""
    return max(world.journal.arrivals.oldest, world.journal.arrivals.next_number - _HISTORY) - 1


async def _follow(world: World) -> AsyncIterator[bytes]:
    """Batches of arrivals; a reader that is too slow for the traffic skips to the newest."""
    arrived, arrivals = world.journal.arrived, world.journal.arrivals
    cursor, epoch = _first_look(world), 0
    while not arrived.closed:
        if epoch != world.epoch:
            epoch, cursor = world.epoch, _first_look(world)
            yield _event("reset", {"epoch": epoch})
        yield _event("state", _state(world))
        if arrivals.next_number - cursor > 2 * _HISTORY:
            cursor = arrivals.next_number - _HISTORY - 1
        batch: list[Arrival] = list(islice(arrivals.after(cursor), _BATCH))
        if batch:
            cursor = batch[-1].number
            yield _event("messages", [arrival.view() for arrival in batch])
            await world.closing.wait(0.15)  # gather what comes close together
        else:
            cursor = arrivals.next_number - 1
            await arrived.wait(_HEARTBEAT_SECONDS)


def _stream(world: World) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(_follow(world), media_type="text/event-stream", headers=headers)

    return serve


def _index(world: World) -> Callable[[Request], Awaitable[Response]]:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True)
    template = environment.get_template("index.html")

    async def serve(request: Request) -> Response:
        html = template.render(
            base=str(request.base_url).rstrip("/"), directory=world.directory, started=int(time.time())
        )
        return HTMLResponse(html, headers={"content-security-policy": _CSP, "cache-control": "no-store"})

    return serve


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return Response(status_code=404)
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response((_HERE / name).read_bytes(), media_type=_STATIC[name], headers=headers)


def routes(world: World) -> list[Route]:
    """The page, its two files and its stream."""
    return [
        Route("/", _index(world)),
        Route("/sandbox/stream", _stream(world)),
        Route("/sandbox/page/{name}", _static),
    ]
