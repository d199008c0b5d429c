"""The queue that is a table: order, lanes, leases and epochs, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.db.engine import Database
from shared.db.queue import HIGH, LOW, NORMAL, URGENT, Depth, Settlement
from tests.db.conftest import create
from tests.db.jobs import LEASE, NOW, SECOND, Jobs, metadata


@pytest.fixture
async def jobs(database: Database) -> Jobs:
    await create(database, metadata)
    return Jobs(database)


async def test_rows_of_one_priority_go_in_the_order_they_came(jobs: Jobs) -> None:
    await jobs.ready("c", at=NOW)
    await jobs.ready("b", at=NOW + SECOND)
    await jobs.ready("a", at=NOW + 2 * SECOND)

    assert await jobs.claim_ids() == ["c", "b", "a"]


async def test_a_higher_priority_goes_first_until_the_lower_has_waited_out_its_head_start(jobs: Jobs) -> None:
    await jobs.ready("urgent", priority=URGENT)
    await jobs.ready("high", priority=HIGH)
    await jobs.ready("normal", priority=NORMAL)
    await jobs.ready("low", priority=LOW)
    await jobs.ready("old low", priority=LOW, at=NOW - timedelta(minutes=61))
    await jobs.ready("older normal", priority=NORMAL, at=NOW - timedelta(minutes=9, seconds=30))

    expected = ["old low", "urgent", "older normal", "high", "normal", "low"]
    assert await jobs.claim_ids() == expected


async def test_a_claim_takes_no_more_than_asked_for_and_never_the_same_twice(jobs: Jobs) -> None:
    await jobs.ready(*"abcde")

    taken = [await jobs.claim_ids(limit=2) for _ in range(4)]

    assert taken == [["a", "b"], ["c", "d"], ["e"], []]


async def test_a_claim_names_its_owner_its_epoch_and_its_end(jobs: Jobs) -> None:
    await jobs.ready("a")

    (row,) = await jobs.claim()

    assert (row["status"], row["lease_owner"], row["lease_epoch"]) == ("sending", "worker", 1)
    assert row["lease_until"] == NOW + LEASE


async def test_a_lane_gives_its_head_only_and_one_at_a_time(jobs: Jobs) -> None:
    await jobs.ready("a1", "a2", lane="a")
    await jobs.ready("b1", "b2", lane="b")
    await jobs.ready("free1", "free2")

    first = await jobs.claim()
    assert {row["id"] for row in first} == {"a1", "b1", "free1", "free2"}
    assert await jobs.claim_ids() == []

    await jobs.done(*(row for row in first if row["id"] == "a1"))
    assert await jobs.claim_ids() == ["a2"]


async def test_a_deferred_head_blocks_its_lane_and_is_not_overtaken(jobs: Jobs) -> None:
    await jobs.ready("a1", "a2", lane="a")
    (head,) = await jobs.claim()
    retry_at = NOW + 5 * SECOND
    await jobs.settle(
        Settlement("a1", head["lease_epoch"], "deferred", 1, due_at=retry_at, hold_reason="retry")
    )

    assert await jobs.claim_ids(NOW + SECOND) == []
    assert await jobs.promote(NOW + SECOND) == 0
    assert await jobs.promote(retry_at) == 1
    assert await jobs.claim_ids(retry_at) == ["a1"]
    assert await jobs.claim_ids(retry_at) == []


async def test_a_more_urgent_row_becomes_head_of_a_lane_but_waits_for_the_one_that_runs(jobs: Jobs) -> None:
    await jobs.ready("a1", "a2", lane="a")
    (head,) = await jobs.claim()
    await jobs.ready("a0", priority=URGENT, lane="a")

    assert await jobs.claim_ids() == []
    await jobs.done(head)
    assert await jobs.claim_ids() == ["a0"]


async def test_two_running_rows_in_a_lane_are_impossible(jobs: Jobs) -> None:
    await jobs.ready("a1", lane="a")
    await jobs.claim()
    held = jobs.queue.claimed(NORMAL, NOW, owner="x", now=NOW, lease=LEASE)

    with pytest.raises(Exception, match=r"(?i)unique"):
        await jobs.insert({"id": "a2", **held, "lane": "a"})


async def test_a_deferred_row_waits_for_its_time_and_says_why(jobs: Jobs) -> None:
    await jobs.deferred("late", NOW + timedelta(hours=2))
    await jobs.deferred("soon", NOW + timedelta(hours=1))
    async with jobs.database.read() as connection:
        assert await jobs.queue.next_due(connection) == NOW + timedelta(hours=1)
    assert (await jobs.row("late"))["hold_reason"] == "quiet"

    assert await jobs.claim_ids() == []
    assert await jobs.promote(NOW + timedelta(hours=1)) == 1
    assert await jobs.claim_ids() == ["soon"]
    assert (await jobs.row("soon"))["hold_reason"] is None


async def test_promotion_is_bounded_and_takes_the_longest_due_first(jobs: Jobs) -> None:
    for n in range(5):
        await jobs.deferred(f"d{n}", NOW - n * SECOND)

    assert await jobs.promote(NOW, limit=2) == 2
    assert set(await jobs.claim_ids()) == {"d4", "d3"}


async def test_settling_writes_state_attempt_and_own_columns_row_by_row(jobs: Jobs) -> None:
    await jobs.ready("a", "b", "c")
    claimed = {row["id"]: row["lease_epoch"] for row in await jobs.claim()}
    later = NOW + timedelta(minutes=1)

    settled = await jobs.settle(
        Settlement("a", claimed["a"], "delivered", 1, extra={"note": "ok", "result": {"errcode": 0}}),
        Settlement(
            "b", claimed["b"], "deferred", 2, due_at=later, hold_reason="rate", extra={"note": "wait"}
        ),
        Settlement("c", claimed["c"], "pending", 0),
    )

    assert settled == {"a", "b", "c"}
    a, b, c = [await jobs.row(key) for key in "abc"]
    assert (a["status"], a["attempt_no"], a["note"], a["result"]) == ("delivered", 1, "ok", {"errcode": 0})
    assert (b["status"], b["attempt_no"], b["due_at"], b["hold_reason"]) == ("deferred", 2, later, "rate")
    assert (c["status"], c["due_at"], c["note"]) == ("pending", NOW, None)
    assert [row["lease_owner"] for row in (a, b, c)] == [None] * 3
    assert [row["lease_until"] for row in (a, b, c)] == [None] * 3


async def test_a_holder_that_was_frozen_changes_nothing_when_it_wakes(jobs: Jobs) -> None:
    await jobs.ready("a", "b")
    frozen = await jobs.claim(limit=1)
    healthy = await jobs.claim(limit=1)
    after = NOW + LEASE + SECOND

    async with jobs.database.write() as connection:  # the healthy one renews, the frozen one cannot
        held = [(healthy[0]["id"], healthy[0]["lease_epoch"])]
        assert await jobs.queue.renew(connection, held, after + LEASE) == {"b"}
    (taken,) = await jobs.expired(after)
    assert (taken["id"], taken["lease_epoch"], taken["lease_owner"]) == ("a", 2, "reaper")

    assert await jobs.done(*frozen, *healthy) == {"b"}
    async with jobs.database.write() as connection:
        assert await jobs.queue.renew(connection, [("a", 1)], after + LEASE) == set()
    assert (await jobs.row("a"))["status"] == "sending"
    assert await jobs.done(taken) == {"a"}


async def test_a_lease_that_has_not_run_out_is_left_alone(jobs: Jobs) -> None:
    await jobs.ready("a")
    await jobs.claim()

    assert await jobs.expired(NOW + LEASE - SECOND) == []
    assert [row["id"] for row in await jobs.expired(NOW + LEASE)] == ["a"]
    assert await jobs.expired(NOW + LEASE) == []  # the reaper's own lease has begun


async def test_settling_twice_settles_once(jobs: Jobs) -> None:
    await jobs.ready("a")
    claimed = await jobs.claim()

    assert await jobs.done(*claimed) == {"a"}
    assert await jobs.done(*claimed) == set()


async def test_a_row_may_be_inserted_already_claimed(jobs: Jobs) -> None:
    held = jobs.queue.claimed(NORMAL, NOW, owner="intake", now=NOW, lease=LEASE)
    await jobs.insert({"id": "a", **held})

    assert await jobs.claim_ids() == []
    assert await jobs.settle(Settlement("a", 1, "delivered", 1)) == {"a"}


async def test_a_row_inserted_already_claimed_is_recovered_when_its_creator_dies(jobs: Jobs) -> None:
    held = jobs.queue.claimed(NORMAL, NOW, owner="intake", now=NOW, lease=LEASE)
    await jobs.insert({"id": "a", **held})

    assert [row["lease_epoch"] for row in await jobs.expired(NOW + LEASE)] == [2]
    assert await jobs.settle(Settlement("a", 1, "delivered", 1)) == set()


async def test_depth_counts_by_state_and_knows_the_oldest(jobs: Jobs) -> None:
    async with jobs.database.read() as connection:
        assert await jobs.queue.depth(connection) == Depth(0, 0, 0, None)
    await jobs.ready("a", at=NOW - timedelta(minutes=30), priority=LOW)
    await jobs.ready("b", "c", priority=URGENT)
    await jobs.deferred("d", NOW + SECOND)
    await jobs.claim(limit=1)

    async with jobs.database.read() as connection:
        depth = await jobs.queue.depth(connection)

    assert depth == Depth(2, 1, 1, NOW - timedelta(minutes=30))


@pytest.mark.parametrize(
    ("settlement", "complaint"),
    [
        (Settlement("a", 1, "sending", 1), "not running"),
        (Settlement("a", 1, "deferred", 1), "due_at"),
        (Settlement("a", 1, "delivered", 1, extra={"lane": "x"}), "settle column"),
    ],
)
async def test_a_settlement_that_makes_no_sense_is_a_bug(
    jobs: Jobs, settlement: Settlement, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        await jobs.settle(settlement)


async def test_an_empty_batch_costs_nothing_and_does_nothing(jobs: Jobs) -> None:
    assert await jobs.settle() == set()
    assert await jobs.claim_ids() == []
    assert await jobs.promote(NOW) == 0
