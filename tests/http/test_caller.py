"""What a Caller says happened, against servers that misbehave at every stage."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.errors import Invalid
from shared.http import Caller, HttpFailure, Kind, NotSent, Unclear
from tests.http.wire import Behaviour, Peer, Wire, free_port, self_signed, serve, until

SECRET = "s3cr3t-t0k3n"
TARGET = f"/cgi-bin/message/send?access_token={SECRET}"
METHODS = pytest.mark.parametrize("method", ["POST", "GET"])


@asynccontextmanager
async def calling(url: str, **options: object) -> AsyncIterator[Caller]:
    caller = Caller(url, allowed_hosts=["127.0.0.1"], **options)  # type: ignore[arg-type]
    try:
        yield caller
    finally:
        await caller.close()


async def send(caller: Caller, method: str = "POST", deadline: float = 5.0) -> object:
    return await caller.request(method, TARGET, b'{"a":1}' if method == "POST" else None, deadline=deadline)


async def failure(caller: Caller, method: str = "POST", deadline: float = 5.0) -> HttpFailure:
    with pytest.raises(HttpFailure) as caught:
        await send(caller, method, deadline)
    error = caught.value
    assert SECRET not in str(error) + repr(error) + repr(error.__dict__)
    assert error.__cause__ is None
    assert error.__context__ is None, "a chained library exception would quote the URL"
    return error


async def failure_against(
    behaviour: Behaviour, method: str = "POST", **options: object
) -> tuple[HttpFailure, Wire]:
    deadline = float(options.pop("deadline", 5.0))  # type: ignore[arg-type]
    async with serve(behaviour) as wire, calling(wire.url, **options) as caller:
        return await failure(caller, method, deadline), wire


async def test_an_answer_comes_back_whole_and_the_request_goes_out_byte_for_byte() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"errcode":0}', extra="X-Test: Yes\r\n")

    async with serve(behave) as wire, calling(wire.url + "/base/") as caller:
        reply = await caller.post("/a%2Fb?x=%7e&y=1", b"{}", headers={"Content-Type": "application/json"})
    assert (reply.status, reply.body, reply.headers["x-test"]) == (200, b'{"errcode":0}', "Yes")
    assert wire.requests[0].startswith(b"POST /base/a%2Fb?x=%7e&y=1 HTTP/1.1\r\n")
    assert wire.requests[0].endswith(b"\r\n\r\n{}")


# --- nothing was sent ---------------------------------------------------------------------------


@METHODS
async def test_a_refused_connection_is_not_sent(method: str) -> None:
    async with calling(f"http://127.0.0.1:{free_port()}") as caller:
        error = await failure(caller, method)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.REFUSED


async def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    caller = Caller("http://no-such-host.invalid", allowed_hosts=["no-such-host.invalid"])
    error = await failure(caller)
    await caller.close()
    assert isinstance(error, NotSent)
    assert error.kind is Kind.DNS


async def test_a_failed_tls_handshake_is_not_sent() -> None:
    async def speak_plain(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve(speak_plain) as wire, calling(wire.url.replace("http:", "https:")) as caller:
        error = await failure(caller)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.TLS


async def test_a_certificate_nobody_vouches_for_is_not_sent(tmp_path: Path) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()

    async with serve(behave, self_signed(tmp_path)) as wire, calling(wire.url) as caller:
        error = await failure(caller)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.CERTIFICATE
    assert "self-signed" in error.detail
    assert wire.requests == []


async def test_a_certificate_that_is_vouched_for_is_accepted(tmp_path: Path) -> None:
    async def behave(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.answer()

    tls = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with serve(behave, tls) as wire, calling(wire.url, ssl_context=trust) as caller:
        await send(caller)
        await send(caller)
    assert (wire.connections, len(wire.requests)) == (1, 2)


async def test_a_handshake_that_never_ends_is_a_connect_timeout_and_not_sent() -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with (
        serve(silent) as wire,
        calling(wire.url.replace("http:", "https:"), connect_timeout=0.1) as caller,
    ):
        error = await failure(caller)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.CONNECT_TIMEOUT


async def test_the_deadline_passing_while_connecting_is_not_sent() -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with serve(silent) as wire, calling(wire.url.replace("http:", "https:")) as caller:
        error = await failure(caller, deadline=0.1)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.DEADLINE


async def test_a_pool_that_stays_full_is_not_sent_and_its_place_comes_back() -> None:
    release = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.answer()

    async with serve(slow) as wire, calling(wire.url, limit=1, pool_timeout=0.05) as caller:
        first = asyncio.create_task(send(caller))
        await until(lambda: bool(wire.requests))
        error = await failure(caller)
        release.set()
        await first
        await send(caller)
    assert isinstance(error, NotSent)
    assert error.kind is Kind.POOL_TIMEOUT
    assert len(wire.requests) == 2


@METHODS
async def test_a_deadline_already_past_sends_nothing_even_on_an_open_connection(method: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()

    async with serve(behave) as wire, calling(wire.url) as caller:
        await send(caller)
        error = await failure(caller, method, deadline=0)
    assert isinstance(error, NotSent)
    assert len(wire.requests) == 1


async def test_a_closed_caller_sends_nothing() -> None:
    caller = Caller("http://127.0.0.1:1", allowed_hosts=["127.0.0.1"])
    await caller.close()
    assert (await failure(caller)).kind is Kind.SHUT


# --- nobody can tell ----------------------------------------------------------------------------


@METHODS
async def test_a_server_that_closes_before_reading_leaves_it_unclear(method: str) -> None:
    async def leave(peer: Peer) -> None:
        peer.writer.close()

    error, wire = await failure_against(leave, method)
    assert isinstance(error, Unclear)
    assert wire.connections == 1


@METHODS
async def test_a_server_that_closes_after_reading_leaves_it_unclear_and_is_asked_once(method: str) -> None:
    async def read_and_leave(peer: Peer) -> None:
        await peer.request()

    error, wire = await failure_against(read_and_leave, method)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.CLOSED
    assert (wire.connections, len(wire.requests)) == (1, 1)


@METHODS
async def test_a_reset_before_reading_leaves_it_unclear(method: str) -> None:
    async def reset(peer: Peer) -> None:
        peer.reset()

    error, wire = await failure_against(reset, method)
    assert isinstance(error, Unclear)
    assert wire.connections == 1


@METHODS
async def test_a_reset_after_reading_leaves_it_unclear_and_is_asked_once(method: str) -> None:
    async def read_and_reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    error, wire = await failure_against(read_and_reset, method)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.RESET
    assert len(wire.requests) == 1


@METHODS
async def test_a_used_connection_dropped_after_reading_is_never_asked_again(method: str) -> None:
    """aiohttp repeats a GET on a fresh connection here unless it is stopped."""

    async def once_only(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()

    async with serve(once_only) as wire, calling(wire.url) as caller:
        await send(caller)
        error = await failure(caller, method)
    assert isinstance(error, Unclear)
    assert (wire.connections, len(wire.requests)) == (1, 2)


async def test_silence_ends_at_the_deadline() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    started = time.monotonic()
    error, _ = await failure_against(silent, deadline=0.2)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.DEADLINE
    assert 0.15 < time.monotonic() - started < 2


async def test_a_drip_does_not_outlive_the_deadline() -> None:
    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not peer.writer.is_closing():
            await peer.say(b" ")
            await asyncio.sleep(0.01)

    started = time.monotonic()
    error, _ = await failure_against(drip, deadline=0.3)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.DEADLINE
    assert time.monotonic() - started < 2


async def test_dripped_headers_do_not_outlive_the_deadline() -> None:
    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not peer.writer.is_closing():
            await peer.say(b"a")
            await asyncio.sleep(0.01)

    error, _ = await failure_against(drip, deadline=0.3)
    assert isinstance(error, Unclear)


async def test_a_body_shorter_than_announced_is_unclear() -> None:
    async def truncate(peer: Peer) -> None:
        await peer.request()
        await peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"errcode":0')

    error, _ = await failure_against(truncate)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.TRUNCATED


async def test_an_endless_body_is_cut_at_the_cap() -> None:
    sent = 0

    async def pour(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.say(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
            sent += 0x2000

    error, _ = await failure_against(pour)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.TOO_LARGE
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compression_bomb_is_cut_at_the_cap_after_decompression(coding: str) -> None:
    flood = b"x" * 20_000_000
    bomb = gzip.compress(flood) if coding == "gzip" else zlib.compress(flood)
    assert len(bomb) < 256 * 1024

    async def explode(peer: Peer) -> None:
        await peer.request()
        await peer.answer(bomb, extra=f"Content-Encoding: {coding}\r\n")

    error, _ = await failure_against(explode)
    assert isinstance(error, Unclear)
    assert error.kind is Kind.TOO_LARGE


async def test_a_compressed_answer_nobody_asked_for_is_still_read() -> None:
    async def squeeze(peer: Peer) -> None:
        request = await peer.request()
        assert b"accept-encoding: identity" in request.lower()
        await peer.answer(gzip.compress(b"hello"), extra="Content-Encoding: gzip\r\n")

    async with serve(squeeze) as wire, calling(wire.url) as caller:
        assert (await caller.post(TARGET, b"{}")).body == b"hello"


@pytest.mark.parametrize(
    ("body", "coding", "kind"),
    [
        (b"not gzip", "gzip", Kind.ENCODING),
        (b"anything", "br", Kind.ENCODING),
        (gzip.compress(b"hello" * 100, mtime=0)[:-9], "gzip", Kind.TRUNCATED),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_unclear(body: bytes, coding: str, kind: Kind) -> None:
    async def garble(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, extra=f"Content-Encoding: {coding}\r\n")

    error, _ = await failure_against(garble)
    assert isinstance(error, Unclear)
    assert error.kind is kind


@pytest.mark.parametrize(
    "noise", [b"220 smtp.example ESMTP\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\x00\xff" * 40]
)
async def test_an_answer_that_is_not_http_is_unclear(noise: bytes) -> None:
    async def speak_otherwise(peer: Peer) -> None:
        await peer.request()
        await peer.say(noise)

    error, _ = await failure_against(speak_otherwise)
    assert isinstance(error, Unclear)


# --- stale connections, redirects, hosts --------------------------------------------------------


async def test_a_kept_connection_the_server_closed_in_between_is_replaced_unseen() -> None:
    async def one_each(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with serve(one_each) as wire, calling(wire.url) as caller:
        for _ in range(3):
            await send(caller)
            await until(lambda: caller.spare == 0)
    assert (wire.connections, len(wire.requests)) == (3, 3)


@METHODS
async def test_a_closed_connection_the_busy_loop_has_not_heard_of_is_not_written_to(method: str) -> None:
    """The server closes while our loop is blocked: only the system knows when the next call begins."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    requests: list[bytes] = []
    closed = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve_two() -> None:
        for _ in range(2):
            try:
                connection, _address = listener.accept()
            except TimeoutError:
                return
            with connection:
                requests.append(connection.recv(65536))
                connection.sendall(answer)
                go.wait(5)
            closed.set()

    go = threading.Event()
    server = threading.Thread(target=serve_two)
    server.start()
    async with calling(f"http://127.0.0.1:{listener.getsockname()[1]}") as caller:
        await send(caller)
        go.set()
        closed.wait(5)  # blocks the loop on purpose
        await send(caller, method)
    await asyncio.to_thread(server.join)
    listener.close()
    assert len(requests) == 2


async def test_an_idle_connection_is_given_up_after_its_short_life() -> None:
    async def keep(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer()

    async with serve(keep) as wire, calling(wire.url, idle=0.05) as caller:
        await send(caller)
        await send(caller)
        assert wire.connections == 1
        await asyncio.sleep(0.1)  # the idle life itself
        await send(caller)
    assert wire.connections == 2


async def test_connections_stay_within_the_limit() -> None:
    async def keep(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer()

    async with serve(keep) as wire, calling(wire.url, limit=4) as caller:
        await asyncio.gather(*(send(caller) for _ in range(40)))
    assert wire.connections <= 4
    assert len(wire.requests) == 40


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
async def test_a_redirect_is_an_answer_and_is_not_followed(status: str) -> None:
    async def redirect(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", status, extra=f"Location: {peer.wire.url}/elsewhere\r\n")

    async with serve(redirect) as wire, calling(wire.url) as caller:
        reply = await caller.get(TARGET)
    assert reply.status == int(status[:3])
    assert len(wire.requests) == 1


async def test_a_host_nobody_allowed_is_refused_before_anything_happens() -> None:
    with pytest.raises(Invalid, match="not in the list of allowed hosts") as caught:
        Caller("https://evil.example", allowed_hosts=["qyapi.weixin.qq.com"])
    assert caught.value.reason == "HOST_NOT_ALLOWED"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "http://user:pw@127.0.0.1",
        "http://127.0.0.1/?q=1",
        "http://127.0.0.1/#f",
        "http://127.0.0.1:99999",
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1/a b",
    ],
)
def test_a_base_url_with_anything_odd_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Caller(url, allowed_hosts=["127.0.0.1"])


@pytest.mark.parametrize(
    "target", ["", "x", "@evil.example/", "/a b", "/a\r\nX: y", "/a#b", "/ü", "http://evil.example/", "/a\n"]
)
async def test_a_target_that_could_leave_the_base_url_is_refused(target: str) -> None:
    caller = Caller("http://127.0.0.1:1", allowed_hosts=["127.0.0.1"])
    with pytest.raises(ValueError, match="the path must start"):
        await caller.get(target)


async def test_proxy_settings_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with serve(behave) as wire, calling(wire.url) as caller:
        await send(caller)
    assert len(wire.requests) == 1


async def test_cancelling_a_call_cancels_and_gives_its_place_back() -> None:
    async def hold_first(peer: Peer) -> None:
        await peer.request()
        if len(peer.wire.requests) == 1:
            await peer.gone()
        await peer.answer()

    async with serve(hold_first) as wire, calling(wire.url, limit=1) as caller:
        task = asyncio.create_task(send(caller))
        await until(lambda: bool(wire.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await send(caller)
    assert len(wire.requests) == 2
