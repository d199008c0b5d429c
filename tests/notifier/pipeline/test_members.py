"""Several robots for one group: more posts a minute, in order, and one that fails is stood in for by another."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from services.notifier.store.tables import attempt, breaker
from shared.clock import ManualClock
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, Replica, arrival, robot

SECOND = timedelta(seconds=1)
GONE = Outcome(State.REJECTED_PERMANENT, errcode=93000, http_status=200, retry_class=RetryClass.PERM_CONFIG)


@pytest.fixture
def pooled(replica: Replica) -> Replica:
    """A replica whose kitchen is served by two robots."""
    replica.pools = {"robot:kitchen": ("robot:one", "robot:two")}
    return replica


def breaking(replica: Replica, *members: str) -> None:
    async def answer(job: Any) -> Outcome:
        return GONE if job.credential in members else ACCEPTED

    replica.world.answer = answer


async def post(replica: Replica, count: int, rounds: int) -> None:
    for number in range(count):
        await replica.admit(arrival(f"e{number}", replica.clock.now(), robot("kitchen"), text=str(number)))
    for _ in range(rounds):
        await replica.claim()
        await replica.turn()


async def test_two_robots_post_twice_as_much_and_in_order(pooled: Replica) -> None:
    await post(pooled, 41, 42)
    assert Counter(job.credential for job in pooled.world.sent) == {"robot:one": 19, "robot:two": 19}
    assert [job.content.text for job in pooled.world.sent] == [f"{number} 0" for number in range(38)]
    rows = await pooled.rows(attempt, "started_at")
    assert Counter(row.member for row in rows) == {"robot:one": 19, "robot:two": 19}
    head = (await pooled.deliveries())[38]
    assert (head.status, head.hold_reason, head.channel) == ("deferred", "rate:robot", "robot:kitchen")


async def test_what_one_cannot_post_the_other_posts_at_once(
    pooled: Replica, manual_clock: ManualClock
) -> None:
    breaking(pooled, "robot:one")
    await post(pooled, 1, 1)
    (row,) = await pooled.deliveries()
    assert (row.status, row.hold_reason) == ("deferred", "retry:member")
    manual_clock.advance(timedelta(milliseconds=1))
    await post(pooled, 0, 1)
    (row,) = await pooled.deliveries()
    assert (row.status, row.retries) == ("accepted", 1)
    assert [job.credential for job in pooled.world.sent] == ["robot:one", "robot:two"]


async def test_one_that_is_open_is_left_out_and_tried_when_it_is_time(
    pooled: Replica, manual_clock: ManualClock
) -> None:
    breaking(pooled, "robot:one")
    for number in range(10):
        await pooled.admit(arrival(f"x{number}", pooled.clock.now(), robot("kitchen"), text=str(number)))
        for _ in range(2):
            await post(pooled, 0, 1)
            manual_clock.advance(timedelta(milliseconds=1))
    (one,) = [row for row in await pooled.rows(breaker) if row.key == "robot:one"]
    assert one.state == "open"
    pooled.world.sent.clear()
    await post(pooled, 3, 3)
    assert [job.credential for job in pooled.world.sent] == ["robot:two"] * 3
    breaking(pooled)
    manual_clock.advance(61 * SECOND)
    await pooled.admit(arrival("last", pooled.clock.now(), robot("kitchen")))
    await post(pooled, 0, 1)
    assert pooled.world.sent[-1].credential == "robot:one"
    (one,) = [row for row in await pooled.rows(breaker) if row.key == "robot:one"]
    assert one.state == "closed"


async def test_when_all_fail_it_ends_as_failed_after_its_tries(
    pooled: Replica, manual_clock: ManualClock
) -> None:
    breaking(pooled, "robot:one", "robot:two")
    await pooled.admit(arrival("e", pooled.clock.now(), robot("kitchen")))
    for _ in range(6):
        await post(pooled, 0, 1)
        manual_clock.advance(SECOND)
    (row,) = await pooled.deliveries()
    assert (row.status, row.reason, row.attempt_no) == ("failed", "perm_config:93000", 4)
    assert pooled.breakers.channels(["robot:one"]) == {"robot:one", "robot:kitchen"}
    assert pooled.breakers.failing(["robot:one"]) == {"robot:one"}
    assert "robot:kitchen" in pooled.breakers.failing(["robot:one", "robot:two"])
