"""Answers on the wire, sound and broken.

The server puts the connection's protocol object into the ASGI state (`sandbox.server.Connection`), so a call can
end the TCP connection beneath HTTP without an answer.
"""

import gzip
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus

import orjson
from starlette.types import Receive, Scope, Send

from sandbox.wakeup import Signal

CONNECTION = "sandbox.connection"
_JSON = "application/json; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    streamed: bool = False
    """Sent event by event, without a length said before."""


async def send_reply(send: Send, reply: Reply) -> None:
    """Answer in full."""
    await _start(send, reply)
    if reply.streamed:
        for event in reply.body.split(b"\n\n")[:-1]:
            await send({"type": "http.response.body", "body": event + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.body", "body": reply.body})


async def drip(send: Send, reply: Reply, pause: float, stopping: Signal) -> None:
    """Answer with the body one byte at a time, `pause` seconds apart."""
    await _start(send, reply)
    for index in range(len(reply.body)):
        await send({"type": "http.response.body", "body": reply.body[index : index + 1], "more_body": True})
        await stopping.wait(pause)
    await send({"type": "http.response.body", "body": b""})


async def short(scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
    """Announce the whole body, send half of it and end the connection."""
    await _start(send, reply)
    half = reply.body[: len(reply.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    scope["state"][CONNECTION].transport.close()  # flushes the half, then FIN
    await client_left(receive)


async def drop(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """End the TCP connection with no answer: a FIN, or an RST when `reset`."""
    transport = scope["state"][CONNECTION].transport
    if reset:
        peer: socket.socket = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await client_left(receive)


async def client_left(receive: Receive) -> None:
    """Return when the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def status_reply(status: int, text: str | None, headers: Mapping[str, str]) -> Reply:
    """An answer as a proxy in front of the API would give it."""
    if text is None:
        title = (
            f"{status} {HTTPStatus(status).phrase}"
            if status in HTTPStatus._value2member_map_
            else str(status)
        )
        text = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n"
    return Reply(status, text.encode(), "text/html", headers)


def malformed(how: str, reply: Reply) -> Reply:
    """The answer, spoilt: still complete HTTP with status 200."""
    if how == "truncated":
        return Reply(200, reply.body[: max(1, len(reply.body) * 2 // 3)])
    if how == "html":
        return Reply(200, b"<!DOCTYPE html><html><body>system upgrading</body></html>", "text/html")
    if how == "wrong_types":
        return Reply(
            200, orjson.dumps({"errcode": {"code": "zero"}, "errmsg": 7, "msgid": [1], "access_token": {}})
        )
    if how == "non_utf8":
        return Reply(200, b'{"errcode":0,"errmsg":"' + "成功".encode("gb18030") + b'"}')
    if how == "empty":
        return Reply(200, b"")
    if how == "array":
        return Reply(200, b'[{"errcode":0,"errmsg":"ok"}]')
    if how == "no_errcode":
        return Reply(200, b'{"result":"fine"}')
    if how == "huge":
        return Reply(200, b'{"errcode":0,"errmsg":"' + b"x" * (8 * 1024 * 1024) + b'"}')
    return Reply(200, _bomb(), headers={"content-encoding": "gzip"})


@cache
def _bomb() -> bytes:
    return gzip.compress(b'{"errcode":0,"errmsg":"' + b" " * (128 * 1024 * 1024) + b'"}', 9)


async def _start(send: Send, reply: Reply) -> None:
    headers = [(b"content-type", reply.content_type.encode())]
    if not reply.streamed:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    if reply.headers:
        headers += [
            (name.lower().encode("latin-1"), value.encode("utf-8")) for name, value in reply.headers.items()
        ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
