"""The RPCs about breakers: asks every part of the process that has some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reach.ops.v1 import ops_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2_grpc

from shared.errors import NotFound
from shared.ops.part import BreakerView, Part
from shared.rpc.fields import to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store, current

SERVICE: Final = "reach.ops.v1.OpsService"


class BreakerMethods(ops_service_pb2_grpc.OpsServiceServicer):
    """See ops_service.proto."""

    _parts: Sequence[Part]
    _tokens: PageTokens

    async def ListBreakers(self, request: pb.ListBreakersRequest, context: Any) -> pb.ListBreakersResponse:
        """By service and key."""
        authorise_every_store()  # credentials serve all of them
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        after = (str(cursor[0]), str(cursor[1])) if cursor else ("", "")
        found = [
            (part.service, view)
            for part in self._parts
            if part.breakers is not None
            for view in await part.breakers.list_breakers()
            if (part.service, view.key) > after and not (request.open_only and view.state == "closed")
        ]
        found.sort(key=lambda one: (one[0], one[1].key))
        page = found[:size]
        more = [page[-1][0], page[-1][1].key] if len(found) > size else None
        return pb.ListBreakersResponse(
            breakers=[to_breaker(service, view) for service, view in page],
            next_page_token=self._tokens.issue(request, more) if more else "",
        )

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, context: Any) -> pb.ResetBreakerResponse:
        """Ask each part whether it is its own."""
        authorise_every_store()  # what waits for it belongs to every store
        for part in self._parts:
            if part.breakers is None or request.service not in ("", part.service):
                continue
            view = await part.breakers.reset(
                request.key, by=current().subject, once=once_of(SERVICE, "ResetBreaker", request)
            )
            if view is not None:
                return pb.ResetBreakerResponse(breaker=to_breaker(part.service, view))
        raise NotFound(
            "NOT_FOUND", f"{request.key} has never failed, so it has no breaker", resource="breaker"
        )


def to_breaker(service: str, view: BreakerView) -> pb.Breaker:
    """The wire form of a service's breaker."""
    wire = pb.Breaker(
        service=service,
        key=view.key,
        state=pb.BreakerState.Value(f"BREAKER_STATE_{view.state.upper()}"),
        failures=view.failures,
        probe=view.probe,
        reason=view.reason,
        errcode=view.errcode,
        detail=view.detail,
        openings=view.openings,
        failed_probes=view.failed_probes,
        waiting=view.waiting,
        alert=pb.BreakerAlert.Value(f"BREAKER_ALERT_{view.alert.upper() or 'UNSPECIFIED'}"),
        reset_by=view.reset_by,
    )
    instants = {
        "fail_time": view.since,
        "open_time": view.opened_at,
        "retry_time": view.retry_at,
        "alert_time": view.alerted_at,
    }
    for name, at in instants.items():
        if at is not None:
            getattr(wire, name).CopyFrom(to_timestamp(at))
    return wire
