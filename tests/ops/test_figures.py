"""What waits in a process is among its metrics, read from the rows."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.e2e.harness import embedded, eventually, sandbox
from tests.support.home import free_port

THROTTLED = {"path": "/cgi-bin/message/send", "errcode": 45009}
"""The app rests, and its message waits."""


async def test_what_waits_and_for_how_long_is_scraped(tmp_path: Path) -> None:
    async with sandbox() as world:
        await world.fault(**THROTTLED)
        address = f"127.0.0.1:{free_port()}"
        async with embedded(world.url, tmp_path / "home", metrics_listen=address) as reach:
            await reach.staff()
            await reach.push(wait=0)

            async def look() -> str:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://{address}/metrics") as reply,
                ):
                    text = await reply.text()
                waits = 'reach_due_rows{queue="deliveries",service="notifier",state="deferred"} 1.0'
                return text if waits in text else ""

            told = await eventually(look, timeout=30)
    for line in (
        'reach_outbox_pending{service="notifier"} ',
        'reach_due_oldest_seconds{queue="cards",service="notifier"} 0.0',
        'reach_unknown_open{service="notifier"} 0.0',
        'reach_loop_age_seconds{loop="notifier senders"} ',
        "reach_broker_connected 1.0",
        "reach_broker_blocked 0.0",
        'reach_attempt_seconds_count{channel="app",service="notifier"} ',
    ):
        assert line in told, line
