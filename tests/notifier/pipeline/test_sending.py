"""The fixed set of senders: how much it takes, in which order, and that nothing it was given is forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.notifier.pipeline.job import Finished, Job
from services.notifier.pipeline.sending import Senders
from shared.clock import ManualClock
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, LEASE, World, user


def job(clock: ManualClock, name: str, priority: int = 2) -> Job:
    now = clock.now()
    return Job(
        delivery_id=name,
        store_id="s",
        event_id="e",
        event_type="t",
        rule_id="",
        channel="app:default",
        part=0,
        content={},
        targets=(user("ann"),),
        priority=priority,
        attempt_no=1,
        epoch=1,
        claimed_at=now,
        lease_until=now + LEASE,
        retries=0,
        refreshes=0,
        resend_mark=False,
        unclear_since=None,
        traceparent=None,
        created_at=now,
    )


class Bench:
    """Senders and what they answer."""

    def __init__(self, clock: ManualClock, count: int) -> None:
        self.world, self.outcomes = World(), asyncio.Queue[Finished]()
        self.senders = Senders(self.world, self.outcomes, clock, count=count, backlog=2)

    async def finished(self) -> list[Finished]:
        """Everything that is over once nothing is held."""
        running = asyncio.create_task(self.senders.run(lambda: None))
        await self.senders.drain(5.0)
        running.cancel()
        await asyncio.wait({running})
        return [self.outcomes.get_nowait() for _ in range(self.outcomes.qsize())]


def test_room_is_never_negative_when_more_was_brought_than_fits(manual_clock: ManualClock) -> None:
    senders = Bench(manual_clock, 1).senders
    senders.submit(job(manual_clock, str(n)) for n in range(10))
    assert senders.free == 0


async def test_what_waits_longest_goes_before_what_is_a_little_more_urgent(manual_clock: ManualClock) -> None:
    bench = Bench(manual_clock, 1)
    old = job(manual_clock, "old", priority=3)
    manual_clock.advance(timedelta(hours=2))
    fresh = [replace(job(manual_clock, f"{n}", priority=n)) for n in (2, 0)]
    bench.senders.submit([*fresh, replace(old, lease_until=fresh[0].lease_until)])
    await bench.finished()
    assert [one.delivery_id for one in bench.world.sent] == ["old", "0", "2"]


async def test_a_job_whose_lease_runs_short_is_not_sent(manual_clock: ManualClock) -> None:
    bench = Bench(manual_clock, 1)
    bench.senders.submit([job(manual_clock, "a")])
    manual_clock.advance(timedelta(seconds=19))
    (one,) = await bench.finished()
    assert one.outcome is None
    assert "lease" in one.why
    assert bench.world.sent == []


@pytest.mark.parametrize("error", [ValueError("ours"), asyncio.CancelledError()])
async def test_a_call_that_breaks_leaves_an_unknown_outcome_and_a_sender_that_goes_on(
    manual_clock: ManualClock, error: BaseException
) -> None:
    bench = Bench(manual_clock, 1)

    async def answer(one: Job) -> Outcome:
        if one.delivery_id == "a":
            raise error
        return ACCEPTED

    bench.world.answer = answer
    bench.senders.submit([job(manual_clock, "a"), job(manual_clock, "b")])
    states = [one.outcome.state for one in await bench.finished() if one.outcome]
    assert states == [State.UNKNOWN, State.ACCEPTED]


async def test_a_sender_that_is_stopped_in_mid_call_says_that_nobody_knows(manual_clock: ManualClock) -> None:
    bench, calling = Bench(manual_clock, 1), asyncio.Event()

    async def answer(one: Job) -> Outcome:
        calling.set()
        await asyncio.sleep(60)
        return ACCEPTED

    bench.world.answer = answer
    bench.senders.submit([job(manual_clock, "a")])
    running = asyncio.create_task(bench.senders.run(lambda: None))
    await calling.wait()
    running.cancel()
    await asyncio.wait({running})
    outcome = bench.outcomes.get_nowait().outcome
    assert outcome is not None
    assert outcome.state is State.UNKNOWN
    assert bench.senders.held == 0
