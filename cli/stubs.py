"""The services' stubs, ready to be called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2, ai_orchestrator_service_pb2_grpc
from reach.campaign.v1 import campaign_service_pb2, campaign_service_pb2_grpc
from reach.kf_session.v1 import kf_session_service_pb2, kf_session_service_pb2_grpc
from reach.notifier.v1 import notifier_service_pb2, notifier_service_pb2_grpc
from reach.ops.v1 import ops_service_pb2, ops_service_pb2_grpc

from cli.connect import calling
from shared.settings import Settings

_OPS = ops_service_pb2.DESCRIPTOR.services_by_name["OpsService"]
_KF = kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"]
_AI = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name["AiOrchestratorService"]
_CAMPAIGN = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"]
_NOTIFIER = notifier_service_pb2.DESCRIPTOR.services_by_name["NotifierService"]


@asynccontextmanager
async def ops(chosen: Settings, service: str) -> AsyncIterator[Any]:
    """The operators' stub of *service*; see ``calling`` for what is raised."""
    async with calling(chosen, service, _OPS) as channel:
        yield ops_service_pb2_grpc.OpsServiceStub(channel)


@asynccontextmanager
async def notifier(chosen: Settings) -> AsyncIterator[Any]:
    """The notifier's stub."""
    async with calling(chosen, "notifier", _NOTIFIER) as channel:
        yield notifier_service_pb2_grpc.NotifierServiceStub(channel)


@asynccontextmanager
async def kf(chosen: Settings) -> AsyncIterator[Any]:
    """The stub of kf_session."""
    async with calling(chosen, "kf_session", _KF) as channel:
        yield kf_session_service_pb2_grpc.KfSessionServiceStub(channel)


@asynccontextmanager
async def ai_orchestrator(chosen: Settings) -> AsyncIterator[Any]:
    """The stub of ai_orchestrator."""
    async with calling(chosen, "ai_orchestrator", _AI) as channel:
        yield ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceStub(channel)


@asynccontextmanager
async def campaign(chosen: Settings) -> AsyncIterator[Any]:
    """The stub of campaign."""
    async with calling(chosen, "campaign", _CAMPAIGN) as channel:
        yield campaign_service_pb2_grpc.CampaignServiceStub(channel)
