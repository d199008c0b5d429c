"""The simulated vendor's front door: reads a call, strikes it with faults, serves it, answers and records it."""

import asyncio
import logging
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Message, Receive, Scope, Send

from sandbox import wire
from sandbox.answers import Blob, Refused, refusal
from sandbox.call import Answer, Call, Endpoint
from sandbox.faults import Fault
from sandbox.journal import CallRecord
from sandbox.world import World

MAX_BODY = 32 * 1024 * 1024

log = logging.getLogger("sandbox")


class Gateway:
    """A raw ASGI app over a table of endpoints: one dictionary look-up, no middleware."""

    def __init__(self, world: World, endpoints: Mapping[str, Endpoint]) -> None:
        self._world = world
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP call."""
        world = self._world
        send = self._dated(send)
        record = self._record(scope)
        fault = world.faults.before_read(record.path) if world.faults else None
        try:
            if fault is not None:
                self._strike(record, fault)
                await wire.drop(scope, receive, reset=fault.reset)
                return
            body = await self._read(receive)
            if body is None:
                return
            record.body, record.body_size = body[: world.profile.body_bytes_kept], len(body)
            query = dict(parse_qsl(record.query, keep_blank_values=True)) if record.query else {}
            if world.faults and (fault := world.faults.strike(record.path, body, query)) is not None:
                self._strike(record, fault)
            await self._serve(scope, receive, send, record, query, body, fault)
        finally:
            world.journal.answered(record)

    def _dated(self, send: Send) -> Send:
        """*send* with the platform's own time on every answer, unless a fault says another."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if not any(name == b"date" for name, _ in headers):
                    headers.append((b"date", formatdate(self._world.clock.now(), usegmt=True).encode()))
            await send(message)

        return dated

    def _record(self, scope: Scope) -> CallRecord:
        content_type = traceparent = ""
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
        journal, client = self._world.journal, scope["client"]
        record = CallRecord(
            number=journal.calls.next_number,
            at=self._world.clock.now(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            body=b"",
            body_size=0,
            content_type=content_type,
            traceparent=traceparent,
            client=client[0] if client else "127.0.0.1",
        )
        journal.calls.append(record)
        journal.totals["requests"] += 1
        return record

    def _strike(self, record: CallRecord, fault: Fault) -> None:
        record.fault = fault.id
        self._world.journal.totals["faults_applied"] += 1

    @staticmethod
    async def _read(receive: Receive) -> bytes | None:
        """The whole body (of too large a one, the start that shows it is); None when the client left."""
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if not message.get("more_body"):
            return bytes(message.get("body", b""))
        chunks, size = [message["body"]], len(message["body"])
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            size += len(message.get("body", b""))
            if size <= MAX_BODY + 1:
                chunks.append(message.get("body", b""))
        return b"".join(chunks) if size <= MAX_BODY else b" " * (MAX_BODY + 1)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        record: CallRecord,
        query: Mapping[str, str],
        body: bytes,
        fault: Fault | None,
    ) -> None:
        world, path = self._world, record.path
        world.in_flight[path] = world.in_flight.get(path, 0) + 1
        try:
            if fault is not None and fault.latency_ms:
                await world.closing.wait(fault.latency_ms / 1000)
            if fault is None or fault.accepted:
                reply = self._answer(record, query, body)
            else:
                reply = wire.Reply(200, b"{}")
        finally:
            world.in_flight[path] -= 1
        if fault is None:
            record.http_status = reply.status
            await wire.send_reply(send, reply)
        else:
            await self._harm(scope, receive, send, record, fault, reply)

    def _answer(self, record: CallRecord, query: Mapping[str, str], body: bytes) -> wire.Reply:
        world = self._world
        endpoint = self._endpoints.get(record.path)
        if endpoint is None:
            text = f"{record.path} is not simulated"
            return wire.Reply(404, orjson.dumps({"errcode": 404, "errmsg": text}))
        call = Call(world, query, body, record, world.clock.now())
        try:
            answer = self._handle(endpoint, call)
        except Refused as refused:
            record.errcode = refused.errcode
            failure = refusal(refused.errcode, refused.text, record.client, call.now)
            return wire.Reply(200, orjson.dumps({**failure, **refused.extra}))
        record.errcode = 0
        if isinstance(answer, Blob):
            headers = {**answer.headers, "content-disposition": f'attachment; filename="{answer.filename}"'}
            return wire.Reply(200, answer.content, answer.content_type, headers)
        return wire.Reply(200, orjson.dumps(answer))

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

    async def _harm(
        self, scope: Scope, receive: Receive, send: Send, record: CallRecord, fault: Fault, reply: wire.Reply
    ) -> None:
        if fault.drop is not None:
            await wire.drop(scope, receive, reset=fault.reset)
            return
        if fault.hang:
            await self._hang(scope, receive)
            return
        if fault.errcode is not None:
            record.errcode = fault.errcode
            failure: dict[str, Any] = refusal(
                fault.errcode, fault.errmsg, record.client, self._world.clock.now()
            )
            reply = wire.Reply(200, orjson.dumps(failure))
        elif fault.http_status is not None:
            record.errcode = None
            reply = wire.status_reply(fault.http_status, fault.text, fault.headers)
        elif fault.malformed is not None:
            reply = wire.malformed(fault.malformed, reply)
        record.http_status = reply.status
        if fault.drip_ms is not None:
            await wire.drip(send, reply, fault.drip_ms / 1000, self._world.closing)
        elif fault.short:
            await wire.short(scope, receive, send, reply)
        else:
            await wire.send_reply(send, reply)

    async def _hang(self, scope: Scope, receive: Receive) -> None:
        """Say nothing until the client leaves or the server stops."""
        leaving = asyncio.ensure_future(wire.client_left(receive))
        stopping = asyncio.ensure_future(self._world.closing.wait(86_400))
        _, pending = await asyncio.wait({leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if not leaving.done() or leaving.cancelled():
            await wire.drop(scope, receive, reset=False)
