"""The page at `/`: phones and groups as they receive, customers' phones to type on, what owners are asked to send, and what
AI applications were asked; over server-sent events.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path

import jinja2
import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.groups.mass_inspection import owners
from sandbox.journal import Arrival
from sandbox.kf.lines import Line
from sandbox.ring import Ring
from sandbox.world import World

_HERE = Path(__file__).parent
_BATCH = 300
_HISTORY = 500
_CHATS = 200
_AI_CALLS = 20
_OWNERS = 50
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
        "updated": [arrival.view() for arrival in world.journal.updated],
        "kf": _kf(world),
        "owners": [one for one in owners(world) if one["prompts"]][:_OWNERS],
        "ai": [call.brief() for call in islice(world.ai.calls.newest_first(), _AI_CALLS)],
        "ai_tokens": world.ai.total.view()["total_tokens"],
    }


def _kf(world: World) -> dict[str, object]:
    """Accounts, and the sessions of the chats that were written in last."""
    lines = islice(world.kf.lines.ring.newest_first(), _HISTORY)
    pairs = dict.fromkeys((line.open_kfid, line.external_userid) for line in lines)
    now, sessions = world.clock.now(), world.kf.sessions
    return {
        "accounts": [account.view() for account in islice(world.directory.kf.accounts.values(), _CHATS)],
        "sessions": [sessions.view(sessions.of(*pair, now)) for pair in islice(pairs, _CHATS)],
        "recalled": list(world.kf.lines.recalled),
    }


def _said(world: World, line: Line) -> dict[str, object]:
    """A line of a customer's chat, with the names that stand above it."""
    customer = world.directory.kf.customers.get(line.external_userid)
    name = customer.nickname if customer is not None and customer.nickname else line.external_userid
    return {**line.view(), "name": name, "account": world.kf.name_of(line.open_kfid)}


def _first_look(ring: Ring[Arrival] | Ring[Line]) -> int:
    """The number after which a newcomer starts: the newest `_HISTORY` of a ring."""
    return max(ring.oldest, ring.next_number - _HISTORY) - 1


async def _follow(world: World) -> AsyncIterator[bytes]:
    """Batches of arrivals; a reader that is too slow for the traffic skips to the newest."""
    arrived, arrivals, lines = world.journal.arrived, world.journal.arrivals, world.kf.lines.ring
    cursor, heard, epoch = _first_look(arrivals), _first_look(lines), 0
    while not arrived.closed:
        if epoch != world.epoch:
            epoch, cursor, heard = world.epoch, _first_look(arrivals), _first_look(lines)
            yield _event("reset", {"epoch": epoch})
        world.settle()
        yield _event("state", _state(world))
        if arrivals.next_number - cursor > 2 * _HISTORY:
            cursor = arrivals.next_number - _HISTORY - 1
        if lines.next_number - heard > 2 * _HISTORY:
            heard = lines.next_number - _HISTORY - 1
        batch: list[Arrival] = list(islice(arrivals.after(cursor), _BATCH))
        said: list[Line] = list(islice(lines.after(heard), _BATCH))
        if batch:
            cursor = batch[-1].number
            yield _event("messages", [arrival.view() for arrival in batch])
        if said:
            heard = said[-1].number
            yield _event("kf", [_said(world, line) for line in said])
        if batch or said:
            await world.closing.wait(0.15)  # gather what comes close together
        else:
            cursor, heard = arrivals.next_number - 1, lines.next_number - 1
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
