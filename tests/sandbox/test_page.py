import asyncio
from typing import Any

import orjson

from tests.sandbox.ai import KEY, ask
from tests.sandbox.conftest import Client
from tests.sandbox.groups import GROUP, Groups, mass_send
from tests.sandbox.kf import WM, Kf


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


async def test_the_stream_carries_what_ai_applications_were_asked(client: Client) -> None:
    await ask(client, "长" * 5000)
    state = await events(client, "state")
    (call,) = state["ai"]
    assert (call["app_id"], call["prompt"], call["http_status"]) == ("app1", "长" * 600, 200)
    assert state["ai_tokens"] == call["input_tokens"] + call["output_tokens"]
    assert KEY not in str(state)


async def test_a_customers_phone_shows_both_sides_of_its_chat(kf: Kf) -> None:
    await kf.writes("在吗")
    await kf.send("您好")
    mine, theirs = await events(kf.client, "kf")
    assert (mine["by"], mine["name"], mine["account"], mine["content"]) == (
        "customer",
        "小王",
        "门店客服",
        {"content": "在吗"},
    )
    assert (theirs["by"], theirs["content"]) == ("api", {"content": "您好"})


async def test_the_stream_carries_the_state_of_each_chat(kf: Kf) -> None:
    msgid = await kf.writes()
    await kf.play(f"customers/{WM}", recall=msgid)
    state = (await events(kf.client, "state"))["kf"]
    assert [account["name"] for account in state["accounts"]] == ["门店客服", "客服 wk2"]
    assert [(one["external_userid"], one["state"]) for one in state["sessions"]] == [(WM, 0)]
    assert len(state["recalled"]) == 1


async def test_a_customers_phone_can_be_opened_and_typed_on(client: Client) -> None:
    async with client.session.get(client.url) as answer:
        html = await answer.text()
    assert 'id="kf-open"' in html
    async with client.session.get(f"{client.url}/sandbox/page/app.js") as answer:
        script = await answer.text()
    assert "/sandbox/kf/messages" in script
    assert "data-menu" in script


async def test_the_stream_carries_what_owners_are_asked_to_send_and_what_groups_got(groups: Groups) -> None:
    await groups.play("owners/lisi/behaviour", behaviour="never")
    msgid = await mass_send(groups)
    (owner,) = (await events(groups.client, "state"))["owners"]
    (prompt,) = owner["prompts"]
    assert (owner["name"], owner["behaviour"], prompt["msgid"], prompt["groups"]) == (
        "张三",
        "by_hand",
        msgid,
        1,
    )
    await groups.play("owners/zhangsan/confirm", msgid=msgid)
    assert (await events(groups.client, "state"))["owners"] == []
    (message,) = await events(groups.client, "messages")
    assert (message["kind"], message["to"], message["msgtype"]) == ("group", GROUP, "mass_send")
