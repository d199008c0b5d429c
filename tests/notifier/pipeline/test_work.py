"""From an arrival to a settled delivery, on both databases, and what a failure at each step leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import by_rules
from services.notifier.pipeline.job import Job
from services.notifier.store.tables import delivery
from shared.bus import Incoming
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.errors import Unavailable
from shared.events.envelope import read_event
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, LEASE, STORE, Replica, arrival, robot, user

NOT_SENT = Outcome(State.NOT_SENT, "refused", "nobody listens", retry_class=RetryClass.RETRY)


@asynccontextmanager
async def unclear_commits(database: Database, *, committed: bool) -> AsyncIterator[None]:
    """The answer to every COMMIT is lost."""
    write = database.write

    @asynccontextmanager
    async def lossy() -> AsyncIterator[AsyncConnection]:
        async with write() as conn:
            yield conn
            if not committed:
                raise Unavailable("COMMIT_UNCLEAR", "no answer")
        raise Unavailable("COMMIT_UNCLEAR", "no answer")

    database.write = lossy  # type: ignore[method-assign]
    try:
        yield
    finally:
        database.write = write  # type: ignore[method-assign]


async def test_what_is_due_now_is_sent_and_settled(replica: Replica) -> None:
    assert await replica.admit(arrival("e", replica.clock.now(), user("ann"))) == ["new"]
    await replica.turn()
    (one,) = await replica.deliveries()
    assert (one.status, one.attempt_no, one.lease_owner) == ("accepted", 1, None)
    assert await replica.attempts() == [(1, "accepted")]


@pytest.mark.parametrize("committed", [True, False])
async def test_an_admission_nobody_knows_to_be_committed_sends_nothing_and_loses_nothing(
    replica: Replica, committed: bool
) -> None:
    now = replica.clock.now()
    async with unclear_commits(replica.database, committed=committed):
        with pytest.raises(Unavailable):
            await replica.admit(arrival("e", now, user("ann")))
    assert await replica.admit(arrival("e", now, user("ann"))) == ["duplicate" if committed else "new"]
    await replica.turn()
    await replica.claim()
    await replica.turn()
    assert len(replica.world.sent) == 1
    (one,) = await replica.deliveries()
    assert one.status == "accepted"
    assert await replica.attempts() == (
        [(1, "not_sent"), (2, "accepted")] if committed else [(1, "accepted")]
    )


async def test_a_claim_nobody_knows_to_be_committed_is_no_unknown_outcome(replica: Replica) -> None:
    await replica.admit(arrival("e", replica.clock.now(), robot("hall")))
    async with unclear_commits(replica.database, committed=True):
        with pytest.raises(Unavailable):
            await replica.claim()
    await replica.turn()
    await replica.claim()
    await replica.turn()
    assert len(replica.world.sent) == 1
    assert await replica.attempts() == [(1, "not_sent"), (2, "accepted")]


async def test_too_many_jobs_in_hand_claim_nothing_more(replica: Replica) -> None:
    now = replica.clock.now()
    await replica.admit(*(arrival(f"e{n}", now, robot(f"r{n}")) for n in range(5)))
    (sample,) = await _jobs(replica, 1)
    replica.senders.submit(replace(sample, delivery_id=f"x{n}") for n in range(replica.senders.free + 50))
    running = asyncio.create_task(replica.dispatcher.run(lambda: None))
    await asyncio.sleep(0.1)
    running.cancel()
    assert sum(one.status == "pending" for one in await replica.deliveries()) == 4


async def _jobs(replica: Replica, limit: int) -> list[Job]:
    await replica.claim(limit)
    return replica.senders.take_back()


async def test_what_cannot_be_written_of_an_answer_does_not_keep_others_from_being_recorded(
    replica: Replica,
) -> None:
    async def answer(job: Job) -> Outcome:
        odd = job.targets[0].id == "bob"
        return replace(ACCEPTED, http_status=2**70) if odd else ACCEPTED

    replica.world.answer = answer
    now = replica.clock.now()
    await replica.admit(*(arrival(f"e-{who}", now, user(who)) for who in ("ann", "bob", "cat")))
    await replica.turn()
    status = {one.event_id: (one.status, one.hold_reason) for one in await replica.deliveries()}
    assert status == {
        "e-ann": ("accepted", None),
        "e-bob": ("deferred", "retry:unknown"),
        "e-cat": ("accepted", None),
    }


async def test_the_reaper_comes_round_however_busy_the_recorder_is(
    replica: Replica, manual_clock: ManualClock
) -> None:
    await replica.admit(arrival("lost", replica.clock.now(), user("ann")))
    replica.senders.take_back()
    manual_clock.advance(LEASE + timedelta(seconds=1))
    recording = asyncio.create_task(replica.recorder.run(lambda: None))
    dispatching = asyncio.create_task(replica.dispatcher.run(lambda: None))
    try:
        async with asyncio.timeout(10):
            number = 0
            while (await replica.deliveries())[0].status == "sending":
                number += 1
                await replica.admit(arrival(f"e{number}", replica.clock.now(), user("bob")))
                for job in replica.senders.take_back():
                    replica.senders.withdraw([job], "busy")
    finally:
        dispatching.cancel()
        recording.cancel()
    assert (await replica.attempts())[0] == (1, "unknown")


async def test_what_was_not_sent_uses_up_no_rate(database: Database, manual_clock: ManualClock) -> None:
    replica = Replica(database, manual_clock, robot_per_minute=1)

    async def answer(job: Job) -> Outcome:
        return ACCEPTED if job.attempt_no == 3 else NOT_SENT

    replica.world.answer = answer
    await replica.admit(arrival("e", replica.clock.now(), robot("hall")))
    for _ in range(3):
        await replica.claim()
        await replica.turn()
        manual_clock.advance(timedelta(seconds=2))
    (one,) = await replica.deliveries()
    assert (one.status, one.attempt_no) == ("accepted", 3)


async def test_what_is_withdrawn_goes_back_as_it_was_and_uses_up_no_rate(
    database: Database, manual_clock: ManualClock
) -> None:
    replica = Replica(database, manual_clock, member_per_minute=1)
    await replica.admit(arrival("e", replica.clock.now(), user("ann")))
    replica.senders.withdraw(replica.senders.take_back(), "the process stopped")
    await replica.recorder.flush()
    (one,) = await replica.deliveries()
    assert (one.status, one.retries, one.reason) == ("pending", 0, "")
    await replica.claim()
    await replica.turn()
    assert await replica.attempts() == [(1, "not_sent"), (2, "accepted")]


async def test_recipients_over_their_rate_wait_in_a_delivery_of_their_own(
    database: Database, manual_clock: ManualClock
) -> None:
    replica = Replica(database, manual_clock, member_per_minute=1)
    await replica.admit(arrival("first", replica.clock.now(), user("ann")))
    await replica.turn()
    await replica.admit(arrival("second", replica.clock.now(), user("ann"), user("bob")))
    await replica.turn()
    status = {one.id: one.status for one in await replica.deliveries() if one.event_id == "second"}
    whose = {
        one.target: status[one.delivery_id] for one in await replica.recipients() if one.event_id == "second"
    }
    assert whose == {"ann": "deferred", "bob": "accepted"}
    manual_clock.advance(timedelta(seconds=61))
    await replica.claim()
    await replica.turn()
    assert [tuple(t.id for t in job.targets) for job in replica.world.sent] == [("ann",), ("bob",), ("ann",)]


async def test_pages_reach_each_reader_in_order_also_one_over_his_rate(
    database: Database, manual_clock: ManualClock
) -> None:
    replica = Replica(database, manual_clock, member_per_minute=2)
    await replica.admit(arrival("first", replica.clock.now(), user("ann")))
    await replica.turn()
    manual_clock.advance(timedelta(seconds=1))
    now = replica.clock.now()
    await replica.admit(arrival("report", now, user("ann"), user("bob"), pages=3, lane="app:default#report"))
    for _ in range(200):
        await replica.claim()
        await replica.turn()
        manual_clock.advance(timedelta(seconds=1))
    read: dict[str, list[int]] = {"ann": [], "bob": []}
    for job in replica.world.sent[1:]:
        for target in job.targets:
            read[target.id].append(job.part)
    assert read == {"ann": [0, 1, 2], "bob": [0, 1, 2]}


async def test_a_channel_that_rests_does_not_hold_up_the_others(
    replica: Replica, manual_clock: ManualClock
) -> None:
    now = replica.clock.now()
    replica.rests.note("app:default", now + timedelta(minutes=5))
    crowd = [arrival(f"a{n:03}", now, user(f"u{n}"), priority=Priority.URGENT) for n in range(250)]
    await replica.admit(*crowd)
    await replica.admit(arrival("r", now, robot("hall")))
    running = asyncio.create_task(replica.dispatcher.run(lambda: None))
    try:
        async with asyncio.timeout(0.9):
            while not replica.senders.held:  # noqa: ASYNC110  # nothing tells of a submission
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
    assert [job.channel for job in replica.senders.take_back()] == ["robot:hall"]


async def test_whoever_held_a_lease_before_is_gone_wherever_the_clock_stood(
    replica: Replica, manual_clock: ManualClock
) -> None:
    await replica.admit(arrival("e", replica.clock.now() + timedelta(days=40), user("ann")))
    async with replica.database.write() as conn:
        await conn.execute(delivery.update().values(lease_until=replica.clock.now() + timedelta(days=40)))
    await replica.dispatcher.take_over_orphans()
    (one,) = await replica.deliveries()
    assert (one.status, one.hold_reason) == ("deferred", "retry:unknown")


async def test_a_late_answer_is_kept_beside_the_attempt_and_moves_nothing(
    database: Database, manual_clock: ManualClock
) -> None:
    frozen, other = Replica(database, manual_clock, "a"), Replica(database, manual_clock, "b")
    await frozen.admit(arrival("e", frozen.clock.now(), user("ann")))
    manual_clock.advance(LEASE + timedelta(seconds=1))
    await other.dispatcher.take_over_orphans()
    (job,) = frozen.senders.take_back()
    frozen.senders.submit([replace(job, lease_until=manual_clock.now() + LEASE)])
    await frozen.turn()
    (one,) = await frozen.deliveries()
    assert one.status == "deferred"
    assert await frozen.attempts() == [(1, "accepted")]
    manual_clock.advance(timedelta(seconds=2))
    await other.claim()
    await other.turn()
    assert await other.attempts() == [(1, "accepted"), (2, "accepted")]


async def test_a_body_without_an_id_that_comes_twice_around_the_minute_is_one_event(replica: Replica) -> None:
    def read(at: datetime) -> object:
        body = Incoming(b'{"event_data": {"a": 1}}', routing_key="test.said", door="amqp")
        return by_rules(read_event(body, default_store=STORE, now=at))

    minute = datetime(2026, 3, 2, 4, 1, tzinfo=UTC)
    twice = [read(minute - timedelta(milliseconds=1)), read(minute)]
    assert await replica.admit(*twice) == ["new", "duplicate"]  # type: ignore[arg-type]


async def test_a_thousand_recipients_are_planned_in_no_time(replica: Replica) -> None:
    crowd = [user(f"u{n}") for n in range(1000)]
    await replica.admit(*(arrival(f"e{n}", replica.clock.now(), *crowd) for n in range(2)))
    assert [len(job.targets) for job in replica.senders.take_back()] == [1000, 1000]
