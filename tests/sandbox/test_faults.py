import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from tests.sandbox.conftest import Client, Open

SEND = "/cgi-bin/webhook/send"
BODY = orjson.dumps({"msgtype": "text", "text": {"content": "你好"}})


@asynccontextmanager
async def raw(client: Client) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)", client.url).groups()  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def request(body: bytes = BODY, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"POST %s?key=k1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (SEND.encode(), size, body)


async def fault(client: Client, **rule: Any) -> Any:
    answer = await client.post("/sandbox/faults", {"path": SEND} | rule)
    assert "error" not in answer, answer
    return answer


async def last_request(client: Client) -> Any:
    return (await client.get("/sandbox/requests", path=SEND))["requests"][-1]


async def test_before_read_closes_without_waiting_for_the_body(client: Client) -> None:
    await fault(client, drop="before-read")
    async with raw(client) as (reader, writer):
        writer.write(request(b"", length=500))  # the body never comes
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert await client.arrived("k1") == []
    seen = await last_request(client)
    assert (seen["body"], seen["http_status"], seen["errcode"]) == (None, None, None)


@pytest.mark.parametrize(("when", "arrived"), [("before-accept", 0), ("after-accept", 1)])
async def test_a_drop_happens_before_or_after_the_message_is_delivered(
    client: Client, when: str, arrived: int
) -> None:
    rule = await fault(client, drop=when, count=1)
    async with raw(client) as (reader, writer):
        writer.write(request())
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert len(await client.arrived("k1")) == arrived
    seen = await last_request(client)
    assert (seen["http_status"], seen["fault"]) == (None, rule["id"])
    assert (await client.robot("k1"))["errcode"] == 0


async def test_a_reset_is_a_reset(client: Client) -> None:
    await fault(client, drop="after-accept", reset=True)
    async with raw(client) as (reader, writer):
        writer.write(request())
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
    assert len(await client.arrived("k1")) == 1


async def test_a_drip_gives_the_body_byte_by_byte(client: Client) -> None:
    await fault(client, drip_ms=5)
    loop = asyncio.get_running_loop()
    async with raw(client) as (reader, writer):
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        started, pieces = loop.time(), []
        while b"".join(pieces) != b'{"errcode":0,"errmsg":"ok"}':
            pieces.append(await asyncio.wait_for(reader.read(100), 5))
        assert len(pieces) > 10
        assert loop.time() - started > 26 * 0.005 * 0.9


async def test_a_short_answer_ends_before_its_length(client: Client) -> None:
    await fault(client, short=True)
    async with raw(client) as (reader, writer):
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 27" in head.lower()
        assert await asyncio.wait_for(reader.read(), 5) == b'{"errcode":0,'
    assert len(await client.arrived("k1")) == 1


async def test_a_hang_keeps_the_connection_open_without_a_word(client: Client) -> None:
    await fault(client, hang=True)
    async with raw(client) as (reader, writer):
        writer.write(request())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
    assert await client.arrived("k1") == []
    assert (await last_request(client))["http_status"] is None


async def test_a_hang_may_come_after_the_message_was_delivered(client: Client) -> None:
    await fault(client, hang=True, accepted=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.robot("k1"), 0.2)
    assert len(await client.arrived("k1")) == 1


async def test_latency_delays_and_leaves_the_answer_alone(client: Client) -> None:
    await fault(client, latency_ms=120)
    started = asyncio.get_running_loop().time()
    assert (await client.robot())["errcode"] == 0
    assert asyncio.get_running_loop().time() - started >= 0.12


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_errcode_is_answered_as_the_platform_would(client: Client, accepted: bool) -> None:
    await fault(client, errcode=-1, accepted=accepted)
    answer = await client.robot("k1")
    assert answer["errcode"] == -1
    assert answer["errmsg"].startswith("system busy, hint: [")
    assert len(await client.arrived("k1")) == int(accepted)
    assert (await last_request(client))["errcode"] == -1


async def test_a_status_comes_with_its_headers(client: Client) -> None:
    await fault(client, http_status=429, headers={"Retry-After": "7"}, text="slow down")
    async with client.session.post(client.url + SEND, data=BODY, params={"key": "k1"}) as answer:
        assert (answer.status, answer.headers["Retry-After"], await answer.text()) == (429, "7", "slow down")
    assert (await last_request(client))["http_status"] == 429


async def read_malformed(client: Client, how: str) -> bytes:
    await fault(client, malformed=how)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(client.url + SEND, data=BODY, params={"key": "k1"}) as answer,
    ):
        assert answer.status == 200
        return await answer.read()


@pytest.mark.parametrize("how", ["truncated", "html", "non_utf8", "empty"])
async def test_a_malformed_answer_is_no_json_but_the_message_arrived(client: Client, how: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(await read_malformed(client, how))
    assert len(await client.arrived("k1")) == 1


async def test_wrong_types_arrays_and_missing_codes_are_json(client: Client) -> None:
    assert not isinstance(orjson.loads(await read_malformed(client, "wrong_types"))["errcode"], int)


async def test_an_answer_may_be_an_array(client: Client) -> None:
    assert isinstance(orjson.loads(await read_malformed(client, "array")), list)


async def test_an_answer_may_lack_its_errcode(client: Client) -> None:
    assert "errcode" not in orjson.loads(await read_malformed(client, "no_errcode"))


async def test_a_huge_answer_and_a_bomb_are_huge(client: Client) -> None:
    assert len(await read_malformed(client, "huge")) > 8 * 1024 * 1024
    await client.delete("/sandbox/faults")
    bomb = await read_malformed(client, "bomb")
    assert len(bomb) < 1024 * 1024
    assert len(gzip.decompress(bomb)) > 100 * 1024 * 1024


async def test_a_fault_strikes_only_what_it_matches(client: Client) -> None:
    token = await client.token()
    await client.post("/sandbox/faults", {"path": "/cgi-bin/message/*", "to": "LiSi", "errcode": -1})
    assert (await client.send(token, touser="wangwu"))["errcode"] == 0
    assert (await client.send(token, touser="wangwu|lisi"))["errcode"] == -1
    await client.delete("/sandbox/faults")
    await client.post("/sandbox/faults", {"body": "订单", "errcode": -1})
    assert (await client.robot())["errcode"] == 0
    assert (await client.robot(text={"content": "订单"}))["errcode"] == -1
    await client.delete("/sandbox/faults")
    await client.post("/sandbox/faults", {"agentid": 5, "errcode": -1})
    assert (await client.send(token))["errcode"] == 0
    assert (await client.send(token, agentid=5))["errcode"] == -1


async def test_skip_and_count_bound_a_fault_and_it_tells_how_often_it_struck(client: Client) -> None:
    rule = await fault(client, errcode=-1, skip=1, count=2)
    assert [(await client.robot())["errcode"] for _ in range(5)] == [0, -1, -1, 0, 0]
    (shown,) = (await client.get("/sandbox/faults"))["faults"]
    assert (shown["id"], shown["applied"]) == (rule["id"], 2)
    assert (await client.get("/sandbox/stats"))["faults_applied"] == 2
    assert (await client.delete(f"/sandbox/faults/{rule['id']}"))["faults"] == []
    assert "error" in await client.delete(f"/sandbox/faults/{rule['id']}")


async def test_a_seeded_probability_makes_the_same_choice_again(open_sandbox: Open) -> None:
    async def codes(seed: int) -> list[int]:
        client = await open_sandbox(robot_per_minute=0)
        await fault(client, errcode=-1, probability=0.5, seed=seed)
        return [(await client.robot())["errcode"] for _ in range(40)]

    first = await codes(7)
    assert first == await codes(7)
    assert 5 < first.count(-1) < 35
    assert first != await codes(8)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"errcode": -1, "hang": True},
        {"errcode": "busy"},
        {"errcode": True},
        {"drop": "sometimes"},
        {"drop": "before-read", "body": "x"},
        {"drop": "after-accept", "accepted": False},
        {"malformed": "xml"},
        {"http_status": 42},
        {"latency_ms": -1},
        {"errcode": -1, "probability": 2},
        {"errcode": -1, "headers": {}},
        {"errcode": -1, "unknown": 1},
    ],
    ids=str,
)
async def test_a_fault_that_makes_no_sense_is_refused(client: Client, rule: Any) -> None:
    assert "error" in await client.post("/sandbox/faults", rule)
    assert (await client.get("/sandbox/faults"))["faults"] == []
