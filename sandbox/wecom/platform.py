"""WeCom behind its front door: a call finds its endpoint by path, and failures are answered with HTTP 200."""

from collections.abc import Mapping

import orjson
from starlette.types import Scope

from sandbox import wire
from sandbox.answers import Blob, Refused, refusal
from sandbox.call import Answer, Call, Endpoint
from sandbox.faults import Fault
from sandbox.gateway import MAX_BODY
from sandbox.journal import CallRecord
from sandbox.world import World


class WeCom:
    """A table of endpoints: one dictionary look-up."""

    def __init__(self, world: World, endpoints: Mapping[str, Endpoint]) -> None:
        self._world = world
        self._endpoints = endpoints

    def open(self, record: CallRecord, scope: Scope) -> "_Visit":
        """A call has arrived, of which only the head was read."""
        return _Visit(self._world, self._endpoints.get(record.path), record)


class _Visit:
    __slots__ = ("_body", "_endpoint", "_query", "_record", "_world")

    def __init__(self, world: World, endpoint: Endpoint | None, record: CallRecord) -> None:
        self._world = world
        self._endpoint = endpoint
        self._record = record
        self._query: Mapping[str, str] = {}
        self._body = b""

    def read(self, query: Mapping[str, str], body: bytes) -> None:
        self._query, self._body = query, body

    def answer(self, fault: Fault | None) -> wire.Reply:
        record = self._record
        if self._endpoint is None:
            text = f"{record.path} is not simulated"
            return wire.Reply(404, orjson.dumps({"errcode": 404, "errmsg": text}))
        call = Call(self._world, self._query, self._body, record, self._world.clock.now())
        try:
            answer = self._handle(self._endpoint, call)
        except Refused as refused:
            record.errcode = refused.errcode
            failure = refusal(refused.errcode, refused.text, record.client, call.now)
            return wire.Reply(200, orjson.dumps({**failure, **refused.extra}))
        record.errcode = 0
        if isinstance(answer, Blob):
            headers = {**answer.headers, "content-disposition": f'attachment; filename="{answer.filename}"'}
            return wire.Reply(200, answer.content, answer.content_type, headers)
        return wire.Reply(200, orjson.dumps(answer))

    def refuse(self, fault: Fault) -> wire.Reply:
        record = self._record
        record.errcode = errcode = int(fault.errcode or 0)
        failure = refusal(errcode, fault.errmsg, record.client, self._world.clock.now())
        return wire.Reply(200, orjson.dumps(failure))

    def _handle(self, endpoint: Endpoint, call: Call) -> Answer:
        world = self._world
        path = call.record.path
        if len(call.body) > MAX_BODY:
            raise Refused(40206, "request body too large")
        if call.record.method != endpoint.method:
            raise Refused(40063)
        if world.profile.concurrent_calls and world.in_flight[path] > world.profile.concurrent_calls:
            raise Refused(45033)
        if endpoint.kinds is not None:
            call.admit(endpoint.kinds)
        limit = world.profile.endpoint_per_minute
        if endpoint.counted and limit:
            key = f"{call.corp_id}{path}"
            if not world.minute.room(key, limit, call.now, world.profile.rate_window):
                raise Refused(45009)
            world.minute.take(key, call.now)
        return endpoint.handle(call)
