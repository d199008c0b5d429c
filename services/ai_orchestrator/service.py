"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
