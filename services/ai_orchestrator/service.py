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
