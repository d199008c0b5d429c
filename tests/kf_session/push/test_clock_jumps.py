"""The clock jumps two hours, forth and back, at the worst moments: no sixth, no second one, nothing lost, nothing stuck.

The platform's clock is another one and right; ours is wrong for a while. What was put to rest by the wrong clock is due
again within a lease of the right one.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.kf_session.domain.push import Purpose
from services.kf_session.pipeline.deciding import Job
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import LOST, NOON, NOT_SENT, Platform, Replica

JUMP = timedelta(hours=2)
LEASE_AND_POLL = timedelta(seconds=32)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided without a statement of its own."""

BOTH_WAYS = pytest.mark.parametrize("jump", [JUMP, -JUMP])


@pytest.fixture
def truth() -> ManualClock:
    """The platform's clock."""
    return ManualClock(NOON)


@pytest.fixture
def platform(truth: ManualClock) -> Platform:
    return Platform(truth)


class Clocks:
    """Ours, and the platform's that goes on beside it."""

    def __init__(self, ours: ManualClock, truth: ManualClock) -> None:
        self.ours, self.truth = ours, truth

    def wrong(self, by: timedelta) -> None:
        """Only ours jumps."""
        self.ours.advance(by)

    def right(self) -> None:
        """Ours is set right."""
        self.ours.advance(self.truth.now() - self.ours.now())

    def pass_by(self, by: timedelta) -> None:
        """Time goes by for both."""
        self.ours.advance(by)
        self.truth.advance(by)


@pytest.fixture
def clocks(clock: ManualClock, truth: ManualClock) -> Clocks:
    return Clocks(clock, truth)


async def goes_on(replica: Replica) -> None:
    """What the loop does, until nothing is ready."""
    await replica.pusher.recall()
    await replica.pusher._take_over(replica.clock.now())
    await replica.until_idle()


@ON_SQLITE
@BOTH_WAYS
@pytest.mark.parametrize("first", [NOT_SENT, LOST])
async def test_a_retry_planned_by_a_wrong_clock_is_made_within_a_lease(
    replica: Replica, platform: Platform, clocks: Clocks, jump: timedelta, first: Sent
) -> None:
    answers = [first]

    async def script(job: Job) -> Sent | None:
        return answers.pop() if answers else None

    platform.script = script
    await replica.hears("ann", platform.write("ann"))
    clocks.wrong(jump)
    await replica.admit("ann", "m")
    await replica.until_idle()
    assert (await replica.stands("m"))[0] == "deferred"
    clocks.right()
    clocks.pass_by(LEASE_AND_POLL)
    await goes_on(replica)
    assert await replica.stands("m") == ("accepted", "")
    assert len(platform.accepted) == 1
    assert len({job.push.msgid for job in platform.calls}) == 1


@BOTH_WAYS
async def test_a_push_in_dead_hands_is_followed_within_a_lease_and_arrives_once(
    database: Database, replica: Replica, platform: Platform, clocks: Clocks, jump: timedelta
) -> None:
    await replica.hears("ann", platform.write("ann"))
    await replica.admit("ann", "m")
    clocks.wrong(jump)
    jobs = await _claimed(replica)
    await platform.send(jobs[0], 1)  # it arrived, and its sender died before the answer
    clocks.right()
    after = Replica(database, clocks.ours, platform, "b")
    await goes_on(after)
    clocks.pass_by(LEASE_AND_POLL)
    await goes_on(after)
    clocks.pass_by(timedelta(seconds=10))
    await goes_on(after)
    assert await replica.stands("m") == ("accepted", "")
    assert len(platform.accepted) == 1


async def _claimed(replica: Replica) -> list[Job]:
    """What a replica does before it calls."""
    rows = await replica.database.transact(lambda conn: replica.pusher._claim(conn, 50))
    return await replica.database.transact(lambda conn: replica.pusher._decide(conn, rows))


@ON_SQLITE
@BOTH_WAYS
async def test_who_is_alive_while_the_clock_jumps_sends_once_and_its_answer_counts_or_is_found_again(
    replica: Replica, platform: Platform, clocks: Clocks, database: Database, jump: timedelta
) -> None:
    other = Replica(database, clocks.ours, platform, "b")

    async def script(job: Job) -> Sent | None:
        platform.script = None
        sent = platform._answer(job)
        clocks.wrong(jump)  # while it is under way
        await goes_on(other)
        return sent

    platform.script = script
    await replica.hears("ann", platform.write("ann"))
    await replica.admit("ann", "m")
    await replica.until_idle()
    clocks.right()
    clocks.pass_by(LEASE_AND_POLL)
    await goes_on(other)
    clocks.pass_by(LEASE_AND_POLL)
    await goes_on(other)
    assert await replica.stands("m") == ("accepted", "")
    assert len(platform.accepted) == 1
    assert await replica.credits("ann") == 1


@ON_SQLITE
async def test_jumps_between_all_sends_and_all_words_never_give_a_sixth_and_use_all_five(
    replica: Replica, platform: Platform, clocks: Clocks
) -> None:
    jumps = (JUMP, -JUMP, -JUMP, JUMP)
    sent = 0
    for window in range(4):
        clocks.pass_by(timedelta(minutes=3))
        clocks.wrong(jumps[window])
        await replica.hears("ann", platform.write("ann"))
        for number in range(6):
            clocks.wrong(jumps[(window + number) % 4])
            await replica.admit("ann", f"m{window}-{number}", Purpose.REPLY)  # no day is too full for it
            await goes_on(replica)
        clocks.right()
        clocks.pass_by(LEASE_AND_POLL)
        await goes_on(replica)
        sent += 5
        assert platform.counted["ann"] == 5
        assert len(platform.accepted) == sent
        assert not platform.refusals


@ON_SQLITE
@BOTH_WAYS
async def test_around_the_windows_end_nothing_arrives_after_it_and_what_waits_goes_when_they_write(
    replica: Replica, platform: Platform, clocks: Clocks, jump: timedelta
) -> None:
    await replica.hears("ann", platform.write("ann"))
    await replica.prefers("ann", quiet_from="22:00", quiet_to="21:00", closing="digest")
    clocks.pass_by(timedelta(hours=47, minutes=59))
    await replica.match("ann", "m", 0.9)
    await goes_on(replica)
    assert (await replica.stands("m"))[0] == "deferred"
    clocks.pass_by(timedelta(minutes=2))  # it is over
    clocks.wrong(jump)
    await replica.admit("ann", "late", Purpose.REPLY)
    await goes_on(replica)
    clocks.right()
    clocks.pass_by(LEASE_AND_POLL)
    await goes_on(replica)
    assert not platform.accepted
    assert (await replica.stands("late"))[0] == "suppressed"
    assert (await replica.stands("m"))[0] == "deferred"
    clocks.pass_by(timedelta(hours=9, minutes=30) - (clocks.truth.now() - NOON) % timedelta(days=1))
    await replica.hears("ann", platform.write("ann"))  # in the one hour of the day that is not quiet
    await goes_on(replica)
    assert await replica.stands("m") == ("accepted", "")


@ON_SQLITE
@BOTH_WAYS
async def test_what_waits_for_the_quiets_end_goes_then_and_not_two_hours_off(
    replica: Replica, platform: Platform, clocks: Clocks, jump: timedelta
) -> None:
    await replica.hears("ann", platform.write("ann"))
    await replica.prefers("ann", quiet_from="11:00", quiet_to="15:00")
    await replica.admit("ann", "m", Purpose.MESSAGE)
    clocks.wrong(jump / 2)
    await goes_on(replica)
    clocks.right()
    clocks.pass_by(timedelta(hours=2, minutes=59))
    await goes_on(replica)
    assert (await replica.stands("m"))[0] == "deferred"
    clocks.pass_by(timedelta(minutes=1, seconds=1))
    await goes_on(replica)
    assert await replica.stands("m") == ("accepted", "")
