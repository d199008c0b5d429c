"""Never a sixth: customers writing, news coming late, crashes, lost answers, against a platform that counts exactly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.kf_session.domain.push import Purpose
from services.kf_session.pipeline.deciding import Job
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import LOST, NOON, NOT_SENT, Platform, Replica, prepare


class Machine(RuleBasedStateMachine):
    """Two replicas, one customer."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(NOON)
        self.platform = Platform(self.clock)
        self.late: list[Any] = []
        self.number = 0
        self.how = "well"
        self.platform.script = self._script

    def do(self, work: Any) -> Any:
        """Run to the end."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    @initialize()
    def open(self) -> None:
        """An empty database, and a customer who has written."""
        self.database = Database.open(self.url, schema="public")
        self.do(prepare_fresh(self.database))
        self.replicas = [Replica(self.database, self.clock, self.platform, name) for name in "ab"]
        self.do(self.replicas[0].hears("ann", self.platform.write("ann")))

    async def _script(self, job: Job) -> Sent | None:
        match self.how:
            case "not_sent":
                return NOT_SENT
            case "lost_before":
                return LOST
            case "lost_after":
                self.platform._answer(job)
                return LOST
            case "crash_before":
                raise asyncio.CancelledError
            case "crash_after":
                self.platform._answer(job)
                raise asyncio.CancelledError
            case "wrote_meanwhile":
                self.late.append(self.platform.write("ann"))
        return None

    @rule(count=st.integers(1, 4), purpose=st.sampled_from([Purpose.MESSAGE, Purpose.MATCH, Purpose.REPLY]))
    def admit(self, count: int, purpose: Purpose) -> None:
        """Something is to go."""
        for _ in range(count):
            self.number += 1
            score = 0.9 if purpose is Purpose.MATCH else None
            self.do(self.replicas[0].admit("ann", f"m{self.number}", purpose, score=score))

    @rule(
        which=st.integers(0, 1),
        how=st.sampled_from(
            [
                "well",
                "not_sent",
                "lost_before",
                "lost_after",
                "crash_before",
                "crash_after",
                "wrote_meanwhile",
            ]
        ),
    )
    def turn(self, which: int, how: str) -> None:
        """A replica sends what is due, and the world does as it likes."""
        self.how = how
        self.do(self.replicas[which].turn())
        self.how = "well"

    @rule(
        how=st.sampled_from(["lost_after", "crash_after", "wrote_meanwhile", "lost_before"]),
        count=st.integers(3, 5),
    )
    def trouble_and_then_more_than_there_is(self, how: str, count: int) -> None:
        """What chance alone seldom brings together."""
        self.admit(count, Purpose.REPLY)
        self.turn(0, how)
        self.admit(count, Purpose.REPLY)
        self.turn(1, "well")

    @rule()
    def customer_writes_and_we_hear_later(self) -> None:
        """The platform knows at once."""
        self.late.append(self.platform.write("ann"))

    @rule()
    def we_hear(self) -> None:
        """Of what was written, in order."""
        while self.late:
            self.do(self.replicas[0].hears("ann", self.late.pop(0)))

    @rule(seconds=st.sampled_from([0.4, 2, 12, 40, 120]))
    def time_passes(self, seconds: float) -> None:
        """And whoever died is taken over."""
        self.clock.advance(timedelta(seconds=seconds))
        self.do(self.replicas[1].pusher._take_over(self.clock.now()))

    @invariant()
    def never_a_sixth(self) -> None:
        """The platform never had to refuse for its count, nor got a message twice."""
        assert 95001 not in self.platform.refusals
        ids = [job.push.id for job in self.platform.accepted]
        assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        """Close."""
        if hasattr(self, "database"):
            self.do(self.database.close())
        self.loop.close()


async def prepare_fresh(database: Database) -> None:
    """The tables, empty."""
    from services.kf_session.store.tables import metadata
    from shared.db.tables import outbox

    await prepare(database)
    async with database.write() as conn:
        for table in (*reversed(metadata.sorted_tables), outbox):
            await conn.execute(table.delete())


def explore(url: str, examples: int, steps: int) -> None:
    """Run the machine."""
    Machine.url = url
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_platform_never_sees_a_sixth_on_sqlite(tmp_path: Path) -> None:
    explore(f"sqlite:///{tmp_path}/machine.db", 15, 12)


def test_the_platform_never_sees_a_sixth_on_postgresql(postgres_database: str) -> None:
    explore(postgres_database, 12, 12)
