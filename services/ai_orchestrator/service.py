"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2, ai_orchestrator_service_pb2_grpc

__all__ = ["SCOPES", "SERVICE", "AiOrchestratorServicer"]

SERVICE: Final[str] = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name[
    "AiOrchestratorService"
].full_name

SCOPES: Final[Mapping[str, str]] = {}
"""The scope each method needs; one that is missing here is denied."""


class AiOrchestratorServicer(ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceServicer):
    """See ai_orchestrator_service.proto."""
