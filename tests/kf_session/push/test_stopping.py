"""A process that stops has settled what was under way."""

from __future__ import annotations

import asyncio
import contextlib

from services.kf_session.pipeline.deciding import Job
from services.kf_session.store.tables import push_attempt
from shared.clock import ManualClock
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import Platform, Replica


async def test_a_process_that_stops_settles_what_is_under_way(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    gate, under_way = asyncio.Event(), asyncio.Event()

    async def script(job: Job) -> Sent | None:
        under_way.set()
        await gate.wait()
        return None

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "m")
    running = asyncio.create_task(replica.pusher.run(lambda: None))
    async with asyncio.timeout(10):
        await under_way.wait()
    stopping = asyncio.create_task(replica.pusher.drain(5))
    await asyncio.sleep(0.05)
    gate.set()
    await stopping
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert await replica.stands("m") == ("accepted", "")
    assert [row.state for row in await replica.rows(push_attempt)] == ["accepted"]
