from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from bench.sink import Arrivals, Connection


def request(line: str, body: bytes = b"") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


SEND = "POST /cgi-bin/message/send?access_token=t"


@pytest.fixture
async def wire() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(arrivals), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()
        await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> dict[str, object]:
    head = await reader.readuntil(b"\r\n\r\n")
    body: dict[str, object] = orjson.loads(await reader.readexactly(int(head.rpartition(b":")[2])))
    return body


async def test_requests_in_any_pieces_are_counted_once_each(
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = wire
    for piece in (request(SEND, b"BENCH-1"), request(SEND, b"BENCH-2") + request(SEND, b"BENCH-1")):
        for at in range(0, len(piece), 7):
            writer.write(piece[at : at + 7])
            await writer.drain()
    assert [(await answer(reader))["errcode"] for _ in range(3)] == [0, 0, 0]
    writer.write(request("GET /count"))
    count = await answer(reader)
    assert (count["posts"], count["distinct"], count["unreadable"]) == (3, 2, 0)


async def test_a_repeat_keeps_the_instant_of_the_first_and_reset_forgets(
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = wire

    async def ask(line: str, body: bytes = b"") -> dict[str, object]:
        writer.write(request(line, body))
        return await answer(reader)

    await ask(SEND, b"BENCH-7")
    first = await ask("GET /arrivals")
    await ask(SEND, b"BENCH-7")
    assert await ask("GET /arrivals") == first
    assert (await ask("GET /count"))["first_at"] == first["BENCH-7"]
    await ask("POST /reset")
    assert await ask("GET /arrivals") == {}
    assert (await ask("GET /count"))["posts"] == 0


async def test_what_names_no_order_is_told_apart(
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = wire
    writer.write(request(SEND, b"hello") + request("GET /count"))
    await answer(reader)
    assert (await answer(reader))["unreadable"] == 1
