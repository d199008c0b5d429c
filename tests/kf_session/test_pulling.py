"""Messages are read once, whatever rings, fails, freezes or dies meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.kf_session.store.tables import account, doorbell, event_code, message, session
from services.kf_session.usecases.ringing import PATH
from tests.e2e.harness import STORE, Sandbox, eventually
from tests.kf_session.shop import CALLBACK, WK, WM, Shop, shop
from tests.kf_session.test_door import ring, signed
from tests.support.node import Node


async def test_a_message_is_kept_announced_and_opens_the_window(kf: Shop) -> None:
    msgid = await kf.writes("几点关门？")
    (row,) = await kf.until(message, 1)
    assert (row.msgid, row.open_kfid, row.external_userid, row.store_id) == (msgid, WK, WM, STORE)
    assert (row.origin, row.msgtype, row.content) == (3, "text", {"content": "几点关门？"})
    found = await kf.session()
    assert found.window_open
    assert (found.credits_used, found.credits_left) == (0, 5)
    assert sorted(await kf.announced()) == ["kf.message.received", "kf.session.opened"]
    (kept,) = await kf.rows(session)
    assert kept.customer_msgid == msgid


async def test_a_ring_brings_a_token_and_is_taken_down_when_it_is_served(kf: Shop) -> None:
    await kf.writes()
    await kf.until(message, 1)

    async def served() -> bool:
        return not await kf.rows(doorbell)

    await eventually(served)
    (row,) = await kf.rows(account)
    assert row.status == "deferred"
    assert any(call.get("token") for call in await kf.calls("sync_msg"))


async def test_many_pages_are_read_to_the_end_also_where_pages_are_empty(kf: Shop) -> None:
    await kf.world.profile(kf_sync_page=3)
    await kf.world.post("/sandbox/kf/sync", open_kfid=WK, empty_pages=2)
    sent = {await kf.writes(f"第{number}句") for number in range(20)}
    rows = await kf.until(message, 20)
    assert {row.msgid for row in rows} == sent
    (kept,) = await kf.rows(session)
    assert kept.window_no == 20
    assert (await kf.announced()).count("kf.message.received") == 20


async def test_what_no_callback_told_of_for_ten_minutes_is_found_by_the_poll(
    world: Sandbox, tmp_path: Path, postgres: str | None
) -> None:
    silent = dict.fromkeys(CALLBACK, "")
    async with shop(world, tmp_path / "home", postgres, **silent) as kf:

        async def first() -> bool:
            rows = await kf.rows(account)
            return bool(rows) and rows[0].synced_at is not None

        await eventually(first)
        sent = set[str]()
        for minute in range(10):
            await world.advance(60)
            sent.add(await kf.writes(f"第{minute}句"))
        await world.advance(61)
        assert {row.msgid for row in await kf.until(message, 10)} == sent
        assert (await kf.announced()).count("kf.message.received") == 10


async def test_a_refused_token_of_a_ring_is_left_out(kf: Shop) -> None:
    await kf.world.fault(path="/cgi-bin/kf/sync_msg", errcode=95007, count=1)
    await kf.writes()
    await kf.until(message, 1)
    with_token = [bool(call.get("token")) for call in await kf.calls("sync_msg")]
    assert True in with_token


@pytest.mark.parametrize(
    "fault", [{"errcode": 45009}, {"errcode": 42001}, {"http_status": 502}, {"errcode": -1}]
)
async def test_a_pull_that_fails_is_made_again(kf: Shop, fault: dict[str, Any]) -> None:
    await kf.world.fault(path="/cgi-bin/kf/sync_msg", count=1, **fault)
    await kf.writes()

    async def passing() -> bool:
        await kf.world.advance(30)
        return bool(await kf.rows(message))

    await eventually(passing, every=0.3)
    assert len(await kf.rows(message)) == 1


async def test_a_code_is_kept_with_its_end_and_its_words_are_not_kept_with_the_message(kf: Shop) -> None:
    code = await kf.enters(scene="door", scene_param="t7")
    (row,) = await kf.until(event_code, 1)
    assert (row.code, row.occasion) == (code, "entered")
    assert (row.expires_at - row.issued_at).total_seconds() == 20
    (kept,) = await kf.rows(session)
    assert (kept.scene, kept.scene_param, kept.customer_at) == ("door", "t7", None)
    (item,) = await kf.rows(message)
    assert "welcome_code" not in item.content


@pytest.mark.fault
async def test_while_the_database_is_down_no_callback_is_answered_200_and_what_was_written_comes_afterwards(
    world: Sandbox, tmp_path: Path, postgres_node: Node
) -> None:
    async with shop(world, tmp_path / "home", postgres_node.url) as kf:
        first = await kf.writes("一")
        await kf.until(message, 1)
        request = signed(ring("ENC-down"), (await world.now()).timestamp())
        url = f"http://{kf.reach.http}{PATH}?{request[0]}"

        async def rings() -> int:
            async with kf.reach.session.post(url, data=request[1]) as answer:
                return answer.status

        await asyncio.to_thread(postgres_node.stop)
        second = await kf.writes("二")  # its own callbacks are refused, too
        assert await rings() == 503
        await asyncio.to_thread(postgres_node.start)

        async def taken() -> bool:
            return await rings() == 200

        await eventually(taken, timeout=30, every=0.2)

        async def both() -> bool:
            return {row.msgid for row in await kf.rows(message)} == {first, second}

        await eventually(both, timeout=30)
        assert (await kf.announced()).count("kf.message.received") == 2
