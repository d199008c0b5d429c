"""Two processes at one budget, and both of them killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.ai_orchestrator.gates.bench import FIRST_HOLD, NOW, SECOND, STORE, WIDE, bench, wish

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(url: str, count: int) -> AsyncIterator[tuple[int, int]]:
    """How many of *count* calls another process let through, and how many it refused; it is killed at the end."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ai_orchestrator.gates.bench", url, STORE, str(count),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        async with asyncio.timeout(90):
            granted, refused = (await running.stdout.readline()).split()
        yield int(granted), int(refused)
    finally:
        running.kill()
        await running.wait()


async def test_256_calls_of_two_processes_have_room_for_50_and_come_back_when_both_are_killed(
    database_url: str,
) -> None:
    async with bench(database_url, WIDE) as gates:
        await gates.limit(50 * FIRST_HOLD)

        async def half() -> tuple[int, int]:
            async with process(database_url, 128) as found:
                return found

        halves = await asyncio.gather(half(), half())
        assert tuple(map(sum, zip(*halves, strict=True))) == (50, 206)
        assert min(granted + refused for granted, refused in halves) == 128
        one = await gates.spent()
        assert (one.used, one.held) == (0, 50 * FIRST_HOLD)

        now = NOW + 200 * SECOND
        while await gates.database.transact(lambda conn: gates.gates.expire(conn, now, 20)):
            pass
        one = await gates.spent()
        assert (one.used, one.held, one.calls) == (50 * FIRST_HOLD, 0, 50), (
            "they may have run: charged in full"
        )
        await gates.limit(51 * FIRST_HOLD)
        found = await gates.crowd([wish(at=now) for _ in range(2)], now)
        assert found == {"granted": 1, "budget_exceeded": 1}
