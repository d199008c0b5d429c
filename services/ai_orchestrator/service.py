"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.ai_orchestrator import fact_service, gate_service, result_service, run_service
from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.fact_service import FactMethods
from services.ai_orchestrator.facts_side import FactsSide
from services.ai_orchestrator.gate_service import GateMethods
from services.ai_orchestrator.gates_side import GatesSide
from services.ai_orchestrator.result_service import ResultMethods
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.run_service import RunMethods
from services.ai_orchestrator.runs_side import RunsSide
from services.ai_orchestrator.usecases.copywriting import Copywriting
from shared.clock import Clock
from shared.rpc.calls import GENERATION, CallClass
from shared.rpc.paging import PageTokens

__all__ = ["SCOPES", "SERVICE", "SPECIAL", "AiOrchestratorServicer"]

SCOPES: Final[Mapping[str, str]] = {
    **run_service.SCOPES,
    **gate_service.SCOPES,
    **fact_service.SCOPES,
    **result_service.SCOPES,
}
"""The scope each method needs; one that is missing here is denied."""

SPECIAL: Final[Mapping[str, CallClass]] = {
    f"{SERVICE}/RunApp": GENERATION,
    f"{SERVICE}/GenerateCopy": GENERATION,
}
"""Methods that take the time an application takes."""


class AiOrchestratorServicer(RunMethods, GateMethods, FactMethods, ResultMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(
        self,
        runs: RunsSide,
        gates: GatesSide,
        facts: FactsSide,
        results: ResultsSide,
        tokens: PageTokens,
        clock: Clock,
        default_store: str | None,
    ) -> None:
        self._runs = runs.runs
        self._single = runs.single
        self._budgets = gates.budgets
        self._breakers = gates.desk
        self._loading = facts.loading
        self._results = results
        self._copywriting = Copywriting(runs.ask)
        self._tokens = tokens
        self._clock = clock
        self._default_store = default_store
