"""What the contract says of each method, as deadlines and retries."""

from __future__ import annotations

import json
from typing import Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2
from reach.campaign.v1 import campaign_service_pb2
from reach.events.v1 import event_service_pb2
from reach.kf_session.v1 import kf_session_service_pb2
from reach.notifier.v1 import notifier_service_pb2
from reach.ops.v1 import ops_service_pb2

READ: Final = 2.0
LIST: Final = 5.0
WRITE: Final = 5.0
GENERATION: Final = 60.0
"""Seconds for a call whose caller names no time-out."""

_RETRY: Final = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_GENERATES: Final = frozenset({"GenerateCopy", "RunApp"})
_METHODS: Final = {
    f"/{service.full_name}/{method.name}": method
    for file in (
        ai_orchestrator_service_pb2,
        campaign_service_pb2,
        event_service_pb2,
        kf_session_service_pb2,
        notifier_service_pb2,
        ops_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def deadline(path: str) -> float | None:
    """Seconds for ``/package.Service/Method``; None, without end, for a stream.

    A method of another contract (health, say) counts as a read.
    """
    method = _METHODS.get(path)
    if method is None:
        return READ
    if method.server_streaming:
        return None
    if method.name in _GENERATES:
        return GENERATION
    if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
        return WRITE
    return LIST if method.name.startswith("List") else READ


def service_config() -> str:
    """gRPC's own retry, which adds the jitter, for methods that declare themselves safe to repeat; as JSON."""
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in _METHODS.values()
        if _repeatable(method)
    ]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY}]})


def _repeatable(method: MethodDescriptor) -> bool:
    return method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
