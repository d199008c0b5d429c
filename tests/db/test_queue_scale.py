"""The queue under load: many claimers, many old rows, and the plans that keep both cheap."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Executable, text

from shared.db.engine import Database
from shared.db.queue import LOW, URGENT, Settlement
from tests.db.conftest import Opener, Place, create
from tests.db.jobs import LEASE, NOW, SECOND, Jobs, metadata


@pytest.fixture
async def jobs(database: Database) -> Jobs:
    await create(database, metadata)
    return Jobs(database)


async def test_claimers_that_compete_never_take_the_same_row_and_never_two_of_a_lane(
    place: Place, jobs: Jobs, opened: Opener
) -> None:
    """Rows come in, are retried, overtake each other in their lanes: whoever runs, runs alone."""
    others = [await opened(place), await opened(place)]
    workers = [Jobs(database, f"w{n}") for n, database in enumerate([jobs.database, *others] * 2)]
    chance = random.Random(11)
    for n in range(120):
        lane = f"lane{n % 7}" if n % 3 else None
        await jobs.ready(f"j{n:03}", lane=lane, priority=chance.randint(URGENT, LOW), at=NOW + n * SECOND)
    running: Counter[str] = Counter()
    finished: Counter[str] = Counter()

    async def work(worker: Jobs, seed: int) -> None:
        mine = random.Random(seed)
        while sum(finished.values()) < 140:
            claimed = await worker.claim(NOW + timedelta(hours=1), limit=mine.randint(1, 9))
            for row in claimed:
                if row["lane"]:
                    running[row["lane"]] += 1
                    assert running[row["lane"]] == 1
            await asyncio.sleep(mine.random() * 0.003)
            outcomes = []
            for row in claimed:
                again = row["attempt_no"] == 0 and mine.random() < 0.3
                status = "pending" if again else "delivered"
                outcomes.append(Settlement(row["id"], row["lease_epoch"], status, row["attempt_no"] + 1))
                finished[row["id"]] += not again
                if row["lane"]:
                    running[row["lane"]] -= 1
            assert await worker.settle(*outcomes) == {row["id"] for row in claimed}

    async def bring() -> None:
        for n in range(20):  # urgent latecomers that step in front of waiting heads
            await jobs.ready(f"late{n:02}", lane=f"lane{n % 7}", priority=URGENT)
            await asyncio.sleep(0.005)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(bring())
        for seed, worker in enumerate(workers):
            tasks.create_task(work(worker, seed))

    assert len(finished) == 140
    assert set(finished.values()) == {1}


async def test_a_claimer_passes_over_what_another_is_taking_and_does_not_wait(
    postgres: Place, opened: Opener
) -> None:
    first, second = Jobs(await opened(postgres)), Jobs(await opened(postgres))
    await create(first.database, metadata)
    await first.ready("a", "b", "c", "d")
    async with asyncio.timeout(2), first.database.write() as connection:
        taken = await first.queue.claim(connection, "w1", NOW, LEASE, 2)
        assert [row["id"] for row in taken] == ["a", "b"]
        assert await second.claim_ids(limit=2) == ["c", "d"]


async def fill(jobs: Jobs) -> None:
    """100,000 rows that are done and 50,000 that wait for tomorrow."""
    series = {
        "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows) SELECT n FROM s)",
        "postgresql": "(SELECT n FROM generate_series(1, CAST(:rows AS integer)) AS g(n))",
    }[jobs.database.dialect]
    insert = f"""
        INSERT INTO job (id, status, priority, rank, due_at, attempt_no, lease_epoch, lane, hold_reason)
        SELECT :prefix || n, :status, 2, :at, :at, 1, 1, CASE WHEN n % 10 = 0 THEN 'lane' || (n % 97) END, :reason
        FROM {series} AS numbers
    """
    async with jobs.database.write() as connection:
        for prefix, status, rows, at, reason in [
            ("t", "delivered", 100_000, NOW - timedelta(days=1), None),
            ("d", "deferred", 50_000, NOW + timedelta(days=1), "quiet"),
        ]:
            at_value: Any = at if jobs.database.dialect == "postgresql" else at.isoformat()
            parameters = {"prefix": prefix, "status": status, "rows": rows, "at": at_value, "reason": reason}
            await connection.execute(text(insert), parameters)
        await connection.execute(text("ANALYZE job"))


async def plan(jobs: Jobs, statement: Executable, **parameters: object) -> str:
    prefix = "EXPLAIN QUERY PLAN " if jobs.database.dialect == "sqlite" else "EXPLAIN "
    async with jobs.database.write() as connection:
        explained = text(prefix + str(statement)).bindparams(*statement._bindparams.values())  # type: ignore[attr-defined]
        found = await connection.execute(explained, parameters)
        return "\n".join(str(row) for row in found)


CLAIM = {"owner": "w", "until": NOW, "size": 100, "least": LOW}
PLANS = [
    ("claim", CLAIM, "ix_job_ready"),
    ("claim", CLAIM, "ix_job_lane"),
    # PostgreSQL may prefer to hash the few running rows' lanes to probing them one by one.
    ("claim", CLAIM, "uq_job_running_lane|ix_job_running"),
    ("promote", {"now": NOW, "size": 100}, "ix_job_deferred"),
    ("expired", CLAIM | {"now": NOW}, "ix_job_running"),
]


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "with 150,000 rows"])
async def test_every_operation_reads_its_partial_index_and_never_the_table(jobs: Jobs, filled: bool) -> None:
    if filled:
        await fill(jobs)
    await jobs.ready("a", "b", lane="x")
    for name, parameters, index in PLANS:
        if not filled and jobs.database.dialect == "postgresql":
            continue  # on a table of one page a scan is the right plan
        steps = await plan(jobs, unwrapped(getattr(jobs.queue._sql, name)), **parameters)
        assert re.search(index, steps), f"{name}: {steps}"
        assert not re.search(r"Seq Scan on job|SCAN job(?! USING)", steps), f"{name}: {steps}"


def unwrapped(statement: Any) -> Any:
    """The text beneath a frozen statement."""
    return getattr(statement, "element", statement)


async def test_a_claim_among_150_000_old_rows_does_as_much_as_on_an_empty_table(
    postgres: Place, opened: Opener
) -> None:
    """Counted in pages, not in seconds: PostgreSQL tells what it touched."""
    database = await opened(postgres)
    await create(database, metadata)
    jobs = Jobs(database)

    async def touched(prefix: str) -> int:
        await jobs.ready(*(f"{prefix}{n:03}" for n in range(100)))
        async with database.write() as connection:
            statement = unwrapped(jobs.queue._sql.claim)
            explained = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + str(statement)).bindparams(
                *statement._bindparams.values()
            )
            (found,) = (await connection.execute(explained, CLAIM)).scalar_one()
            return int(found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"])

    empty = await touched("a")
    await fill(jobs)
    full = await touched("b")

    assert full < 2 * empty


async def test_many_expired_rows_are_taken_over_by_one_reaper_each(
    place: Place, jobs: Jobs, opened: Opener
) -> None:
    reapers = [jobs, Jobs(await opened(place)), Jobs(await opened(place))]
    await jobs.ready(*(f"j{n:03}" for n in range(60)))
    await jobs.claim(limit=60)

    taken = await asyncio.gather(
        *(reaper.expired(NOW + LEASE, f"r{n}", 60) for n, reaper in enumerate(reapers))
    )

    ids = sorted(row["id"] for rows in taken for row in rows)
    assert ids == [f"j{n:03}" for n in range(60)]
