"""One connection, one exchange at a time: what is written, and when, is seen here and nowhere else.

Sockets, TLS and the loop are asyncio's, the parser is httptools' (llhttp, as in node). What is ours is the order:
a request is written once, after everything that can fail without it being read.
"""

from __future__ import annotations

import asyncio
import errno
import select
import ssl
from collections.abc import Callable
from typing import cast

import httptools

from shared.http.failures import Kind
from shared.values import value_class

MAX_HEAD_BYTES = 64 * 1024
"""Of an answer's status line and headers."""


@value_class
class Answer:
    """An answer as it came, content coding not undone."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Lost(Exception):
    """There will be no answer to what was written."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.detail = detail


class Connection(asyncio.Protocol):
    """A socket and the exchange on it, if there is one."""

    def __init__(self, max_body: int, on_lost: Callable[[Connection], object]) -> None:
        self._max_body = max_body
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._keep = True
        self.idle_since = 0.0
        """When its last exchange ended, on the loop's clock."""

    def begin(self, request: bytes) -> asyncio.Future[Answer]:
        """Write *request*; the answer, or ``Lost``. The connection is its caller's until then."""
        assert self._transport is not None
        assert self._answer is None
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = self._header_bytes = self._body_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._in_body = False
        answer = self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self.give_up(Kind.CLOSED)  # made, and lost before its first use
        else:
            self._transport.write(request)
        return answer

    @property
    def open(self) -> bool:
        """Whether it may be used once more, as far as the loop has heard."""
        return self._keep and self._transport is not None and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether nothing waits to be read. On an idle socket that could only be its end.

        A busy loop hears of that late; asking the system narrows the time in which a request is written into the
        void to microseconds.
        """
        if self._poll is None:
            assert self._transport is not None
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    def give_up(self, kind: Kind, detail: str = "") -> None:
        """End the exchange, if there is one, and the connection with it."""
        self._keep = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(kind, detail))
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Let go of it, at once: what is not written yet is for nobody any more."""
        self._keep = False
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        if self._answer is not None:
            if isinstance(error, ssl.SSLError):
                self.give_up(Kind.RESET, error.reason or "")
            elif isinstance(error, OSError):
                self.give_up(Kind.RESET, errno.errorcode.get(error.errno or 0, ""))
            elif error is not None:
                self.give_up(Kind.UNEXPECTED, type(error).__name__)
            elif self._in_body and self._until_end:
                self._end()
            else:
                self.give_up(Kind.TRUNCATED if self._in_body else Kind.CLOSED)
        self._keep = False
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._answer is None:
            self.close()  # nobody asked
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.give_up(Kind.PROTOCOL)  # unless the answer was whole before: then only the connection is
            return
        if self._body_bytes > self._max_body:
            self.give_up(Kind.TOO_LARGE)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.give_up(Kind.PROTOCOL, "headers too large")

    def on_message_begin(self) -> None:
        """The parser found the beginning of an answer."""
        if self._answer is None:
            self._keep = False  # another one behind the one we asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser found a header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            raise ValueError("headers too large")
        if not self._in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The parser found the end of the headers."""
        self._in_body = True
        self._until_end = not any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers
        )

    def on_body(self, data: bytes) -> None:
        """The parser found a piece of the body."""
        self._body_bytes += len(data)
        self._head_bytes = 0
        if self._body_bytes <= self._max_body:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The parser found the end of an answer."""
        if self._parser.get_status_code() < 200:  # interim: the answer is still to come
            self._headers, self._in_body, self._head_bytes = [], False, 0
            return
        self._keep = self._keep and self._parser.should_keep_alive()
        self._end()

    def _end(self) -> None:
        if self._answer is None or self._body_bytes > self._max_body:
            return
        answer, self._answer = self._answer, None
        assert self._transport is not None
        # An answer before the whole request was written: the rest would stand in the way of the next one.
        self._keep = self._keep and not self._transport.get_write_buffer_size()
        self.idle_since = asyncio.get_running_loop().time()
        if not answer.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            answer.set_result(Answer(self._parser.get_status_code(), self._headers, body))
