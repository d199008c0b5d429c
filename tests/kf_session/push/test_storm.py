"""Many customers, three replicas, jitter, lost answers, customers who write while we send: never a sixth."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

from services.kf_session.domain.push import Purpose
from services.kf_session.pipeline.deciding import Job
from services.kf_session.store.tables import push, push_attempt
from shared.clock import ManualClock, SystemClock
from shared.db.engine import Database
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import NOT_SENT, Platform, Replica, prepare

CUSTOMERS, EACH = 30, 12


async def test_three_replicas_never_send_a_sixth_and_use_what_there_is(postgres_database: str) -> None:
    dice, clock = random.Random(7), SystemClock()
    platform, calls = Platform(clock), Counter[str]()
    opened = [Database.open(postgres_database, schema="public") for _ in range(3)]
    await prepare(opened[0])
    replicas = [Replica(one, clock, platform, name) for one, name in zip(opened, "abc", strict=True)]
    names = [f"c{number:02}" for number in range(CUSTOMERS)]
    steady, troubled = names[:20], names[20:]
    writes: list[asyncio.Task[None]] = []

    async def script(job: Job) -> Sent | None:
        who = job.push.key.external_userid
        calls[who] += 1
        await asyncio.sleep(dice.random() * 0.02)
        if who in troubled and dice.random() < 0.2:
            return NOT_SENT
        if who in troubled and dice.random() < 0.2 and len(writes) < 20:
            writes.append(asyncio.create_task(heard_later(who)))
        return None

    async def heard_later(who: str) -> None:
        at = platform.write(who)
        await asyncio.sleep(dice.random() * 0.3)
        await dice.choice(replicas).hears(who, at)

    platform.script = script
    platform.drop = lambda job: job.push.key.external_userid in troubled and dice.random() < 0.15
    for one in opened:
        await one.start()
    for who in names:
        await replicas[0].hears(who, platform.write(who))
    order = [(who, number) for who in names for number in range(EACH)]
    dice.shuffle(order)
    running = [asyncio.create_task(one.pusher.run(lambda: None)) for one in replicas]
    for index, (who, number) in enumerate(order):
        purpose = Purpose.MESSAGE if number % 2 else Purpose.MATCH
        score = None if number % 2 else 0.7 + number / 100
        await replicas[index % 3].admit(who, f"{who}-{number}", purpose, score=score)
    await settled(replicas[0])
    for task in running:
        task.cancel()
    await asyncio.gather(*running, *writes, return_exceptions=True)
    for one in replicas:
        await one.pusher.settled()

    assert 95001 not in platform.refusals
    ids = [job.push.msgid for job in platform.accepted]
    assert len(ids) == len(set(ids))
    taken = Counter(job.push.key.external_userid for job in platform.accepted)
    assert all(4 <= taken[who] <= 5 for who in steady), taken
    for one in opened:
        await one.close()


async def settled(replica: Replica) -> None:
    """Wait until nothing is under way or about to be; what waits for a customer may."""
    async with asyncio.timeout(90):
        while True:
            rows = await replica.rows(push)
            busy = [
                row
                for row in rows
                if row.status in ("pending", "sending")
                or (row.status == "deferred" and (row.hold_reason or "").startswith(("retry:", "corrected:")))
            ]
            if not busy:
                return
            await asyncio.sleep(0.2)


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
