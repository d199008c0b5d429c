"""What the gates need from time to time."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.pipeline.gatekeeping import BUDGETS_KEPT, HOLDS_KEPT, Gatekeeping
from shared.clock import ManualClock
from shared.telemetry.metrics import Metrics
from tests.ai_orchestrator.gates.bench import FIRST_HOLD, NOW, ZONE, answered, bench, wish
from tests.ai_orchestrator.gates.test_gates import ARREARS


class Steps:
    """The engine's steps: remembers when they were let go."""

    def __init__(self) -> None:
        self.released: list[tuple[Refusal, datetime]] = []

    async def count(self, conn: AsyncConnection, refusal: Refusal) -> int:
        """Not asked here."""
        raise AssertionError

    async def release(self, conn: AsyncConnection, refusal: Refusal, now: datetime) -> None:
        """They are due."""
        self.released.append((refusal, now))


async def test_what_waits_for_a_breaker_is_let_go_when_it_need_not_wait(tmp_path: Path) -> None:
    async with bench(f"sqlite:///{tmp_path}/gates.db") as gates:
        clock, steps = ManualClock(NOW), Steps()
        keeping = Gatekeeping(gates.database, gates.gates, steps, clock, Metrics(), ZONE)
        await gates.call(ARREARS)
        await keeping.look()
        first = [(Refusal.CIRCUIT_OPEN, NOW)]
        assert steps.released == first, "this process may have slept through a closing"
        await keeping.look()
        assert steps.released == first
        clock.advance(timedelta(seconds=30))
        now = clock.now()
        probe = wish(at=now)
        await gates.ask(probe, now)
        await keeping.look()
        assert steps.released == first, "one call tries it, the others wait for that"
        await gates.end(probe, answered(), now)
        await keeping.look()
        assert steps.released == [*first, (Refusal.CIRCUIT_OPEN, now)]
        await keeping.look()
        assert len(steps.released) == 2


async def test_dead_calls_are_charged_figures_shown_and_old_rows_deleted(tmp_path: Path) -> None:
    async with bench(f"sqlite:///{tmp_path}/gates.db") as gates:
        clock, numbers = ManualClock(NOW), Metrics()
        steps = Steps()
        keeping = Gatekeeping(gates.database, gates.gates, steps, clock, numbers, ZONE)
        await gates.call(ARREARS, app="app6_note")
        await gates.database.transact(lambda conn: gates.gates.settle(conn, [(wish(), answered())], NOW))
        await keeping.look()
        shown = numbers.text().decode()
        assert 'reach_breaker_open{breaker="account",service="ai_orchestrator"} 1.0' in shown

        clock.advance(timedelta(minutes=1))
        asked = wish(at=clock.now())
        await gates.ask(asked, clock.now())
        assert await keeping.expire() == 0
        clock.advance(timedelta(minutes=10))
        assert await keeping.expire() == 1
        await keeping.look()
        shown = numbers.text().decode()
        assert f'reach_budget_tokens{{kind="used",service="ai_orchestrator"}} {float(FIRST_HOLD)}' in shown
        assert 'reach_budget_tokens{kind="reserved",service="ai_orchestrator"} 0.0' in shown

        async def purge() -> int:
            return await gates.database.transact(lambda conn: keeping.purge(conn, clock.now(), 100))

        assert await purge() == 0
        clock.advance(HOLDS_KEPT + timedelta(minutes=1))
        assert await purge() == 2
        clock.advance(BUDGETS_KEPT)
        assert await purge() == 4
