"""Whatever comes in whatever order, runs end as their steps did, end in time, and hold no tokens but for calls under way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.ai_orchestrator.domain.call import Call, Count, Scope, Tokens
from services.ai_orchestrator.domain.lifecycle import RunStatus, StepStatus, run_status
from services.ai_orchestrator.pipeline.alerting import Alerting
from services.ai_orchestrator.pipeline.gates import GateFigures, SqlGates
from services.ai_orchestrator.store.gate_tables import budget, hold
from services.ai_orchestrator.store.result_tables import alert
from services.ai_orchestrator.store.run_tables import attempt, chain_run, step_run
from services.ai_orchestrator.store.tables import metadata
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import outbox, rate_window
from shared.errors import Conflict
from shared.rpc import principal
from shared.settings import Limits
from tests.ai_orchestrator.gates.bench import ZONE
from tests.ai_orchestrator.runs.bench import NO_KEY, NOON, Answer, Replica, World, prepare, problem, reply

HANGS: Final = "hangs"
ANSWERS: Final = {
    "well": None,
    "no JSON": reply("nothing that can be read"),
    "refused": problem("app_missing", tokens=Tokens.RELEASE, count=Count.NEVER),
    "broken": problem("server_error", repeatable=True),
    "lost": problem("unknown", http_status=None, repeatable=True),
    "throttled": problem(
        "throttled", scope=Scope.ACCOUNT, count=Count.SLOW, tokens=Tokens.RELEASE, repeatable=True
    ),
    "not sent": problem("unreachable", http_status=None, tokens=Tokens.RELEASE, sent=False, repeatable=True),
}
"""What a call comes to."""
EVENTS: Final = {
    "consumption.settled": ("m1", "a1"),
    "note.created": ("m1", ""),
    "task.assigned": ("m1", "a1"),
}
TURNS: Final = st.tuples(st.integers(0, 1), st.sampled_from([*["well"] * 4, *sorted(ANSWERS), HANGS]))
"""Which replica works, and what its calls come to."""
LONG: Final = timedelta(hours=2)
"""Longer than any run of these may take."""


class Machine(RuleBasedStateMachine):
    """Two replicas and the real gates."""

    url = ""
    runner: asyncio.Runner
    """One for all examples: those on SQLite share the lock of its file."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(NOON)
        self.world = World()
        self.world.script = self._script
        self.how = "well"
        self.facts = 0
        self.hanging: list[asyncio.Future[Answer | None]] = []
        self.over: dict[str, Any] = {}
        """Runs that have ended, with their steps, as they stood then."""

    def do(self, work: Any) -> Any:
        """Run to the end."""
        return self.runner.get_loop().run_until_complete(asyncio.wait_for(work, 30))

    async def _script(self, call: Call, before: int) -> Answer | None:
        if self.how != HANGS:
            return ANSWERS[self.how]
        held = asyncio.get_running_loop().create_future()
        self.hanging.append(held)
        answer: Answer | None = await held
        return answer

    @initialize()
    def open(self) -> None:
        """An empty database."""
        principal.enter(principal.LOCAL_OPERATOR)
        self.database = Database.open(self.url, schema="public")
        self.do(self._empty())
        figures = replace(GateFigures.of(Limits()), store_per_minute=100)
        self.replicas = [
            Replica(
                self.database,
                self.world,
                self.clock,
                name,
                gates=SqlGates(figures, ZONE, jitter=lambda: 0.0),
                alerts=Alerting(self.database),
            )
            for name in "ab"
        ]
        self.trigger("consumption.settled", forced=False)

    async def _empty(self) -> None:
        await prepare(self.database)
        async with self.database.write() as conn:
            for table in (*reversed(metadata.sorted_tables), rate_window, outbox):
                await conn.execute(table.delete())

    # --- What happens -----------------------------------------------------------------------------------

    @rule(event=st.sampled_from(sorted(EVENTS)), forced=st.booleans())
    def trigger(self, event: str, forced: bool) -> None:
        """Something is told, and the facts are others."""
        self.facts += 1
        self.world.facts["*"] = self.facts
        member, assistant = EVENTS[event]
        self.do(self.replicas[0].trigger(event, member, assistant, forced=forced))

    @rule(work=st.lists(TURNS, min_size=1, max_size=5))
    def turn(self, work: list[tuple[int, str]]) -> None:
        """Replicas take up what is due, one after the other; their calls end so, or do not end yet."""
        for which, how in work:
            self.how = how
            self.do(self._turn(self.replicas[which]))

    async def _turn(self, replica: Replica) -> None:
        engine = replica.side.engine
        await engine.once()
        while moving := [
            held.task for held in engine._held.values() if held.task and not self._hangs(held.task)
        ]:
            await asyncio.wait(moving, timeout=0.002)

    def _hangs(self, task: asyncio.Task[None]) -> bool:
        """Whether a step's task waits for an answer that nobody gives yet."""
        return task.get_name().removeprefix("step ") in self._stuck()

    def _stuck(self) -> set[str]:
        open_calls = sum(not one.done() for one in self.hanging)
        held = [key for replica in self.replicas for key in replica.side.engine._held]
        return set(held) if open_calls == len(held) else set()

    def the_answers_come(self, how: str) -> None:
        """Of all calls that hang; to some it is of no use any more."""
        self.do(self._answer(how))

    async def _answer(self, how: str) -> None:
        for one in self.hanging:
            if not one.done():
                one.set_result(ANSWERS[how])
        self.hanging.clear()
        for replica in self.replicas:
            await replica.side.engine.settled()

    def crash(self, which: int) -> None:
        """A replica is gone in the middle of its calls, and back at once."""
        self.do(self.replicas[which].kill())
        self.hanging = [one for one in self.hanging if not one.done()]

    def keep_hold(self, which: int) -> None:
        """A replica renews its leases, and hears of what was ended."""
        self.do(self._keep_hold(self.replicas[which]))

    async def _keep_hold(self, replica: Replica) -> None:
        await replica.side.engine.renew()
        taken = [held for held in replica.side.engine._held.values() if held.stop.is_set()]
        await asyncio.gather(*(held.task for held in taken if held.task), return_exceptions=True)
        self.hanging = [one for one in self.hanging if not one.done()]

    @rule(seconds=st.sampled_from([1, 6, 6, 11, 11, 70, 301]))
    def time_passes(self, seconds: float) -> None:
        """And both replicas look what it has ended."""
        self.clock.advance(timedelta(seconds=seconds))
        self.do(self._sweep())
        now = self.clock.now()
        assert all(row.deadline_at > now for row in self._open()), "nothing is open after its deadline"

    async def _sweep(self) -> None:
        for replica in self.replicas:
            await replica.side.engine.sweep_once()

    def cancel(self, which: int) -> None:
        """Somebody ends a run."""
        if rows := self._open():
            one = rows[which % len(rows)].id
            self.do(self.replicas[0].runs.cancel(one, None, once=NO_KEY))

    def rerun(self, which: int) -> None:
        """Somebody runs an ended one again, if there is something to ask."""
        ended = sorted(self.over)
        if ended:
            with suppress(Conflict):  # every step has a result
                self.do(self.replicas[1].runs.rerun(ended[which % len(ended)], "", None, once=NO_KEY))

    @rule(
        what=st.sampled_from(["answer", "answer", "crash", "keep hold", "cancel", "rerun"]),
        which=st.integers(0, 1),
        how=st.sampled_from(sorted(ANSWERS)),
        also=st.sampled_from(["nothing", "keep hold", "answer"]),
    )
    def something_happens(self, what: str, which: int, how: str, also: str) -> None:
        """What chance would seldom bring between two turns."""
        for one in (what, also):
            match one:
                case "answer":
                    self.the_answers_come(how)
                case "crash":
                    self.crash(which)
                case "keep hold":
                    self.keep_hold(which)
                case "cancel":
                    self.cancel(which)
                case "rerun":
                    self.rerun(which)

    # --- What holds -------------------------------------------------------------------------------------

    def _rows(self, table: sa.Table) -> list[Any]:
        rows: list[Any] = self.do(self.replicas[0].rows(table))
        return rows

    def _open(self) -> list[Any]:
        return [row for row in self._rows(chain_run) if row.finished_at is None]

    @invariant()
    def runs_stand_as_their_steps_do(self) -> None:
        """An open run has an open step; an ended one has none, its status is theirs, and nothing moves any more."""
        if not hasattr(self, "database"):
            return
        steps: dict[str, list[Any]] = {}
        for row in self._rows(step_run):
            steps.setdefault(row.run_id, []).append(row)
        for run in self._rows(chain_run):
            mine, status = steps[run.id], RunStatus(run.status)
            states = [StepStatus(row.status) for row in mine]
            if run.finished_at is None:
                assert status.open
                assert any(one.open for one in states)
                continue
            assert not status.open
            assert not any(one.open for one in states)
            assert all(row.lease_owner is None and row.finished_at for row in mine)
            if status is RunStatus.CANCELLED:
                assert run.reason == "cancelled"
            else:
                assert status is run_status(states)
            as_it_stands = (run, mine)
            assert self.over.setdefault(run.id, as_it_stands) == as_it_stands
        ended = [one.run_id for one in self.world.ended]
        assert sorted(ended) == sorted(self.over), "each end is announced once"

    @invariant()
    def tokens_are_held_for_calls_under_way_and_no_others(self) -> None:
        """What is held is what attempts without an end may cost; what is used is what the ended ones were charged."""
        if not hasattr(self, "database"):
            return
        attempts, holds = self._rows(attempt), self._rows(hold)
        calling = {row.id for row in attempts if row.status == "calling"}
        held = {row.attempt_id: row.tokens for row in holds if row.settled_at is None}
        assert held.keys() == calling
        charged = sum(row.charged_tokens for row in attempts)
        for row in self._rows(budget):
            assert (row.held, row.used) == (sum(held.values()), charged), row
        # A step has one call at a time; what a dead process left counts until somebody has taken it over.
        under_way = [row.step_id for row in attempts if row.status == "calling"]
        assert len(under_way) == len(set(under_way))

    def teardown(self) -> None:
        """When all is over, nothing is open, held or told twice."""
        try:
            if hasattr(self, "database"):
                self.do(self._answer("well"))
                self.clock.advance(LONG)
                self.do(self._sweep())
                self.do(self._sweep())  # calls whose runs have ended are over by now as well
                assert self._open() == []
                self.runs_stand_as_their_steps_do()
                self.tokens_are_held_for_calls_under_way_and_no_others()
                assert not [row for row in self._rows(hold) if row.settled_at is None]
                told = [(row.run_id, row.step, row.kind) for row in self._rows(alert)]
                assert len(told) == len(set(told))
        finally:
            if hasattr(self, "database"):
                self.do(self.database.close())


def explore(url: str, examples: int, steps: int) -> None:
    """Run the machine."""
    Machine.url = url
    shown = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # every example is a database's work
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as Machine.runner:
        run_state_machine_as_test(Machine, settings=shown)


def test_any_order_of_what_may_happen_ends_well_on_sqlite(tmp_path: Path) -> None:
    explore(f"sqlite:///{tmp_path}/machine.db", 20, 20)


def test_any_order_of_what_may_happen_ends_well_on_postgresql(postgres_database: str) -> None:
    explore(postgres_database, 10, 20)
