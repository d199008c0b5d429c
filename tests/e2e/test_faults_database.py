"""PostgreSQL away: calls are refused with the reason and when to come back, consuming pauses, and all heals by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.chaos.load import AmqpDoor, Doors, Made
from tests.chaos.storm import Servers, Storm
from tests.e2e.faults import (
    BACK_SECONDS,
    SERVICE,
    all_is_well,
    bring,
    counted,
    orders,
    recorded,
    serving,
    until_serving,
)
from tests.e2e.harness import names_on
from tests.support.node import Node

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


async def refusal(doors: Doors, kind: str, made: Made) -> tuple[grpc.StatusCode, str, float]:
    """Code, reason and seconds to wait of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (doors.push if kind == "push" else doors.publish)(made)
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    reason, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(reason)
        detail.Unpack(retry)
    return caught.value.code(), reason.reason, retry.retry_delay.ToTimedelta().total_seconds()


async def test_a_database_that_goes_and_comes_back_costs_nothing(
    tmp_path: Path, amqp_url: str, postgres_node: Node
) -> None:
    async with (
        names_on(amqp_url) as names,
        Storm(tmp_path, servers=Servers(postgres_node.url, amqp_url, names), latency_ms=800) as storm,
    ):
        doors = storm.members[0].doors
        till = AmqpDoor(amqp_url, names.exchange)
        await doors.cast([])
        before = orders(60)
        await bring(storm, till.publish, before)
        await bring(storm, doors.push, orders(40))  # their answers come when there is nowhere to write them
        await asyncio.to_thread(postgres_node.stop)
        storm.note("database stopped")
        for kind in ("push", "publish"):
            code, reason, wait = await refusal(doors, kind, orders(1)[0])
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_DOWN")
            assert 0 < wait <= BACK_SECONDS
        heard = orders(40)
        await bring(storm, till.publish, heard)
        for name in ("", SERVICE, "reach.db"):
            await until_serving(doors, name, wanted=False)
        await asyncio.sleep(6)  # long enough for a consumer that does not pause to burn its deliveries
        assert await serving(doors, "reach.live")
        await asyncio.to_thread(postgres_node.start)
        storm.note("database back")
        await recorded(storm, heard)
        await until_serving(doors, "", wanted=True)
        await bring(storm, doors.push, orders(5))
        assert storm.members[0].starts == 1
        await all_is_well(storm)
        assert await counted(storm, "SELECT count(*) FROM dead_letter") == 0
        await till.close()
