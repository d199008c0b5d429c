"""httpx's error classes keep their meaning over the Caller."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest

from shared.http import Caller
from shared.http.httpx_transport import CallerTransport
from tests.http.wire import Peer, free_port, self_signed, serve


def client(url: str, deadline: float = 5.0) -> httpx.AsyncClient:
    caller = Caller(url, allowed_hosts=["127.0.0.1"], connect_timeout=0.2)
    return httpx.AsyncClient(base_url=url, transport=CallerTransport(caller, deadline=deadline))


async def test_a_request_and_its_answer_pass_through() -> None:
    async def behave(peer: Peer) -> None:
        request = await peer.request()
        assert b'{"q":1}' in request
        assert b"authorization: bearer t" in request.lower()
        await peer.answer(gzip.compress(b'{"ok":true}'), extra="Content-Encoding: gzip\r\nX-A: b\r\n")

    async with serve(behave) as wire, client(wire.url + "/api/v1") as http:
        response = await http.post("/apps?x=1", json={"q": 1}, headers={"Authorization": "Bearer t"})
    assert response.json() == {"ok": True}
    assert response.headers["x-a"] == "b"
    assert wire.requests[0].startswith(b"POST /api/v1/apps?x=1 HTTP/1.1")


async def test_refused_is_a_connect_error() -> None:
    async with client(f"http://127.0.0.1:{free_port()}") as http:
        with pytest.raises(httpx.ConnectError) as caught:
            await http.post("/p?key=top-secret", content=b"x")
    assert "top-secret" not in str(caught.value)


async def test_an_untrusted_certificate_is_a_connect_error(tmp_path: Path) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()

    async with serve(behave, self_signed(tmp_path)) as wire, client(wire.url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/")


async def test_a_handshake_that_hangs_is_a_connect_timeout() -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with serve(silent) as wire, client(wire.url.replace("http:", "https:")) as http:
        with pytest.raises(httpx.ConnectTimeout):
            await http.get("/")


async def test_dropped_after_reading_is_a_protocol_error_not_a_connect_error() -> None:
    async def drop(peer: Peer) -> None:
        await peer.request()

    async with serve(drop) as wire, client(wire.url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/")
    assert len(wire.requests) == 1


async def test_reset_after_reading_is_a_read_error() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with serve(reset) as wire, client(wire.url) as http:
        with pytest.raises(httpx.ReadError):
            await http.post("/", content=b"x")


async def test_silence_is_a_read_timeout() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(silent) as wire, client(wire.url, deadline=0.1) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/", content=b"x")


async def test_another_origin_is_refused_before_any_connection() -> None:
    async with client("http://127.0.0.1:1") as http:
        with pytest.raises(httpx.ConnectError, match="may be called from here"):
            await http.get("http://evil.example/")
