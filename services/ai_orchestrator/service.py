"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.ai_orchestrator import run_service
from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.run_service import RunMethods
from services.ai_orchestrator.runs_side import RunsSide
from services.ai_orchestrator import gate_service
from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.gate_service import GateMethods
from services.ai_orchestrator.gates_side import GatesSide
from shared.rpc.paging import PageTokens

__all__ = ["SCOPES", "SERVICE", "AiOrchestratorServicer"]

SCOPES: Final[Mapping[str, str]] = {**run_service.SCOPES}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(RunMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(self, runs: RunsSide, tokens: PageTokens) -> None:
        self._runs = runs.runs
SCOPES: Final[Mapping[str, str]] = {
    **gate_service.SCOPES,
}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(GateMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(self, gates: GatesSide, tokens: PageTokens) -> None:
        self._budgets = gates.budgets
        self._breakers = gates.desk
        self._tokens = tokens
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2

from services.ai_orchestrator import fact_service
from services.ai_orchestrator.fact_service import FactMethods
from services.ai_orchestrator.usecases.loading import Loading
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2

from services.ai_orchestrator import result_service
from services.ai_orchestrator.result_service import ResultMethods
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.usecases.copywriting import Copywriting
from shared.clock import Clock
from shared.rpc.paging import PageTokens

__all__ = ["SCOPES", "SERVICE", "AiOrchestratorServicer"]

SERVICE: Final[str] = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name[
    "AiOrchestratorService"
].full_name

SCOPES: Final[Mapping[str, str]] = {
    **fact_service.SCOPES,
}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(FactMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(self, loading: Loading, default_store: str | None) -> None:
        self._loading = loading
SCOPES: Final[Mapping[str, str]] = {**result_service.SCOPES}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(ResultMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(
        self,
        results: ResultsSide,
        copywriting: Copywriting,
        tokens: PageTokens,
        clock: Clock,
        default_store: str | None,
    ) -> None:
        self._results = results
        self._copywriting = copywriting
        self._tokens = tokens
        self._clock = clock
        self._default_store = default_store
