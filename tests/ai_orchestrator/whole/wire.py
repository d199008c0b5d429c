"""What runs between the programs and DashScope, and can be held up there: a request before it arrives, an answer on its
way back.

What the sandbox cannot do: its faults are decided when a request has come, so that one that never comes, though its
sender waits for the answer, has to be made in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.e2e.harness import eventually

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Gate:
    """One direction: what comes to it while it is shut is held, in order."""

    def __init__(self) -> None:
        self._shut = False
        self._held: list[asyncio.Future[bool]] = []

    def shut(self) -> None:
        """Hold what comes from now on."""
        self._shut = True

    def release(self) -> None:
        """Let what is held go on; what comes next is held again, if the gate is shut."""
        self._end(goes_on=True)

    def open(self) -> None:
        """Let everything go on."""
        self._shut = False
        self.release()

    def drop(self) -> None:
        """What is held goes nowhere any more."""
        self._end(goes_on=False)

    def _end(self, *, goes_on: bool) -> None:
        held, self._held = self._held, []
        for one in held:
            if not one.done():
                one.set_result(goes_on)

    async def holding(self, count: int = 1) -> None:
        """Wait until so many are held."""

        async def look() -> bool:
            return len(self._held) >= count

        await eventually(look, timeout=30)

    async def passed(self) -> bool:
        """Wait for leave; False where it was dropped."""
        if not self._shut:
            return True
        held = asyncio.get_running_loop().create_future()
        self._held.append(held)
        goes_on: bool = await held
        return goes_on


class Wire:
    """See ``wired``."""

    def __init__(self) -> None:
        self.url = ""
        self.requests, self.answers = Gate(), Gate()

    def drop(self) -> None:
        """Whatever is held on the wire is lost, as its sender is."""
        self.requests.drop()
        self.answers.drop()


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    """A wire to the server at *url*, for plain HTTP whose messages say how long they are."""
    far, wire = urlsplit(url), Wire()
    writers: set[asyncio.StreamWriter] = set()
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(far.hostname, far.port)
        ends = {writer, far_writer}
        writers.update(ends)
        for way in (
            _carry(reader, far_writer, wire.requests.passed),
            _carry(far_reader, writer, wire.answers.passed),
        ):
            task = asyncio.create_task(way)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            # When one side has gone, so has the other: that is how the far end hears of it.
            task.add_done_callback(lambda _: [end.close() for end in ends])

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        wire.drop()
        for end in writers:
            end.close()
        await asyncio.gather(*under_way)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[], Awaitable[bool]]
) -> None:
    """Carry messages one way, each whole, until one side is gone or one is dropped."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(head)
            message = head + await reader.readexactly(int(found[1]) if found else 0)
            if not await passed():
                return
            writer.write(message)
            await writer.drain()
