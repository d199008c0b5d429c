"""A local HTTP server far faster than any client here: answers like WeCom and remembers when each POST came.

    python -m bench.sink PORT

``GET /cgi-bin/gettoken`` gives a token, any other POST is accepted. ``GET /count`` tells how much came and when
the first did, ``GET /arrivals`` the instant of each distinct order number, ``POST /reset`` forgets it all.
Instants are CLOCK_MONOTONIC, one clock for all processes of a host: a publisher's stamps and these may be subtracted.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import orjson
import uvloop

_TOKEN = b'{"errcode":0,"errmsg":"ok","access_token":"bench-token","expires_in":7200}'
_ORDER = re.compile(rb"BENCH-\d+")


class Arrivals:
    """What came, and when."""

    def __init__(self) -> None:
        self._first: dict[bytes, float] = {}
        self._posts = 0
        self._unreadable = 0

    def note(self, body: bytes) -> bytes:
        """Count one POST, stamp its order number, and answer it as WeCom does."""
        self._posts += 1
        if found := _ORDER.search(body):
            self._first.setdefault(found.group(), time.monotonic())
        else:
            self._unreadable += 1
        return b'{"errcode":0,"errmsg":"ok","msgid":"bench-%d"}' % self._posts

    def count(self) -> bytes:
        """How many POSTs, how many distinct orders, how many without an order number, and when the first came."""
        return orjson.dumps(
            {
                "posts": self._posts,
                "distinct": len(self._first),
                "unreadable": self._unreadable,
                "first_at": next(iter(self._first.values()), None),
            }
        )

    def all(self) -> bytes:
        """The instant of each order's first POST."""
        return orjson.dumps({order.decode(): at for order, at in self._first.items()})

    def reset(self) -> bytes:
        """Forget everything."""
        self._first.clear()
        self._posts = self._unreadable = 0
        return b"{}"


class Connection(asyncio.Protocol):
    """One keep-alive connection; understands only what the contenders send."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete request in the buffer."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            total = end + 4 + _content_length(head)
            if len(self._buffer) < total:
                return
            body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
            self._write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET /cgi-bin/gettoken"):
            return _TOKEN
        if head.startswith(b"GET /count"):
            return self._arrivals.count()
        if head.startswith(b"GET /arrivals"):
            return self._arrivals.all()
        if head.startswith(b"POST /reset"):
            return self._arrivals.reset()
        return self._arrivals.note(body)

    def _write(self, reply: bytes) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(reply), reply)
        )


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    stop = lowered.find(b"\r\n", at + 2)
    return int(lowered[at + 17 : stop if stop >= 0 else None])


async def main(port: int) -> None:
    """Serve until killed."""
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(arrivals), "127.0.0.1", port)
    print(f"ready sink port={server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
