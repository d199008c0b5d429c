"""The HTTP listener bounds what a stranger may make it hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.hosting import http
from shared.hosting.http import HttpDoor
from shared.settings import Address


@pytest.fixture
async def bound() -> AsyncIterator[Address]:
    """Where a door is open."""
    door = HttpDoor([Route("/", lambda request: PlainTextResponse("in"))])
    yield await door.start(Address("127.0.0.1", 0))
    await door.close()


async def test_a_header_without_end_is_refused(bound: Address) -> None:
    reader, writer = await asyncio.open_connection(bound.host, bound.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 4")
    writer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX-A: "])
async def test_who_says_nothing_or_a_byte_now_and_then_does_not_keep_a_place(
    bound: Address, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection(bound.host, bound.port)
    writer.write(said)

    async def drip() -> None:
        while said:
            await asyncio.sleep(0.05)
            writer.write(b"a")

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        assert await reader.read() == b""  # closed
    dripping.cancel()
    writer.close()


async def test_one_connection_serves_requests_one_after_the_other_and_then_must_say_something_whole(
    bound: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection(bound.host, bound.port)
    async with asyncio.timeout(5):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"in"
            await asyncio.sleep(0.4)  # idle is bounded by another, longer time
        writer.write(b"GET / HT")
        assert await reader.read() == b""
    writer.close()
