"""`/sandbox/…`: what people and tests look at and steer with.

Every answer is JSON; a request that does not fit is 400 with {"error": "…"}. Instants are RFC 3339.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.clicks import press
from sandbox.clock import parse_instant
from sandbox.documents import document_of, fields_of, json_of, queried
from sandbox.groups import inspection as groups
from sandbox.groups import mass_inspection as mass_sends
from sandbox.groups.ways import picture
from sandbox.journal import CallRecord
from sandbox.kf import steering
from sandbox.world import PARTS, Handler, World

_MAX_WAIT = 60.0
_MAX_LIMIT = 10_000


async def _health(world: World, request: Request) -> object:
    return {"status": "serving"}


async def _messages(world: World, request: Request) -> object:
    query = request.query_params
    dropped = {"": "no", "0": "no", "1": "also", "only": "only"}.get(query.get("dropped", ""))
    if dropped is None:
        raise ValueError("dropped is 1 (show what was silently dropped too), only, or 0")
    since, limit = query.get("since", "0"), queried(query.get("limit"), 1000, _MAX_LIMIT)
    after = int(since) if since.isdecimal() else 0
    instant = None if since.isdecimal() else parse_instant(since.replace(" ", "+"))
    found = list(islice(world.journal.find(query.get("to"), after, instant, dropped), limit + 1))
    arrivals = world.journal.arrivals
    page, more = found[:limit], len(found) > limit
    return {
        "messages": [arrival.view() for arrival in page],
        "count": len(page),
        "more": more,
        "next": page[-1].number if more else arrivals.next_number - 1,
        "oldest_kept": arrivals.oldest,
    }


async def _requests(world: World, request: Request) -> object:
    query, calls = request.query_params, world.journal.calls
    limit = queried(query.get("limit"), 1000, _MAX_LIMIT)
    path = query.get("path")
    after = queried(query.get("after"), 0, 2**62)
    matching = (call for call in calls.after(after) if path is None or call.path == path)
    found: list[CallRecord] = list(islice(matching, limit + 1))
    page, more = found[:limit], len(found) > limit
    return {
        "requests": [call.view() for call in page],
        "count": len(page),
        "more": more,
        "next": page[-1].number if more else calls.next_number - 1,
        "oldest_kept": calls.oldest,
    }


async def _stats(world: World, request: Request) -> object:
    return world.journal.stats()


async def _faults(world: World, request: Request) -> object:
    return {"faults": [fault.view() for fault in world.faults]}


async def _add_fault(world: World, request: Request) -> object:
    return world.faults.add(await json_of(request)).view()


async def _clear_faults(world: World, request: Request) -> object:
    world.faults.clear()
    return {"faults": []}


async def _remove_fault(world: World, request: Request) -> object:
    if not world.faults.remove(request.path_params["fault_id"]):
        raise LookupError("no such fault")
    return {"faults": [fault.view() for fault in world.faults]}


async def _clock(world: World, request: Request) -> object:
    version, wait = request.query_params.get("version"), request.query_params.get("wait")
    if version is not None and wait is not None and int(version) == world.clock.version:
        await world.clock.changed.wait(min(max(float(wait), 0.0), _MAX_WAIT))
    return world.clock.view()


async def _set_clock(world: World, request: Request) -> object:
    wanted = fields_of(await json_of(request), {"advance_seconds", "set", "freeze"})
    if not wanted or {"advance_seconds", "set"} <= wanted.keys():
        raise ValueError("give advance_seconds or set, and freeze beside it or alone")
    advance, instant, freeze = wanted.get("advance_seconds", 0), wanted.get("set"), wanted.get("freeze")
    if isinstance(advance, bool) or not isinstance(advance, int | float):
        raise ValueError("advance_seconds is a number")
    if freeze is not None and not isinstance(freeze, bool):
        raise ValueError("freeze is true or false")
    to = parse_instant(str(instant)) if "set" in wanted else None
    if advance:
        to = world.clock.now() + advance
    world.clock.move(to, frozen=freeze)
    return world.clock.view()


async def _end_tokens(world: World, request: Request) -> object:
    wanted = fields_of(await json_of(request), {"mode", "secret", "agentid"})
    mode, secret, agentid = wanted.get("mode", "expire"), wanted.get("secret"), wanted.get("agentid")
    if mode not in ("expire", "invalidate"):
        raise ValueError("mode is expire (42001 from here on) or invalidate (40014)")
    if secret is not None and not isinstance(secret, str):
        raise ValueError("secret is a text")
    if agentid is not None and not isinstance(agentid, int):
        raise ValueError("agentid is a whole number")
    now = world.clock.now()
    return {
        "ended": world.tokens.end(invalidate=mode == "invalidate", secret=secret, agentid=agentid, now=now)
    }


async def _directory(world: World, request: Request) -> object:
    return world.directory.view()


async def _declare(world: World, request: Request) -> object:
    world.directory.declare(await json_of(request))
    return world.directory.view()


async def _profile(world: World, request: Request) -> object:
    return world.profile.view()


async def _change_profile(world: World, request: Request) -> object:
    names = {field.name for field in dataclasses.fields(world.profile)}
    world.profile.update(fields_of(await json_of(request), names), running=True)
    return world.profile.view()


async def _callbacks(world: World, request: Request) -> object:
    return {"callbacks": world.callbacks.view()}


async def _set_callback(world: World, request: Request) -> object:
    await world.callbacks.set_up(await json_of(request), world.clock.now())
    return {"callbacks": world.callbacks.view()}


async def _clear_callbacks(world: World, request: Request) -> object:
    world.callbacks.clear()
    return {"callbacks": []}


async def _click(world: World, request: Request) -> object:
    return await press(world, await json_of(request))


async def _deliveries(world: World, request: Request) -> object:
    wait = min(max(float(request.query_params.get("wait", "0")), 0.0), _MAX_WAIT)
    return await world.courier.view(request.query_params.get("kind"), wait)


async def _steer_deliveries(world: World, request: Request) -> object:
    return {"released": await world.courier.steer(await json_of(request))}


async def _kf_messages(world: World, request: Request) -> object:
    query = request.query_params
    after, limit = queried(query.get("since"), 0, 2**62), queried(query.get("limit"), 1000, _MAX_LIMIT)
    found = list(
        islice(world.kf.lines.find(query.get("open_kfid"), query.get("external_userid"), after), limit + 1)
    )
    page, more = found[:limit], len(found) > limit
    return {
        "messages": [line.view() for line in page],
        "count": len(page),
        "more": more,
        "next": page[-1].number if more else world.kf.lines.ring.next_number - 1,
    }


async def _kf_sessions(world: World, request: Request) -> object:
    query = request.query_params
    return steering.sessions(world, query.get("open_kfid"), query.get("external_userid"))


async def _kf_customer(world: World, request: Request) -> object:
    document = await document_of(request)
    return steering.change_customer(world, request.path_params["external_userid"], document)


def _kf(act: Callable[[World, Mapping[str, object]], object]) -> Handler:
    async def handle(world: World, request: Request) -> object:
        return act(world, await document_of(request))

    return handle


async def _ai_requests(world: World, request: Request) -> object:
    query, calls = request.query_params, world.ai.calls
    after, limit = queried(query.get("after"), 0, 2**62), queried(query.get("limit"), 1000, _MAX_LIMIT)
    app_id = query.get("app_id")
    matching = (call for call in calls.after(0) if call.record.number > after)
    wanted = (call for call in matching if app_id is None or call.app_id == app_id)
    found = list(islice(wanted, limit + 1))
    page, more = found[:limit], len(found) > limit
    return {
        "requests": [call.view() for call in page],
        "count": len(page),
        "more": more,
        "next": page[-1].record.number if more else world.journal.calls.next_number - 1,
    }


async def _ai_ledger(world: World, request: Request) -> object:
    return world.ai.ledger()


async def _ai_apps(world: World, request: Request) -> object:
    return {"apps": [app.view() for app in world.ai.apps.values()]}


async def _declare_ai_apps(world: World, request: Request) -> object:
    return {"apps": [app.view() for app in world.ai.declare(await json_of(request))]}


async def _reset(world: World, request: Request) -> object:
    wanted = fields_of(await json_of(request), {"keep"})
    keep = wanted.get("keep", [])
    if not isinstance(keep, list) or not set(map(str, keep)) <= set(PARTS):
        raise ValueError(f"keep lists some of {', '.join(PARTS)}")
    world.reset([str(part) for part in keep])
    return {"epoch": world.epoch, "kept": keep}


def json_response(value: object, status: int = 200) -> Response:
    """An answer of the inspection."""
    return Response(
        orjson.dumps(value), status, media_type="application/json", headers={"cache-control": "no-store"}
    )


def _foreign(request: Request) -> bool:
    """Whether a page of another site asks, which a browser would let write but not read."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _endpoint(world: World, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.method != "GET" and _foreign(request):
            return json_response({"error": "a page of another site may not steer the sandbox"}, 403)
        try:
            world.settle()  # what is about to be seen or changed has happened
            answer = await handler(world, request)
            if request.method != "GET":
                world.journal.arrived.send()  # the page shows clock and faults too
            return json_response(answer)
        except LookupError as error:
            return json_response({"error": str(error.args[0])}, 404)
        except (ValueError, OverflowError) as error:
            return json_response({"error": str(error)}, 400)

    return serve


def _join_way_picture(world: World) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        config_id = request.path_params["config_id"]
        if world.groups.ways.get(config_id) is None:
            return json_response({"error": f"there is no join way {config_id!r}"}, 404)
        return Response(picture(config_id), media_type="image/png")

    return serve


def routes(world: World) -> list[Route]:
    """The inspection's routes."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/sandbox/healthz", _health),
        ("GET", "/sandbox/messages", _messages),
        ("GET", "/sandbox/requests", _requests),
        ("GET", "/sandbox/stats", _stats),
        ("GET", "/sandbox/faults", _faults),
        ("POST", "/sandbox/faults", _add_fault),
        ("DELETE", "/sandbox/faults", _clear_faults),
        ("DELETE", "/sandbox/faults/{fault_id}", _remove_fault),
        ("GET", "/sandbox/clock", _clock),
        ("POST", "/sandbox/clock", _set_clock),
        ("POST", "/sandbox/tokens/expire", _end_tokens),
        ("GET", "/sandbox/directory", _directory),
        ("POST", "/sandbox/directory", _declare),
        ("GET", "/sandbox/profile", _profile),
        ("POST", "/sandbox/profile", _change_profile),
        ("GET", "/sandbox/callbacks", _callbacks),
        ("POST", "/sandbox/callbacks", _set_callback),
        ("DELETE", "/sandbox/callbacks", _clear_callbacks),
        ("GET", "/sandbox/callbacks/deliveries", _deliveries),
        ("POST", "/sandbox/callbacks/deliveries", _steer_deliveries),
        ("POST", "/sandbox/clicks", _click),
        ("GET", "/sandbox/kf/messages", _kf_messages),
        ("POST", "/sandbox/kf/messages", _kf(steering.write)),
        ("POST", "/sandbox/kf/enter", _kf(steering.enter)),
        ("POST", "/sandbox/kf/servicer", _kf(steering.serve)),
        ("POST", "/sandbox/kf/fail", _kf(steering.fail)),
        ("POST", "/sandbox/kf/customers/{external_userid}", _kf_customer),
        ("POST", "/sandbox/kf/accounts", _kf(steering.change_account)),
        ("POST", "/sandbox/kf/sync", _kf(steering.steer_sync)),
        ("GET", "/sandbox/kf/sessions", _kf_sessions),
        *groups.ROUTES,
        *mass_sends.ROUTES,
        ("GET", "/sandbox/ai/requests", _ai_requests),
        ("GET", "/sandbox/ai/ledger", _ai_ledger),
        ("GET", "/sandbox/ai/apps", _ai_apps),
        ("POST", "/sandbox/ai/apps", _declare_ai_apps),
        ("POST", "/sandbox/reset", _reset),
    ]
    made = [Route(path, _endpoint(world, handler), methods=[method]) for method, path, handler in table]
    return [*made, Route("/sandbox/join-ways/{config_id}/qr.png", _join_way_picture(world))]
