"""The gates, wired: what the assembly, the engine and the operators take of them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from services.ai_orchestrator.breaker_desk import AiBreakers
from services.ai_orchestrator.pipeline.gatekeeping import Gatekeeping
from services.ai_orchestrator.pipeline.gates import GateFigures, SqlGates
from services.ai_orchestrator.pipeline.ports import Waiting
from services.ai_orchestrator.usecases.budgets import Budgets
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Limits
from shared.telemetry.metrics import Metrics


class GatesSide:
    """The parts."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        limits: Limits,
        zone: ZoneInfo,
        waiting: Waiting,
    ) -> None:
        figures = GateFigures.of(limits)
        self.gates = SqlGates(figures, zone)
        """What every call passes; its ``guess`` is for plans."""
        self.budgets = Budgets(database, figures, waiting, audit, clock, zone)
        self.desk = AiBreakers(database, waiting, audit, clock)
        """Its ``check`` is one of the doctor's."""
        self.limits_of = figures.limits_of
        """Of the keys of the rate table."""
        self._keeping = Gatekeeping(database, self.gates, waiting, clock, numbers, zone)
        self.loops = {"gates": self._keeping.run}
        self.purge = self._keeping.purge
        """For the retention."""
