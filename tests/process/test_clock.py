"""Shared time: one answer for all replicas, and none that goes back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import DatabaseClock, Reading, SandboxClock, sandbox_reader

START = datetime(2026, 3, 2, 4, tzinfo=UTC)


class Time:
    """A monotonic clock and a database's clock, both in the test's hand."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.database = START

    def pass_(self, seconds: float) -> None:
        self.monotonic += seconds
        self.database += timedelta(seconds=seconds)

    async def fetch(self) -> datetime:
        return self.database

    def clock(self) -> DatabaseClock:
        return DatabaseClock(self.fetch, monotonic=lambda: self.monotonic)


async def test_the_database_is_right_and_the_monotonic_clock_carries_it() -> None:
    time = Time()
    clock = time.clock()
    with pytest.raises(RuntimeError, match="sync"):
        clock.now()
    await clock.sync()
    time.pass_(7)
    assert clock.now() == START + timedelta(seconds=7)


async def test_a_slow_answer_is_taken_to_be_from_the_middle_of_the_wait() -> None:
    time = Time()

    async def slow() -> datetime:
        time.pass_(2)
        read = time.database
        time.pass_(2)
        return read

    clock = DatabaseClock(slow, monotonic=lambda: time.monotonic)
    await clock.sync()
    assert clock.now() == time.database


async def test_a_small_step_back_is_waited_out() -> None:
    time = Time()
    clock = time.clock()
    await clock.sync()
    assert clock.now() == START
    time.database -= timedelta(seconds=3)
    await clock.sync()
    assert clock.now() == START
    time.pass_(4)
    assert clock.now() == START + timedelta(seconds=1)
    assert clock.disagreements == 0


async def test_a_large_step_back_is_not_followed_but_counted_and_logged() -> None:
    time = Time()
    clock = time.clock()
    await clock.sync()
    time.database -= timedelta(hours=1)
    time.pass_(10)
    with structlog.testing.capture_logs() as lines:
        await clock.sync()
    assert clock.now() == START + timedelta(seconds=10)
    assert clock.disagreements == 1
    assert [line["event"] for line in lines] == ["clock disagreement"]


async def test_a_large_step_forward_is_followed_and_counted() -> None:
    time = Time()
    clock = time.clock()
    await clock.sync()
    time.database += timedelta(hours=1)
    with structlog.testing.capture_logs():
        await clock.sync()
    assert clock.now() == START + timedelta(hours=1)
    assert clock.disagreements == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1000, 1000), st.booleans()), max_size=30))
async def test_it_never_goes_back_whatever_the_database_does(steps: list[tuple[float, float, bool]]) -> None:
    time = Time()
    clock = time.clock()
    await clock.sync()
    last = clock.now()
    with structlog.testing.capture_logs():
        for passed, jump, look in steps:
            time.pass_(passed)
            time.database += timedelta(seconds=jump)
            if look:
                await clock.sync()
            assert clock.now() >= last
            last = clock.now()


async def test_the_sandbox_clock_runs_stands_still_and_jumps_as_it_is_told() -> None:
    monotonic = 50.0
    reading = Reading(START, frozen=False, version=1)

    async def read(version: int | None, wait: float) -> Reading:
        return reading

    clock = SandboxClock(read, monotonic=lambda: monotonic)
    with pytest.raises(RuntimeError, match="sync"):
        clock.now()
    await clock.sync()
    monotonic += 5
    assert clock.now() == START + timedelta(seconds=5)

    changed = clock.changed
    reading = Reading(START + timedelta(days=2), frozen=True, version=2)
    await clock.sync()
    assert changed.is_set()
    assert not clock.changed.is_set()
    monotonic += 5
    assert clock.now() == START + timedelta(days=2)

    reading = Reading(START, frozen=False, version=3)  # somebody reset it: the one way back
    await clock.sync()
    assert clock.now() == START


async def test_following_the_sandbox_over_http_wakes_at_each_jump(unused_tcp_port: int) -> None:
    state = {"now": START, "version": 1}
    moved = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        known = request.query.get("version")
        if known == str(state["version"]):
            await asyncio.wait_for(moved.wait(), float(request.query["wait"]))
        now = state["now"].isoformat(timespec="microseconds").replace("+00:00", "Z")  # type: ignore[attr-defined]
        return web.json_response(
            {"now": now, "offset_seconds": 0.0, "frozen": True, "version": state["version"]}
        )

    app = web.Application()
    app.router.add_get("/sandbox/clock", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    try:
        async with sandbox_reader(f"http://127.0.0.1:{unused_tcp_port}") as read, asyncio.timeout(10):
            clock = SandboxClock(read)
            await clock.sync()
            changed = clock.changed
            following = asyncio.ensure_future(clock.follow(turn, wait=5))
            state.update(now=START + timedelta(days=1), version=2)
            moved.set()
            await changed.wait()
            assert clock.now() == START + timedelta(days=1)
            assert turns >= 0
            following.cancel()
            await asyncio.wait({following})
    finally:
        await runner.cleanup()
