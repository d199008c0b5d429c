import asyncio
from datetime import datetime, timedelta

import pytest

from tests.sandbox.conftest import Client, Open


async def test_requests_show_every_call_in_order_with_secrets_masked(client: Client) -> None:
    token = await client.token("a-long-secret")
    async with client.session.post(
        f"{client.url}/cgi-bin/webhook/send?key=a-long-key",
        data=b'{"msgtype":"text","text":{"content":"x"}}',
        headers={"traceparent": "00-aa-bb-01"},
    ):
        pass
    await client.send(token, agentid=None)
    shown = await client.get("/sandbox/requests")
    first, second, third = shown["requests"]
    assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
    assert first["query"] == {"corpid": "ww1", "corpsecret": "a-lo***"}
    assert second["query"] == {"key": "a-lo***"}
    assert (second["body"]["msgtype"], second["traceparent"]) == ("text", "00-aa-bb-01")
    assert (third["errcode"], third["http_status"]) == (41011, 200)
    assert token not in str(shown)
    assert "a-long-secret" not in str(shown)


async def test_a_call_under_way_is_shown_without_an_answer(client: Client) -> None:
    await client.post("/sandbox/faults", {"hang": True})
    call = asyncio.create_task(client.robot())
    assert (await client.called("/cgi-bin/webhook/send"))["http_status"] is None
    call.cancel()
    await asyncio.wait([call])


async def test_pages_follow_one_another(client: Client) -> None:
    for i in range(5):
        await client.robot(text={"content": str(i)})
    for path, cursor, rows in (("requests", "after", "requests"), ("messages", "since", "messages")):
        seen, position, more = [], 0, True
        while more:
            page = await client.get(f"/sandbox/{path}", limit=2, **{cursor: position})
            seen += [row["number"] for row in page[rows]]
            position, more = page["next"], page["more"]
        assert seen == [1, 2, 3, 4, 5]


async def test_memory_is_bounded_and_totals_never_lie(open_sandbox: Open) -> None:
    client = await open_sandbox(messages_kept=3, requests_kept=4, robot_per_minute=0)
    for i in range(10):
        await client.robot(text={"content": str(i)})
    messages = await client.get("/sandbox/messages")
    assert [message["content"]["content"] for message in messages["messages"]] == ["7", "8", "9"]
    assert messages["oldest_kept"] == 8
    assert [row["number"] for row in (await client.get("/sandbox/requests"))["requests"]] == [7, 8, 9, 10]
    stats = await client.get("/sandbox/stats")
    assert stats["requests"]["by_path"] == {"/cgi-bin/webhook/send": {"0": 10}}
    assert stats["messages"]["delivered"] == 10
    assert stats["kept"] == {"messages": 3, "requests": 4}


async def test_a_long_body_is_kept_in_part_and_says_so(open_sandbox: Open) -> None:
    client = await open_sandbox(body_bytes_kept=10)
    await client.robot()
    (shown,) = (await client.get("/sandbox/requests"))["requests"]
    assert shown["body_cut"] is True
    assert shown["body_bytes"] > 10 == len(shown["body"])


async def test_messages_since_an_instant(client: Client) -> None:
    await client.post("/sandbox/clock", {"set": "2026-05-01T00:00:00Z", "freeze": True})
    await client.robot(text={"content": "alt"})
    await client.post("/sandbox/clock", {"advance_seconds": 10})
    await client.robot(text={"content": "neu"})
    found = await client.arrived("k1", since="2026-05-01T08:00:05+08:00")
    assert [message["content"]["content"] for message in found] == ["neu"]
    assert found[0]["received_at"] == "2026-05-01T00:00:10.000000Z"


async def test_the_clock_moves_jumps_and_stands_still(client: Client) -> None:
    frozen = await client.post("/sandbox/clock", {"set": "2026-02-28T23:59:59.5+08:00", "freeze": True})
    assert (frozen["now"], frozen["frozen"]) == ("2026-02-28T15:59:59.500000Z", True)
    assert (await client.post("/sandbox/clock", {"advance_seconds": 0.5}))[
        "now"
    ] == "2026-02-28T16:00:00.000000Z"
    assert (await client.get("/sandbox/clock"))["now"] == "2026-02-28T16:00:00.000000Z"
    running = await client.post("/sandbox/clock", {"freeze": False})
    assert running["now"].startswith("2026-02-28T16:00:00")
    assert running["version"] == frozen["version"] + 2


async def test_who_jumps_to_an_instant_by_what_the_clock_showed_arrives_at_it(client: Client) -> None:
    await client.post("/sandbox/clock", {"freeze": True})
    for _ in range(100):
        shown = datetime.fromisoformat((await client.get("/sandbox/clock"))["now"])
        aim = shown + timedelta(seconds=1, microseconds=999)
        moved = await client.post("/sandbox/clock", {"advance_seconds": (aim - shown).total_seconds()})
        assert datetime.fromisoformat(moved["now"]) == aim
        await client.post("/sandbox/clock", {"freeze": False})
        await client.post("/sandbox/clock", {"freeze": True})


async def test_a_follower_of_the_clock_hears_of_a_change_at_once(client: Client) -> None:
    version = (await client.get("/sandbox/clock"))["version"]
    follower = asyncio.create_task(client.get("/sandbox/clock", version=version, wait=30))
    await client.get("/sandbox/healthz")
    assert not follower.done()
    await client.post("/sandbox/clock", {"advance_seconds": 86_400})
    heard = await asyncio.wait_for(follower, 5)
    assert heard["version"] == version + 1
    assert round(heard["offset_seconds"]) == 86_400
    assert (await client.get("/sandbox/clock", version=version, wait=30))["version"] == version + 1
    assert (await client.get("/sandbox/clock", version=version + 1, wait=0.05))["version"] == version + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {}),
        ("clock", {"set": "2026-01-01T00:00:00"}),
        ("clock", {"set": "9999-12-31T23:59:59Z", "advance_seconds": 1}),
        ("clock", {"advance_seconds": 1e300}),
        ("clock", {"freeze": 1}),
        ("tokens/expire", {"mode": "vanish"}),
        ("reset", {"keep": ["everything"]}),
        ("profile", {"token_ttl_secs": 1}),
        ("profile", {"token_ttl_seconds": "1"}),
        ("profile", {"rate_window": "round"}),
        ("profile", {"messages_kept": 5}),
        ("directory", {"users": [{"name": "nobody"}]}),
        ("directory", {"robots": [{"key": "k", "grup": "x"}]}),
        ("directory", {"ip_allowlist": ["not an address"]}),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused_with_a_reason(client: Client, path: str, body: object) -> None:
    before = await client.get("/sandbox/clock")
    assert (await client.post(f"/sandbox/{path}", body))["error"]
    assert (await client.get("/sandbox/clock"))["version"] == before["version"]


async def test_bad_json_is_refused_with_a_reason(client: Client) -> None:
    assert "error" in await client.post("/sandbox/faults", b"{")


async def test_reset_forgets_all_but_what_is_kept(client: Client) -> None:
    await client.post("/sandbox/directory", {"users": [{"userid": "lisi"}]})
    token = await client.token()
    for _ in range(20):
        await client.robot()
    await client.post("/sandbox/faults", {"errcode": -1})
    await client.post("/sandbox/clock", {"advance_seconds": 99})
    await client.post("/sandbox/reset", {"keep": ["directory"]})
    assert (await client.get("/sandbox/messages"))["messages"] == []
    assert (await client.get("/sandbox/stats"))["requests"]["total"] == 0
    assert (await client.get("/sandbox/faults"))["faults"] == []
    assert (await client.get("/sandbox/clock"))["offset_seconds"] == 0
    assert [user["userid"] for user in (await client.get("/sandbox/directory"))["users"]] == ["lisi"]
    assert (await client.send(token))["errcode"] == 40014
    assert (await client.robot())["errcode"] == 0
    (arrived,) = await client.arrived("k1")
    assert arrived["number"] == 21  # numbers are never given twice
    await client.post("/sandbox/reset")
    assert (await client.get("/sandbox/directory"))["users"] == []


async def test_a_page_of_another_site_may_not_steer(client: Client) -> None:
    url = f"{client.url}/sandbox/reset"
    async with client.session.post(url, headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403
    async with client.session.post(url, headers={"Origin": client.url}) as answer:
        assert answer.status == 200


async def test_settings_change_while_it_runs(client: Client) -> None:
    await client.post("/sandbox/profile", {"robot_per_minute": 1})
    assert [(await client.robot())["errcode"] for _ in range(2)] == [0, 45009]


async def test_an_unknown_api_path_says_so_and_is_recorded(client: Client) -> None:
    async with client.session.post(f"{client.url}/cgi-bin/no/such") as answer:
        assert answer.status == 404
    assert (await client.get("/sandbox/requests"))["requests"][0]["http_status"] == 404
