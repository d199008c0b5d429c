"""Background loops outlive their failures, and are seen when they stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
import structlog

from shared.supervise import Supervisor, Turn


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event of the code under test
            await asyncio.sleep(0)


class Time:
    def __init__(self) -> None:
        self.value = 100.0

    def __call__(self) -> float:
        return self.value


async def forever(turn: Turn) -> None:
    turn()
    await asyncio.Event().wait()


async def test_a_loop_that_fails_is_logged_counted_and_started_again() -> None:
    runs, counted = 0, list[str]()

    async def loop(turn: Turn) -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise ValueError("no luck")
        await forever(turn)

    with structlog.testing.capture_logs() as lines:
        async with Supervisor(jitter=lambda: 0.0, on_failure=counted.append) as supervisor:
            supervisor.add("relay", loop)
            await until(lambda: runs == 4)
            assert supervisor.failures() == {"relay": 3}
    assert counted == ["relay"] * 3
    assert [(line["event"], line["loop"], type(line["exc_info"])) for line in lines] == [
        ("loop failed", "relay", ValueError)
    ] * 3


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_loop_that_ends_or_is_cancelled_from_within_is_started_again(cancels: bool) -> None:
    runs = 0

    async def loop(turn: Turn) -> None:
        nonlocal runs
        runs += 1
        if cancels:
            raise asyncio.CancelledError

    with structlog.testing.capture_logs():
        async with Supervisor(jitter=lambda: 0.0) as supervisor:
            supervisor.add("relay", loop)
            await until(lambda: runs >= 3)


async def test_the_wait_grows_to_thirty_seconds_and_is_forgotten_after_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, runs, done = list[float](), 0, asyncio.Event()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 10:
            done.set()
        await real(0)

    async def loop(turn: Turn) -> None:
        nonlocal runs
        runs += 1
        if runs == 9:
            turn()
        raise ValueError

    monkeypatch.setattr("shared.supervise.asyncio.sleep", sleep)
    with structlog.testing.capture_logs():
        async with Supervisor(jitter=lambda: 1.0) as supervisor:
            supervisor.add("relay", loop)
            await done.wait()
    assert waits[:10] == [0.5, 1, 2, 4, 5, 5, 5, 5, 0.5, 1]


async def test_a_loop_that_stands_still_makes_the_process_unhealthy() -> None:
    time, go = Time(), asyncio.Event()
    turns = 0

    async def loop(turn: Turn) -> None:
        nonlocal turns
        while True:
            turn()
            turns += 1
            await go.wait()
            go.clear()

    async with Supervisor(monotonic=time) as supervisor:
        supervisor.add("claims", loop)
        await until(lambda: turns == 1)
        time.value += 60
        assert supervisor.healthy
        time.value += 1
        assert supervisor.stalled() == ["claims"]
        assert supervisor.ages() == {"claims": timedelta(seconds=61)}
        go.set()
        await until(lambda: turns == 2)
        assert supervisor.healthy


async def test_it_stops_in_reverse_each_loop_after_the_one_added_later() -> None:
    ended = list[str]()

    def loop(name: str) -> Callable[[Turn], object]:
        async def run(turn: Turn) -> None:
            try:
                await forever(turn)
            finally:
                await asyncio.sleep(0)
                ended.append(name)

        return run

    supervisor = Supervisor()
    for name in ("relay", "worker", "intake"):
        supervisor.add(name, loop(name))  # type: ignore[arg-type]
    supervisor.start()
    await asyncio.sleep(0)
    await supervisor.stop()
    assert ended == ["intake", "worker", "relay"]


async def test_a_loop_that_will_not_stop_does_not_take_the_others_time() -> None:
    release, cleaned = asyncio.Event(), False

    async def stubborn(turn: Turn) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def tidy(turn: Turn) -> None:
        nonlocal cleaned
        try:
            await forever(turn)
        finally:
            await asyncio.sleep(0)
            cleaned = True

    supervisor = Supervisor()
    supervisor.add("tidy", tidy)
    supervisor.add("stubborn", stubborn)
    supervisor.start()
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        await supervisor.stop(timedelta(seconds=0.2))
        assert cleaned
        assert [(line["event"], line["loop"]) for line in lines] == [
            ("loop did not stop in time", "stubborn")
        ]
        release.set()
        await asyncio.sleep(0.01)


async def test_names_are_unique_and_nothing_is_added_while_stopping() -> None:
    supervisor = Supervisor()
    supervisor.add("relay", forever)
    with pytest.raises(ValueError, match="relay"):
        supervisor.add("relay", forever)
    await supervisor.stop()
    with pytest.raises(RuntimeError):
        supervisor.add("late", forever)
