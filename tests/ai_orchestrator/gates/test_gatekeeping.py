"""What the gates need from time to time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from services.ai_orchestrator.pipeline.gatekeeping import BUDGETS_KEPT, HOLDS_KEPT, Gatekeeping
from shared.clock import ManualClock
from shared.telemetry.metrics import Metrics
from tests.ai_orchestrator.gates.bench import FIRST_HOLD, NOW, ZONE, answered, bench, wish
from tests.ai_orchestrator.gates.test_gates import ARREARS


async def test_dead_calls_are_charged_figures_shown_and_old_rows_deleted(tmp_path: Path) -> None:
    async with bench(f"sqlite:///{tmp_path}/gates.db") as gates:
        clock, numbers = ManualClock(NOW), Metrics()
        keeping = Gatekeeping(gates.database, gates.gates, clock, numbers, ZONE)
        await gates.call(ARREARS, app="app6_note")
        await gates.database.transact(lambda conn: gates.gates.settle(conn, wish(), answered(), NOW))
        await keeping.show()
        shown = numbers.text().decode()
        assert 'reach_breaker_open{breaker="account",service="ai_orchestrator"} 1.0' in shown

        clock.advance(timedelta(minutes=1))
        asked = wish(at=clock.now())
        await gates.ask(asked, clock.now())
        assert await keeping.expire() == 0
        clock.advance(timedelta(minutes=10))
        assert await keeping.expire() == 1
        await keeping.show()
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
