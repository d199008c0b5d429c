import asyncio
from typing import Any

import orjson

from tests.sandbox.conftest import Client


async def events(client: Client, wanted: str) -> Any:
    """The first stream event of this kind."""
    async with asyncio.timeout(5), client.session.get(f"{client.url}/sandbox/stream") as stream:
        name = ""
        async for line in stream.content:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: ") and name == wanted:
                return orjson.loads(line[6:])
    raise AssertionError("the stream ended")


async def test_the_page_needs_nothing_from_outside_and_allows_no_foreign_script(client: Client) -> None:
    async with client.session.get(client.url) as answer:
        html = await answer.text()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert "企业微信沙箱" in html
    assert html.count("https://") == 0
    for name in ("style.css", "app.js"):
        assert f"/sandbox/page/{name}" in html
        async with client.session.get(f"{client.url}/sandbox/page/{name}") as file:
            assert file.status == 200
    async with client.session.get(f"{client.url}/sandbox/page/__init__.py") as file:
        assert file.status == 404


async def test_a_hostile_host_header_is_escaped(client: Client) -> None:
    async with client.session.get(client.url, headers={"Host": '"><script>x'}) as answer:
        assert "<script>x" not in await answer.text()


async def test_a_newcomer_sees_what_arrived_before(client: Client) -> None:
    await client.robot(text={"content": "早"})
    assert [m["content"]["content"] for m in await events(client, "messages")] == ["早"]


async def test_a_follower_sees_what_arrives(client: Client) -> None:
    follower = asyncio.create_task(events(client, "messages"))
    await client.get("/sandbox/healthz")
    await client.robot(text={"content": "晚"})
    assert [m["content"]["content"] for m in await follower] == ["晚"]


async def test_the_stream_carries_clock_faults_and_totals(client: Client) -> None:
    await client.post("/sandbox/faults", {"errcode": -1})
    await client.post("/sandbox/clock", {"freeze": True})
    state = await events(client, "state")
    assert state["clock"]["frozen"] is True
    assert state["faults"][0]["errcode"] == -1
    assert state["totals"]["delivered"] == 0
