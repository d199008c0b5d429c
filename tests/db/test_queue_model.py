"""The queue against a model of it in plain Python: any history, the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.db.engine import Database
from shared.db.queue import HEAD_START, Settlement
from tests.db.conftest import create
from tests.db.jobs import LEASE, NOW, Jobs, metadata

T = TypeVar("T")


@dataclass
class Row:
    """What the model knows of a row."""

    id: str
    rank: datetime
    lane: str | None
    status: str
    due_at: datetime
    epoch: int = 0
    lease_until: datetime | None = None

    @property
    def place(self) -> tuple[datetime, str]:
        return (self.rank, self.id)


class QueueAgainstModel(RuleBasedStateMachine):
    """Random inserts, claims, settlements by right and wrong holders, promotions, deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.now = NOW
        self.rows: dict[str, Row] = {}
        self.held: list[tuple[str, int]] = []
        """Every (id, epoch) anybody was ever given, the frozen holders' too."""

    @initialize()
    def open(self) -> None:
        async def start() -> Jobs:
            database = Database.open(f"sqlite:///{Path(self.folder.name)}/q.db", schema="reach")
            await create(database, metadata)
            return Jobs(database)

        self.jobs = self.loop.run_until_complete(start())

    def teardown(self) -> None:
        if hasattr(self, "jobs"):
            self.run(self.jobs.database.close)
        self.loop.close()
        self.folder.cleanup()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await work()

        return self.loop.run_until_complete(awaited())

    @rule(priority=st.integers(0, 3), lane=st.sampled_from([None, "a", "b"]), later=st.integers(0, 2))
    def insert(self, priority: int, lane: str | None, later: int) -> None:
        key, due_at = f"r{len(self.rows):03}", self.now + timedelta(minutes=later)
        row = Row(key, self.now - HEAD_START[priority], lane, "deferred" if later else "pending", due_at)
        self.rows[key] = row
        if later:
            values = self.jobs.queue.deferred(priority, self.now, due_at, "wait", lane=lane)
        else:
            values = self.jobs.queue.ready(priority, self.now, lane=lane)
        self.run(lambda: self.jobs.insert({"id": key, **values}))

    @rule(priority=st.integers(0, 3))
    def insert_claimed(self, priority: int) -> None:
        key, until = f"r{len(self.rows):03}", self.now + LEASE
        self.rows[key] = Row(key, self.now - HEAD_START[priority], None, "sending", self.now, 1, until)
        values = self.jobs.queue.claimed(priority, self.now, owner="i", now=self.now, lease=LEASE)
        self.held.append((key, 1))
        self.run(lambda: self.jobs.insert({"id": key, **values}))

    @rule(seconds=st.sampled_from([1, 29, 30, 61, 600, 3700]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def eligible(self) -> list[Row]:
        waiting = sorted(
            (row for row in self.rows.values() if row.status in ("pending", "deferred")),
            key=lambda row: row.place,
        )
        blocked = {row.lane for row in self.rows.values() if row.status == "sending"} - {None}
        chosen = []
        for row in waiting:
            if row.lane in blocked:
                continue
            if row.lane is not None:
                blocked.add(row.lane)  # whether it goes or waits, nobody passes the head
            if row.status == "pending":
                chosen.append(row)
        return chosen

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        expected = self.eligible()[:limit]
        claimed = self.run(lambda: self.jobs.claim(self.now, limit))
        assert [row["id"] for row in claimed] == [row.id for row in expected]
        self.hand_over(expected)
        assert [row["lease_epoch"] for row in claimed] == [row.epoch for row in expected]

    def hand_over(self, rows: list[Row]) -> None:
        for row in rows:
            row.status, row.epoch, row.lease_until = "sending", row.epoch + 1, self.now + LEASE
            self.held.append((row.id, row.epoch))

    @rule(limit=st.integers(1, 4))
    def reap(self, limit: int) -> None:
        late = [
            row for row in self.rows.values() if row.lease_until is not None and row.lease_until <= self.now
        ]
        expected = sorted(late, key=lambda row: (row.lease_until, row.id))[:limit]
        taken = self.run(lambda: self.jobs.expired(self.now, limit=limit))
        assert {row["id"] for row in taken} == {row.id for row in expected}
        self.hand_over(expected)

    @rule(limit=st.integers(1, 4))
    def promote(self, limit: int) -> None:
        due = [row for row in self.rows.values() if row.status == "deferred" and row.due_at <= self.now]
        expected = sorted(due, key=lambda row: (row.due_at, row.id))[:limit]
        assert self.run(lambda: self.jobs.promote(self.now, limit)) == len(expected)
        for row in expected:
            row.status = "pending"

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        picks = data.draw(
            st.lists(st.sampled_from(self.held), max_size=4, unique_by=lambda one: one[0])
            if self.held
            else st.just([])
        )
        outcomes = [
            Settlement(
                key,
                epoch,
                status,
                1,
                due_at=self.now + timedelta(seconds=5) if status == "deferred" else None,
            )
            for key, epoch in picks
            for status in [data.draw(st.sampled_from(["delivered", "failed", "pending", "deferred"]))]
        ]
        expected = set()
        for one in outcomes:
            row = self.rows[one.id]
            if row.status == "sending" and row.epoch == one.epoch:
                expected.add(one.id)
                row.status, row.lease_until, row.due_at = one.status, None, one.due_at or row.due_at
        assert self.run(lambda: self.jobs.settle(*outcomes)) == expected

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        if not self.held:
            return
        key, epoch = data.draw(st.sampled_from(self.held))
        row, until = self.rows[key], self.now + LEASE
        ours = row.status == "sending" and row.epoch == epoch

        async def renewed() -> set[str]:
            return await self.jobs.database.transact(
                lambda connection: self.jobs.queue.renew(connection, [(key, epoch)], until)
            )

        assert self.run(renewed) == ({key} if ours else set())
        if ours:
            row.lease_until = until

    @invariant()
    def figures_agree(self) -> None:
        if not hasattr(self, "jobs"):
            return

        async def look() -> tuple[datetime | None, tuple[int, int, int, datetime | None]]:
            async with self.jobs.database.read() as connection:
                depth = await self.jobs.queue.depth(connection)
                figures = (depth.pending, depth.deferred, depth.running, depth.oldest_due_at)
                return await self.jobs.queue.next_due(connection), figures

        by_status: dict[str, list[Row]] = {"pending": [], "deferred": [], "sending": []}
        for row in self.rows.values():
            by_status.setdefault(row.status, []).append(row)
        pending, deferred, running = (by_status[name] for name in ("pending", "deferred", "sending"))
        oldest = min((row.due_at for row in pending), default=None)
        next_due = min((row.due_at for row in deferred), default=None)
        assert self.run(look) == (next_due, (len(pending), len(deferred), len(running), oldest))


class TestQueueAgainstModel(QueueAgainstModel.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
