"""What begins by itself, as operators see it over the wire."""

from __future__ import annotations

from pathlib import Path

import grpc
from reach.ai_orchestrator.v1 import fact_pb2
from reach.ops.v1 import schedule_pb2 as pb
from reach.ops.v1.ops_service_pb2_grpc import OpsServiceStub

from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import opened
from tests.e2e.harness import STORE, eventually, refused

NINE = "2026-03-03T01:00:00Z"
"""In Shanghai; in Tokyo it is ten, and time for the figures."""


async def test_operators_see_what_begins_by_events_and_by_the_clocks_of_its_stores(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", at=NINE, clock="sandbox") as club:
        for store, zone in ((STORE, "Asia/Shanghai"), ("s2", "Asia/Tokyo"), ("s3", "Asia/Tokyo")):
            row = to_struct({"zone": zone})
            kind = fact_pb2.FACT_KIND_STORE
            await club.stub.LoadFacts(fact_pb2.LoadFactsRequest(store_id=store, kind=kind, rows=[row]))
        ops = OpsServiceStub(club.reach.channel)

        async def listed(**wanted: object) -> list[pb.Schedule]:
            return list((await ops.ListSchedules(pb.ListSchedulesRequest(**wanted))).schedules)

        by_event = await listed(kind=pb.SCHEDULE_KIND_EVENT)
        assert {(one.event_type, one.description) for one in by_event} == {
            (
                "consumption.settled",
                "app3_clue, app8_consolidation, app7_customer, app4_analysis, app5_tactics",
            ),
            ("note.created", "app6_note, app8_consolidation"),
            ("task.assigned", "app4_analysis, app5_tactics"),
            ("dws.completed", "app2_finance, app2a_finance_area"),
        }
        assert not any(one.HasField("next_time") or one.cron for one in by_event)

        async def begun() -> bool:
            return any(one.HasField("last_time") for one in await listed(kind=pb.SCHEDULE_KIND_CRON))

        await eventually(begun, timeout=30)
        clocks = {one.time_zone: one for one in await listed(kind=pb.SCHEDULE_KIND_CRON)}
        assert {zone: (one.cron, one.stores) for zone, one in clocks.items()} == {
            "Asia/Shanghai": ("0 10 * * *", 1),
            "Asia/Tokyo": ("0 10 * * *", 2),
        }
        assert not clocks["Asia/Shanghai"].HasField("last_time")
        assert clocks["Asia/Shanghai"].next_time.ToJsonString() == "2026-03-03T02:00:00Z"
        assert clocks["Asia/Tokyo"].next_time.ToJsonString() == "2026-03-04T01:00:00Z"

        first = await ops.ListSchedules(pb.ListSchedulesRequest(page_size=4))
        rest = await ops.ListSchedules(pb.ListSchedulesRequest(page_size=4, page_token=first.next_page_token))
        assert [*first.schedules, *rest.schedules] == await listed()
        assert (len(first.schedules), len(rest.schedules), rest.next_page_token) == (4, 2, "")
        assert await listed(service="notifier") == []
        code, _ = await refused(ops.ListSchedules(pb.ListSchedulesRequest(page_size=-1)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
