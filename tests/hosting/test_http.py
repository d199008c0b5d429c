"""The HTTP listener bounds what a stranger may make it hold."""

from __future__ import annotations

import asyncio

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.hosting.http import HttpDoor
from shared.settings import Address


async def test_a_header_without_end_is_refused() -> None:
    door = HttpDoor([Route("/", lambda request: PlainTextResponse("in"))])
    bound = await door.start(Address("127.0.0.1", 0))
    try:
        reader, writer = await asyncio.open_connection(bound.host, bound.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 4")
        writer.close()
    finally:
        await door.close()
