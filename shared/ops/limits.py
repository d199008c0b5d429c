"""What is limited and how much of it is used: of services that keep it in the rate table, and the RPC that asks all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from reach.ops.v1 import ops_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2_grpc

from shared import limits as windows
from shared.clock import Clock
from shared.db import limits as rates
from shared.db.engine import Database
from shared.limits import Limit
from shared.ops.part import LimitView, Part
from shared.rpc.fields import to_duration, to_timestamp
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store

LimitsOf = Callable[[str], Sequence[Limit]]
"""The limits that apply to a key of the rate table."""


class RateDesk:
    """The rate table of a service; see ``LimitDesk``."""

    def __init__(self, database: Database, limits_of: LimitsOf) -> None:
        self._database = database
        self._limits_of = limits_of

    async def list_limits(self, prefix: str, after: str, now: datetime, limit: int) -> Sequence[LimitView]:
        """Each window of each key, by key; rests of credentials are for others to tell."""
        async with self._database.read() as conn:
            usages = await rates.usage(conn, prefix, after)
        shown = [one for one in usages if not one.key.startswith("rest:")][:limit]
        return [view for one in shown for view in self._views(one, now)]

    def _views(self, usage: rates.Usage, now: datetime) -> list[LimitView]:
        limits = self._limits_of(usage.key)
        verdict = windows.reserve(usage.state, limits, now)
        free_at = verdict.until if isinstance(verdict, windows.Wait) else None
        return [
            LimitView(
                usage.key, one.name, one.max, windows.used(usage.state, one, now), one.per, free_at=free_at
            )
            for one in limits
        ]


class LimitMethods(ops_service_pb2_grpc.OpsServiceServicer):
    """See ops_service.proto."""

    _parts: Sequence[Part]
    _tokens: PageTokens
    _clock: Clock

    async def ListLimits(self, request: pb.ListLimitsRequest, context: Any) -> pb.ListLimitsResponse:
        """By key; each window of a key is a line of its own."""
        authorise_every_store()  # they count people of every store
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        after, now = str(cursor[0]) if cursor else "", self._clock.now()
        lines: list[tuple[str, pb.LimitUsage]] = []
        for part in self._parts:
            views = await part.limits.list_limits(request.key_prefix, after, now, size + 1)
            lines += [(one.key, _usage(part.service, one)) for one in views]
        keys = sorted({key for key, _ in lines})
        last = keys[size - 1] if len(keys) > size else ""
        lines.sort(key=lambda one: one[0])
        return pb.ListLimitsResponse(
            limits=[line for key, line in lines if not last or key <= last],
            next_page_token=self._tokens.issue(request, [last]) if last else "",
        )


def _usage(service: str, one: LimitView) -> pb.LimitUsage:
    line = pb.LimitUsage(
        service=service,
        key=one.key,
        window=one.window,
        max=one.max,
        used=one.used,
        per=to_duration(one.per),
    )
    if one.free_at is not None:
        line.free_time.CopyFrom(to_timestamp(one.free_at))
    return line
