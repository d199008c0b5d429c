"""Replicas as processes: killed at random moments, frozen and woken, and two that share a window and a rate."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.campaign.domain.campaign import Canary
from services.campaign.domain.lifecycle import Status
from services.campaign.store.campaign_tables import owner_task, task_attempt
from tests.campaign.sending.herd import LEASE, Herd, Steered, herd, kill
from tests.campaign.sending.sending_support import ADD
from tests.campaign.sending.test_pacing import QPS, SHUTS, most_in_a_second
from tests.e2e.harness import eventually

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]

KILLS = 20
OPENS = SHUTS + timedelta(hours=16)
"""10:00 of the next day in Shanghai."""
EVENING = datetime(2026, 3, 2, 9, 59, tzinfo=UTC)
"""17:59 in Shanghai."""


@pytest.fixture
async def field(postgres_database: str, tmp_path: Path) -> AsyncIterator[Herd]:
    async with herd(postgres_database, tmp_path) as made:
        yield made


@pytest.fixture
async def frozen_field(postgres_database: str, tmp_path: Path) -> AsyncIterator[Herd]:
    """One in which time passes when it is told to."""
    async with herd(postgres_database, tmp_path, at=EVENING, frozen=True) as made:
        yield made


@pytest.mark.parametrize("seed", [6])
async def test_killed_at_twenty_random_moments_they_ask_every_owner_once(field: Herd, seed: int) -> None:
    """And some answers are lost on top of it."""
    chance = random.Random(seed)
    await field.campaign(120, 2)
    await field.world.fault(path=ADD, drop="after-accept", probability=0.15, seed=seed)
    forker = await field.forker(qps=10)
    running = [await forker.fork("run"), await forker.fork("run")]
    begun = 0
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 0.9))  # a random moment is the point
        kill(running.pop(0))
        begun += any(not row.outcome for row in await field.rows(task_attempt))
        running.append(await forker.fork("run"))
        if chance.random() < 0.3:
            await field.world.advance(LEASE.total_seconds())
    assert begun, "some were killed between the request and its answer, or the moments were badly chosen"
    await field.world.advance(LEASE.total_seconds())
    await eventually(field.done, 60, 0.5)
    await field.check(240)


async def test_a_frozen_one_that_wakes_sends_nothing(field: Herd) -> None:
    await field.campaign(30)
    forker = await field.forker(qps=10)
    frozen = await forker.fork("run")

    async def begun() -> bool:
        return len(await field.made()) >= 3

    await eventually(begun, 20)
    os.kill(frozen, signal.SIGSTOP)
    await field.world.advance(LEASE.total_seconds())
    await forker.fork("run")
    # What the frozen one had locked the database gives back after its own time.
    await eventually(field.done, 60, 0.5)
    asked = len(await field.world.requests(ADD))
    os.kill(frozen, signal.SIGCONT)
    await asyncio.sleep(2)  # it has had its chance
    os.kill(frozen, 0)
    assert len(await field.world.requests(ADD)) == asked
    await field.check(30)


async def _walk(
    field: Herd, replicas: list[Steered], now: datetime, until: datetime, chance: random.Random, asked: int
) -> datetime:
    """Let both act at the same instants, irregularly apart, before *until* and until so many were asked."""
    claimed = 1
    while now < until:
        await field.set(now)
        before, claimed = claimed, sum(await asyncio.gather(*(one.act(now) for one in replicas)))
        if not (before or claimed) and len(await field.asked_at()) >= asked:
            break
        now += timedelta(seconds=chance.uniform(0.2, 1.1))
    return now


async def test_a_thousand_owners_two_replicas_one_window_one_rate(frozen_field: Herd, tmp_path: Path) -> None:
    """17:59: stops at 18:00, goes on at 10:00, never more than 5 in any second, none twice."""
    field, chance, owners = frozen_field, random.Random(5), 1000
    await field.campaign(owners)
    forker = await field.forker(QPS)
    replicas = [await Steered.begin(forker, tmp_path / name) for name in ("a", "b")]
    now = await _walk(field, replicas, EVENING, SHUTS + timedelta(seconds=30), chance, owners)
    evening = await field.asked_at()
    assert 150 < len(evening) < 5 * 60
    assert max(evening) < SHUTS
    waiting = [row.hold_reason for row in await field.rows(owner_task) if row.status != "created"]
    assert set(waiting) == {"send_window"}
    for hours in range(1, 16):  # nobody is asked at night
        now = SHUTS + timedelta(hours=hours)
        await field.set(now)
        await asyncio.gather(*(one.act(now) for one in replicas))
    assert len(await field.asked_at()) == len(evening)
    begin = OPENS - timedelta(seconds=2)
    await _walk(field, replicas, begin, OPENS + timedelta(minutes=10), chance, owners)
    at = await field.asked_at()
    assert len(at) == owners
    assert min(at[len(evening) :]) - OPENS < timedelta(seconds=2)
    assert min(at[len(evening) :]) >= OPENS
    assert most_in_a_second(at) == QPS
    assert len({row.owner for row in await field.rows(task_attempt)}) == 2, "both had their share"
    for one in replicas:
        await one.close()
    await field.check(owners)


async def test_two_replicas_wait_for_the_first_owners_and_the_window_alike(
    frozen_field: Herd, tmp_path: Path
) -> None:
    """The first owners are asked in the evening; the wait ends at night, and the others begin in the morning."""
    field, chance = frozen_field, random.Random(7)
    await field.campaign(20, canary=Canary(3, timedelta(minutes=30)))
    forker = await field.forker(QPS)
    replicas = [await Steered.begin(forker, tmp_path / name) for name in ("a", "b")]
    now = await _walk(field, replicas, EVENING, SHUTS, chance, 20)
    assert {one["sender"] for one in await field.made()} == {"u0000", "u0001", "u0002"}
    for minutes in (10, 29, 30, 31, 60, 600, 959):
        now = SHUTS + timedelta(minutes=minutes)
        await _walk(field, replicas, now, now + timedelta(seconds=3), chance, 20)
        assert len(await field.made()) == 3
    await _walk(field, replicas, OPENS, OPENS + timedelta(minutes=2), chance, 20)
    at = await field.asked_at()
    assert len(at) == 20
    assert min(at[3:]) >= OPENS
    assert most_in_a_second(at) <= QPS
    for one in replicas:
        await one.close()
    await field.check(20)


async def test_a_pause_holds_while_two_replicas_are_asking(field: Herd) -> None:
    """Whatever is under way when it is said may arrive; ten seconds later, by any clock, nothing does."""
    await field.campaign(80)
    await field.world.fault(path=ADD, latency_ms=300)
    forker = await field.forker(qps=20)
    for _ in range(2):
        await forker.fork("run")

    async def begun() -> bool:
        return len(await field.world.requests(ADD)) >= 10

    await eventually(begun, 20)
    paused_at = await field.move(Status.PAUSED)
    await asyncio.sleep(3)  # they have had their chance
    late = [one - paused_at for one in await field.asked_at() if one > paused_at]
    assert max(late, default=timedelta(0)) < timedelta(seconds=10)
    settled = len(await field.asked_at())
    assert settled < 80
    await field.world.advance(40)  # what waits comes up again, and is told to wait
    await asyncio.sleep(1)
    assert len(await field.asked_at()) == settled
    assert {row.status for row in await field.rows(owner_task)} == {"created", "deferred"}
