"""What a process says of its own readiness."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.harness import eventually


async def statuses(address: str, *services: str) -> dict[str, str]:
    """The status of each name in words; NOT_FOUND for one that nobody knows."""
    found = {}
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in services:
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                found[service] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            except grpc.aio.AioRpcError as error:
                found[service] = error.code().name
    return found


async def statuses_become(address: str, wanted: Mapping[str, str], timeout: float = 30) -> None:
    """Wait until every name of *wanted* has its status."""

    async def look() -> bool:
        return await statuses(address, *wanted) == wanted

    await eventually(look, timeout, every=0.1)
