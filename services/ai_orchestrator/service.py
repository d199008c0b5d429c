"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.ai_orchestrator import run_service
from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.run_service import RunMethods
from services.ai_orchestrator.runs_side import RunsSide
from shared.rpc.paging import PageTokens

__all__ = ["SCOPES", "SERVICE", "AiOrchestratorServicer"]

SCOPES: Final[Mapping[str, str]] = {**run_service.SCOPES}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(RunMethods):
    """See ai_orchestrator_service.proto."""

    def __init__(self, runs: RunsSide, tokens: PageTokens) -> None:
        self._runs = runs.runs
        self._tokens = tokens
