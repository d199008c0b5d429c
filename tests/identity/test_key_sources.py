"""Keys behind a URL: how often it is asked, and what holds while it does not answer."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from shared.errors import Unavailable
from shared.http.failures import Kind, NotSent
from shared.identity import key_sources
from shared.identity.key_sources import COOLDOWN, KeyUrl, UrlKeys
from shared.identity.keyset import ALGORITHMS, BadKeys
from tests.support.issuer import Issuer, new_key, public_jwk

TTL = timedelta(minutes=10)


class Url:
    """Gives out what an issuer publishes, fails, or hangs; counts."""

    def __init__(self) -> None:
        self.issuer, self.asked, self.now = Issuer(), 0, 0.0
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.keys = UrlKeys(self.fetch, ALGORITHMS, TTL, monotonic=lambda: self.now)

    async def fetch(self) -> bytes:
        self.asked += 1
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return self.issuer.published()

    async def settle(self) -> None:
        """Let a request in the background end."""
        while self.keys._flight is not None:
            await asyncio.wait([self.keys._flight])


DOWN = NotSent(Kind.REFUSED, method="GET", host="id.example", path="/")


@pytest.fixture
async def url():
    made = Url()
    yield made
    await made.keys.close()


async def test_it_is_asked_when_keys_are_needed_and_not_before(url):
    assert url.asked == 0
    for _ in range(100):
        assert (await url.keys.find(url.issuer.kid)).kid == url.issuer.kid
    assert url.asked == 1


async def test_a_thousand_at_once_are_one_request(url):
    found = await asyncio.gather(*(url.keys.find(url.issuer.kid) for _ in range(1000)))
    assert {key.kid for key in found} == {url.issuer.kid}
    assert url.asked == 1


async def test_a_key_that_is_new_is_asked_for_at_once(url):
    await url.keys.find(url.issuer.kid)
    url.now += COOLDOWN
    fresh = url.issuer.rotate()
    assert (await url.keys.find(fresh)).kid == fresh
    assert url.asked == 2


async def test_ten_thousand_wrong_key_ids_a_second_are_one_request_in_ten(url):
    await url.keys.find(url.issuer.kid)
    for second in range(30):
        url.now = 100.0 + second
        for _ in range(300):
            assert await url.keys.find(f"wrong-{second}") is None
    assert url.asked == 1 + 3


async def test_old_keys_serve_while_new_ones_are_fetched(url):
    await url.keys.find(url.issuer.kid)
    old = url.issuer.kid
    url.now += TTL.total_seconds() + 1
    url.gate.clear()
    async with asyncio.timeout(1):
        assert await url.keys.find(old) is not None
    url.issuer.rotate()
    url.issuer.forget(old)
    url.gate.set()
    await url.settle()
    assert await url.keys.find(old) is None


async def test_while_it_is_away_keys_hold_for_an_hour_beyond_their_time_and_then_no_more(url):
    await url.keys.find(url.issuer.kid)
    url.fails = DOWN
    url.now += TTL.total_seconds() + 3600
    assert await url.keys.find(url.issuer.kid) is not None
    await url.settle()
    url.now += 1
    with pytest.raises(Unavailable) as caught:
        await url.keys.find(url.issuer.kid)
    assert caught.value.retry_after == timedelta(seconds=COOLDOWN)
    url.fails = None
    url.now += COOLDOWN
    assert await url.keys.find(url.issuer.kid) is not None


@pytest.mark.parametrize("error", [DOWN, BadKeys("was not given out: HTTP 302")])
async def test_one_that_never_answered_well_makes_everybody_wait_and_is_not_asked_by_each(url, error):
    url.fails = error
    for _ in range(50):
        with pytest.raises(Unavailable):
            await url.keys.find("any")
    assert url.asked == 1


async def test_a_set_that_is_wrong_does_not_replace_one_that_is_right(url):
    await url.keys.find(url.issuer.kid)
    kid, good = url.issuer.kid, dict(url.issuer.keys)
    url.issuer.keys.clear()
    url.now += TTL.total_seconds() + 1
    await url.keys.find(kid)
    await url.settle()
    assert url.asked == 2
    assert await url.keys.find(kid) is not None
    url.issuer.keys.update(good)


async def test_one_that_hangs_holds_nobody_for_longer_than_its_time(url, monkeypatch):
    monkeypatch.setattr(key_sources, "FETCH_SECONDS", 0.1)
    url.gate.clear()
    async with asyncio.timeout(3):
        found = await asyncio.gather(*(url.keys.find("any") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)
    assert url.asked == 1


async def test_who_gives_up_waiting_takes_nothing_from_the_others(url):
    url.gate.clear()
    first, second = (asyncio.create_task(url.keys.find(url.issuer.kid)) for _ in range(2))
    while not url.asked:  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)
    first.cancel()
    url.gate.set()
    assert (await second).kid == url.issuer.kid


# --- The URL itself, over a socket


@pytest.mark.parametrize(
    ("head", "works"), [("200 OK", True), ("404 Not Found", False), ("302 Found\r\nLocation: /other", False)]
)
async def test_only_what_is_given_out_where_it_was_asked_for_counts(head, works):
    body = json.dumps({"keys": [public_jwk(new_key(), "ES256", "k")]}).encode()
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = KeyUrl(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/realms/shop/certs")
    if works:
        assert await url.fetch() == body
    else:
        with pytest.raises(BadKeys, match=head[:3]):
            await url.fetch()
    assert asked == [b"GET /realms/shop/certs HTTP/1.1"]
    await url.close()
    server.close()
