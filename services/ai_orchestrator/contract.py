"""The name of the service, for the rooms of its methods."""

from __future__ import annotations

from typing import Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2

SERVICE: Final[str] = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name[
    "AiOrchestratorService"
].full_name
"""From the contract itself: its file holds no message, so nothing else would load it, and reflection would lack it."""
