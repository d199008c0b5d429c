"""The RPC about what begins by itself: asks every part of the process that has some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reach.ops.v1 import ops_service_pb2_grpc
from reach.ops.v1 import schedule_pb2 as pb

from shared.clock import Clock
from shared.ops.part import Part, ScheduleView
from shared.rpc.fields import to_timestamp
from shared.rpc.paging import PageTokens, page_size


class ScheduleMethods(ops_service_pb2_grpc.OpsServiceServicer):
    """See ops_service.proto and schedule.proto."""

    _parts: Sequence[Part]
    _tokens: PageTokens
    _clock: Clock

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        """By service and name."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        after = tuple(str(part) for part in cursor) if cursor else ()
        now = self._clock.now()
        found = [
            (part.service, view)
            for part in self._parts
            if part.schedules is not None and request.service in ("", part.service)
            for view in await part.schedules(now)
            if _place(part.service, view) > after and request.kind in (0, _kind(view))
        ]
        found.sort(key=lambda one: _place(*one))
        page = found[:size]
        more = [*_place(*page[-1])] if len(found) > size else None
        return pb.ListSchedulesResponse(
            schedules=[_wire(service, view) for service, view in page],
            next_page_token=self._tokens.issue(request, more) if more else "",
        )


def _place(service: str, view: ScheduleView) -> tuple[str, ...]:
    return service, view.name, view.event_type, view.time_zone


def _kind(view: ScheduleView) -> pb.ScheduleKind.ValueType:
    return pb.SCHEDULE_KIND_EVENT if view.event_type else pb.SCHEDULE_KIND_CRON


def _wire(service: str, view: ScheduleView) -> pb.Schedule:
    wire = pb.Schedule(
        service=service,
        name=view.name,
        kind=_kind(view),
        cron=view.cron,
        time_zone=view.time_zone,
        event_type=view.event_type,
        description=view.description,
        stores=view.stores,
    )
    for name, at in (("last_time", view.last_at), ("next_time", view.next_at)):
        if at is not None:
            getattr(wire, name).CopyFrom(to_timestamp(at))
    return wire
