"""What a connection makes of answers that are odd but allowed, and of being let go at any moment; on both loops."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from shared.http import Caller, HttpFailure, Kind, NotSent, Reply, Unclear
from shared.http.connection import MAX_HEAD_BYTES, Connection, Lost
from tests.http.wire import Behaviour, Peer, Wire, self_signed, serve, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HUGE = b"0123456789abcdef" * 500_000
"""More than the buffers of two sockets hold."""


def on_both_loops(scenario: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test that runs *scenario*, with a folder if it asks for one, on asyncio's loop and on uvloop's."""

    def test(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(scenario(*[tmp_path] * len(signature(scenario).parameters)))

    test.__name__ = scenario.__name__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop", loops, ids=["asyncio", "uvloop"])(test)


def answering(*answers: bytes, leave: bool = False) -> Behaviour:
    """On every connection, one answer for each request; then leave, or wait for the client to."""

    async def behave(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            await peer.say(answer)
        if not leave:
            await peer.gone()

    return behave


@asynccontextmanager
async def calling(wire: Wire, **options: object) -> AsyncIterator[Caller]:
    caller = Caller(wire.url, allowed_hosts=["127.0.0.1"], **options)  # type: ignore[arg-type]
    try:
        yield caller
    finally:
        await caller.close()


@asynccontextmanager
async def both(behaviour: Behaviour, **options: object) -> AsyncIterator[tuple[Wire, Caller]]:
    async with serve(behaviour) as wire, calling(wire, **options) as caller:
        yield wire, caller


async def failing(call: Awaitable[Reply]) -> tuple[type[HttpFailure], Kind]:
    with pytest.raises(HttpFailure) as caught:
        await call
    return caught.type, caught.value.kind


def trusting(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = self_signed(folder)
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


# --- odd answers --------------------------------------------------------------------------------


class _Nowhere(asyncio.Transport):
    """Takes everything, says nothing."""

    def write(self, data: object) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


async def fed(pieces: Iterable[bytes], *, ends: bool = False) -> tuple[Reply, bool]:
    """What *pieces* say when they come one after the other, and whether the connection may be used again."""
    connection = Connection(256 * 1024, lambda _: None)
    connection.connection_made(_Nowhere())
    answer = connection.begin(b"")
    for piece in pieces:
        connection.data_received(piece)
    if ends:
        connection.connection_lost(None)
    assert answer.done()
    return Caller("http://x", allowed_hosts=["x"])._reply(await answer), connection.open


BARE = b"HTTP/1.1 %d X\r\n%s\r\n"
INTERIM = BARE % (100, b"") + BARE % (103, b"Link: <x>\r\nContent-Encoding: br\r\n")
OTHER = BARE % (500, b"X-Other: 1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n") + b"[]"
UPGRADE = b"Upgrade: h2c\r\nConnection: Upgrade, Keep-Alive\r\n"
ODD = {
    "interim answers are passed over": (INTERIM + OK, (200, b"{}", True)),
    "an offer of another protocol": (OK.replace(b"Content", UPGRADE + b"Content"), (200, b"{}", True)),
    "204": (BARE % (204, b""), (204, b"", True)),
    "304 with a length": (BARE % (304, b"Content-Length: 5\r\n"), (304, b"", True)),
    "a trailer": (CHUNKED + b"2;x=y\r\n{}\r\n0\r\nX-T: 1\r\n\r\n", (200, b"{}", True)),
    "HTTP/1.0": (OK.replace(b"HTTP/1.1", b"HTTP/1.0"), (200, b"{}", False)),
    "a second answer": (OK + OK, (200, b"{}", False)),
    "the beginning of a second answer": (OK + b"HTTP/1.1 500 X\r\nX:", (200, b"{}", False)),
    "garbage behind the answer": (OK + b"\0garbage", (200, b"{}", False)),
}
BAD = {
    "another protocol": BARE % (101, UPGRADE) + OK,
    "two lengths": OK.replace(b": 2", b": 2\r\nContent-Length: 3"),
    "a length and chunks": OK.replace(b": 2", b": 2\r\nTransfer-Encoding: chunked"),
    "interim answers alone": INTERIM,
    "a chunk that ends early": CHUNKED + b"5\r\n{}",
    "a coding of the transfer": BARE % (200, b"Transfer-Encoding: gzip\r\n") + b"x",
}
BEHIND = {
    "a second answer": OK + OTHER,
    "the trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX-Other: 1\r\nContent-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_is_an_answer(name: str) -> None:
    raw, expected = ODD[name]
    reply, kept = await fed([raw])
    assert (reply.status, reply.body, kept) == expected
    assert "link" not in reply.headers


@pytest.mark.parametrize("name", BAD)
async def test_an_answer_that_can_be_read_in_two_ways_or_not_to_its_end_is_none(name: str) -> None:
    with pytest.raises(Lost):
        await fed([BAD[name]], ends=True)


@pytest.mark.parametrize("name", BEHIND)
async def test_headers_behind_the_body_are_not_headers_of_the_answer(name: str) -> None:
    reply, _kept = await fed([BEHIND[name]])
    assert (reply.body, len(reply.headers)) == (b"{}", 1)


@pytest.mark.parametrize("size", [100, 60_000, 200_000], ids=["drip", "pieces", "whole"])
@pytest.mark.parametrize(
    "start", [OK[:17] + b"Content-Length: 0\r\n", CHUNKED + b"0\r\n"], ids=["head", "trailer"]
)
async def test_giant_headers_are_refused_however_they_arrive(size: int, start: bytes) -> None:
    giant = start + b"X: " + b"a" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n"
    with pytest.raises(Lost) as caught:
        await fed(giant[at : at + size] for at in range(0, len(giant), size))
    assert caught.value.kind in (Kind.PROTOCOL, Kind.TOO_LARGE)


@on_both_loops
async def test_a_connection_that_ends_with_its_answer_is_not_used_again(folder: Path) -> None:
    tls, trust = trusting(folder)
    unbounded = answering(BARE % (200, b"Connection: keep-alive\r\n") + b"{}", leave=True)
    announced = answering(BARE % (200, b"Connection: close\r\nContent-Length: 2\r\n") + b"{}")
    for behave, server in ((unbounded, None), (unbounded, tls), (announced, None), (announced, tls)):
        async with serve(behave, server) as wire, calling(wire, ssl_context=trust) as caller:
            assert [(await caller.get("/")).body for _ in range(2)] == [b"{}"] * 2
        assert wire.connections == 2


@on_both_loops
async def test_what_an_idle_connection_says_is_nobodys_answer() -> None:
    stale = OK.replace(b"{}", b"[]")
    peers: list[Peer] = []

    async def behave(peer: Peer) -> None:
        peers.append(peer)
        await answering(OK)(peer)

    async with both(behave, idle=60) as (wire, caller):
        await caller.get("/")
        await peers[0].say(stale)
        await until(lambda: caller.spare == 0)  # the loop has heard of it
        assert (await caller.get("/")).body == b"{}"
        os.write(peers[1].writer.get_extra_info("socket").fileno(), stale)  # it has not
        assert (await caller.get("/")).body == b"{}"
    assert wire.connections == 3


# --- what may be asked --------------------------------------------------------------------------


@on_both_loops
async def test_a_header_that_would_be_read_as_more_than_one_is_refused_and_nothing_sent() -> None:
    bad = [("X", "a\r\nEvil: 1"), ("X", "a\n"), ("X", "\r"), ("X", "\0"), ("X", "ü"), ("X\r\nEvil", "1")]
    async with both(answering(OK)) as (wire, caller):
        for name, value in [
            *bad,
            ("X\n", "1"),
            ("", "1"),
            ("X Y", "1"),
            ("X:", "1"),
            ("X: 9, or", "1"),
            ("ü", "1"),
        ]:
            with pytest.raises(ValueError, match="cannot be sent as it is"):
                await caller.get("/", headers={name: value})
        await caller.get("/", traceparent=f"00-{'1' * 32}-{'1' * 16}-01\r\nEvil: 1")
    assert len(wire.requests) == 1
    assert b"Evil" not in wire.requests[0]


async def test_a_method_whose_answer_has_no_body_or_that_is_none_is_refused_and_nothing_sent() -> None:
    async with both(answering(OK)) as (wire, caller):
        for method in ("HEAD", "get", "", "GET / HTTP/1.1\r\nX:", "GET\n"):
            with pytest.raises(ValueError, match="method"):
                await caller.request(method, "/", None)
    assert wire.connections == 0


@on_both_loops
async def test_large_requests_arrive_byte_for_byte_and_keep_the_connection(folder: Path) -> None:
    tls, trust = trusting(folder)
    for server in (None, tls):
        async with serve(answering(OK, OK), server) as wire, calling(wire, ssl_context=trust) as caller:
            for _ in range(2):
                await caller.post("/", HUGE)
        assert [one.partition(b"\r\n\r\n")[2] == HUGE for one in wire.requests] == [True, True]
        assert wire.connections == 1


async def _answer_unread(peer: Peer, answer: bytes) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await peer.say(answer)


@on_both_loops
async def test_what_was_not_written_when_the_answer_came_is_dropped_with_its_connection() -> None:
    for head in (b"", b"Connection: close\r\n"):
        answered, counted, got = asyncio.Event(), asyncio.Event(), bytearray()

        async def behave(
            peer: Peer,
            head: bytes = head,
            answered: asyncio.Event = answered,
            counted: asyncio.Event = counted,
            got: bytearray = got,
        ) -> None:
            if peer.wire.connections > 1:
                return await answering(OK)(peer)
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.say(BARE % (413, head + b"Content-Length: 0\r\n"))
            await answered.wait()
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            while more := await peer.reader.read(1 << 20):
                got += more
            return counted.set()

        async with both(behave) as (_wire, caller):
            assert (await caller.post("/", HUGE)).status == 413
            assert (await caller.post("/", b"{}", deadline=2)).status == 200
            answered.set()
            await asyncio.wait_for(counted.wait(), 5)
        assert len(got) < len(HUGE)


# --- TLS, addresses, places ---------------------------------------------------------------------


@on_both_loops
async def test_an_answer_in_a_record_for_every_byte_is_the_same_answer(folder: Path) -> None:
    tls, trust = trusting(folder)

    async def crumble(peer: Peer) -> None:
        for pause in (0, 1):
            await peer.request()
            for at in range(len(OK)):
                peer.writer.write(OK[at : at + 1])
                await asyncio.sleep(0) if pause else None

    async with serve(crumble, tls) as wire, calling(wire, ssl_context=trust) as caller:
        assert [(await caller.get("/")).body for _ in range(2)] == [b"{}", b"{}"]
    assert wire.connections == 1


@on_both_loops
async def test_tls_that_breaks_is_unclear_and_not_called_what_the_system_calls_its_errors(
    folder: Path,
) -> None:
    tls, trust = trusting(folder)

    async def garble(peer: Peer) -> None:
        await peer.request()
        os.write(peer.writer.get_extra_info("socket").fileno(), b"this is no record of TLS")
        await peer.gone()

    async with serve(garble, tls) as wire, calling(wire, ssl_context=trust) as caller:
        with pytest.raises(Unclear) as caught:
            await caller.get("/", deadline=2)
    assert caught.value.detail != "EPERM"


@on_both_loops
async def test_the_next_address_of_a_host_is_tried_when_one_refuses() -> None:
    loop = asyncio.get_running_loop()
    names = ["127.0.0.2", "127.0.0.1"]

    async def resolve(_host: object, port: int, **_options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port)) for name in names]

    async with both(answering(OK, OK)) as (wire, caller):
        loop.getaddrinfo = resolve  # type: ignore[method-assign,assignment]
        assert (await caller.get("/")).status == 200
        await caller.close()
        names[:] = ["127.0.0.2", "127.0.0.3"]
        async with calling(wire) as other:
            assert await failing(other.get("/")) == (NotSent, Kind.REFUSED)
    assert wire.connections == 1


@on_both_loops
async def test_one_place_serves_everybody_in_turn_with_the_answer_that_is_theirs() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.answer((await peer.request()).partition(b"\r\n\r\n")[2])

    async with both(echo, limit=1) as (wire, caller):
        replies = await asyncio.gather(*(caller.post("/", b"%d" % i) for i in range(60)))
    assert [one.body for one in replies] == [b"%d" % i for i in range(60)]
    assert wire.connections == 1


# --- let go -------------------------------------------------------------------------------------


async def _cancelled(task: asyncio.Task[Reply]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_both_loops
async def test_cancelled_while_connecting_or_waiting_for_the_answer_it_hangs_up() -> None:
    for scheme in ("https", "http"):  # to a server that says nothing, the handshake never ends
        left: list[int] = []

        async def silent(peer: Peer, left: list[int] = left) -> None:
            await peer.gone()
            left.append(1)

        async with serve(silent) as wire:
            wire.scheme = scheme
            async with calling(wire, limit=1, pool_timeout=0.05, connect_timeout=5, idle=60) as caller:
                task = asyncio.create_task(caller.get("/"))
                await until(lambda wire=wire: wire.connections == 1)  # type: ignore[misc]
                await _cancelled(task)
                await until(lambda left=left: left == [1])  # type: ignore[misc]
                how = NotSent if scheme == "https" else Unclear
                assert await failing(caller.get("/", deadline=0.2)) == (how, Kind.DEADLINE)  # it had a place


@on_both_loops
async def test_cancelled_while_it_waits_for_a_place_it_takes_none_along() -> None:
    go = asyncio.Event()

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.say(OK)

    async with both(behave, limit=1, pool_timeout=5) as (wire, caller):
        first, second, third = (asyncio.create_task(caller.get(f"/{i}")) for i in range(3))
        await until(lambda: len(wire.requests) == 1)
        await _cancelled(second)
        go.set()
        await asyncio.gather(first, third)
        assert (await caller.get("/3")).status == 200
    assert [one.split()[1] for one in wire.requests] == [b"/0", b"/2", b"/3"]


@on_both_loops
async def test_closing_ends_who_was_written_as_unclear_and_who_waits_as_not_sent() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with both(behave, limit=1) as (wire, caller):
        calls = [asyncio.create_task(caller.get("/")) for _ in range(3)]
        await until(lambda: len(wire.requests) == 1)
        await caller.close()
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 2)
    assert [type(end) for end in ends] == [Unclear, NotSent, NotSent]
    assert [end.kind for end in ends[1:] if isinstance(end, NotSent)] == [Kind.SHUT] * 2
    assert wire.connections == 1, "a closed caller connects no more"


@on_both_loops
async def test_closing_ends_who_is_still_connecting() -> None:
    async with serve(Peer.gone) as wire:
        wire.scheme = "https"
        async with calling(wire, connect_timeout=5) as caller:
            call = asyncio.create_task(caller.get("/"))
            await until(lambda: wire.connections == 1)
            await caller.close()
            done, _rest = await asyncio.wait({call}, timeout=1)
            await _cancelled(call) if not done else None
    assert done, "it went on connecting"
    assert isinstance(call.exception(), NotSent)


# --- however it is cut --------------------------------------------------------------------------


_names = st.from_regex(r"x-[a-z]{1,12}", fullmatch=True)
_values = st.from_regex(r"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)


@given(
    status=st.sampled_from([200, 301, 404, 500, 599]),
    headers=st.dictionaries(_names, _values, max_size=4),
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    framing=st.sampled_from(["length", "chunked", "end"]),
    interim=st.booleans(),
    cuts=st.lists(st.integers(0, 600), max_size=40),
)
def test_an_answer_is_the_same_however_it_is_cut(
    status: int, headers: dict[str, str], chunks: list[bytes], framing: str, interim: bool, cuts: list[int]
) -> None:
    body = b"".join(chunks)
    framed = {"length": f"{len(body)}", "chunked": "chunked"}
    name = {"length": "content-length", "chunked": "transfer-encoding"}
    said = headers | ({name[framing]: framed[framing]} if framing in name else {})
    head = "".join(f"{key}: {value}\r\n" for key, value in said.items())
    raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * interim
        + f"HTTP/1.1 {status} X\r\n{head}\r\n".encode()
    )
    if framing == "chunked":
        raw += b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"
    else:
        raw += body
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[start:end] for start, end in pairwise(edges)]
    reply, kept = asyncio.run(fed(pieces, ends=framing == "end"))
    assert (reply.status, reply.body, dict(reply.headers), kept) == (status, body, said, framing != "end")
