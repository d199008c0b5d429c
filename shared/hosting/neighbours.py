"""Ways to the suite's other services, by gRPC, wherever they are served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2

from shared.hosting.callers import client_tls
from shared.hosting.resources import Resources
from shared.rpc.client import channel
from shared.watched_files import watched_token

_AI: Final = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name["AiOrchestratorService"]


def ai_opener(resources: Resources) -> Callable[[], grpc.aio.Channel | None]:
    """Opens a channel to ai_orchestrator: where the settings say it is, else to this process, which may serve it too."""

    def opened() -> grpc.aio.Channel | None:
        settings = resources.settings
        place, file = settings.ai_orchestrator_target or resources.grpc, settings.service_token_file
        if place is None:
            return None
        token = None if file is None else watched_token(file).current
        made = channel(place, _AI, token=token, tls=client_tls(settings.auth))
        resources.stack.push_async_callback(made.close)
        return made

    return opened
