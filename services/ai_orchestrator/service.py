"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2

from services.ai_orchestrator import fact_service
from services.ai_orchestrator.fact_service import FactMethods
from services.ai_orchestrator.usecases.loading import Loading

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
        self._default_store = default_store
