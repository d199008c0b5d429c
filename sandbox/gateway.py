"""A simulated vendor's front door: reads a call, strikes it with faults, has it served, answers and records it."""

import asyncio
from collections.abc import Mapping
from email.utils import formatdate
from typing import Protocol
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from sandbox import wire
from sandbox.faults import Fault
from sandbox.journal import CallRecord
from sandbox.world import World

MAX_BODY = 32 * 1024 * 1024


class Visit(Protocol):
    """One call at its platform."""

    def read(self, query: Mapping[str, str], body: bytes) -> None:
        """The call has been read whole."""
        ...

    def answer(self, fault: Fault | None) -> wire.Reply:
        """Serve it, whatever becomes of the answer; of *fault* only what the platform itself would do counts."""
        ...

    def refuse(self, fault: Fault) -> wire.Reply:
        """The answer with the errcode of *fault*, as the platform words it."""
        ...


class Platform(Protocol):
    """What stands behind a front door."""

    def open(self, record: CallRecord, scope: Scope) -> Visit:
        """A call has arrived, of which only the head was read."""
        ...


class Gateway:
    """A raw ASGI app in front of one platform, without middleware."""

    def __init__(self, world: World, platform: Platform) -> None:
        self._world = world
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP call."""
        world = self._world
        send = self._dated(send)
        record = self._record(scope)
        visit = self._platform.open(record, scope)
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
            visit.read(query, body)
            if world.faults and (fault := world.faults.strike(record.path, body, query)) is not None:
                self._strike(record, fault)
            await self._serve(scope, receive, send, record, visit, fault)
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
        content_type = traceparent = host = ""
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
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
            host=host,
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
        visit: Visit,
        fault: Fault | None,
    ) -> None:
        world, path = self._world, record.path
        world.in_flight[path] = world.in_flight.get(path, 0) + 1
        try:
            if fault is not None and fault.latency_ms:
                await world.closing.wait(fault.latency_ms / 1000)
            happens = fault is None or fault.accepted
            reply = visit.answer(fault) if happens else wire.Reply(200, b"{}")
        finally:
            world.in_flight[path] -= 1
        if fault is None:
            record.http_status = reply.status
            await wire.send_reply(send, reply)
        else:
            await self._harm(scope, receive, send, record, visit, fault, reply)

    async def _harm(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        record: CallRecord,
        visit: Visit,
        fault: Fault,
        reply: wire.Reply,
    ) -> None:
        if fault.drop is not None:
            await wire.drop(scope, receive, reset=fault.reset)
            return
        if fault.hang:
            await self._hang(scope, receive, record)
            return
        if fault.errcode is not None:
            reply = visit.refuse(fault)
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

    async def _hang(self, scope: Scope, receive: Receive, record: CallRecord) -> None:
        """Say nothing until the client leaves or the server stops."""
        leaving = asyncio.ensure_future(wire.client_left(receive))
        stopping = asyncio.ensure_future(self._world.closing.wait(86_400))
        _, pending = await asyncio.wait({leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        record.client_left = leaving.done() and not leaving.cancelled()
        if not record.client_left:
            await wire.drop(scope, receive, reset=False)
