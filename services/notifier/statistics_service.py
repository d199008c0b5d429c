"""The RPC that counts: from the wire to the use case and back."""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reach.notifier.v1 import notifier_service_pb2_grpc
from reach.notifier.v1 import statistics_pb2 as pb

from services.notifier.domain.rules import Priority
from services.notifier.domain.statistics import Bucket, Group, success_ratio
from services.notifier.store.statistics import Spread
from services.notifier.usecases.statistics import Question, Row, Statistics
from services.notifier.wire import PRIORITY, role_named
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, optional_timestamp, to_duration, to_timestamp
from shared.rpc.principal import stores_named

_BUCKETS: Final = {
    pb.STATS_BUCKET_UNSPECIFIED: Bucket.NONE,
    pb.STATS_BUCKET_HOUR: Bucket.HOUR,
    pb.STATS_BUCKET_DAY: Bucket.DAY,
}
_GROUPS: EnumMap[Group] = EnumMap(
    pb.StatsGroup, {group: pb.StatsGroup.Value(f"STATS_GROUP_{group.name}") for group in Group}
)


class StatisticsMethods(notifier_service_pb2_grpc.NotifierServiceServicer):
    """See notifier_service.proto."""

    _statistics: Statistics

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        """Figures of a period."""
        figures = await self._statistics.of(
            Question(
                stores=stores_named(request.store_id),
                start_at=optional_timestamp(request, "start_time"),
                end_at=optional_timestamp(request, "end_time"),
                bucket=_BUCKETS[request.bucket],
                zone=_zone(request.zone),
                groups=tuple(_GROUPS.to_domain(one, "group_by") for one in request.group_by),
                event_types=tuple(request.event_types),
                rule_ids=tuple(request.rule_ids),
                roles=tuple(role_named(one, f"roles[{at}]").value for at, one in enumerate(request.roles)),
                priorities=tuple(PRIORITY.to_domain(one, "priorities").value for one in request.priorities),
                channels=tuple(request.channels),
            )
        )
        return pb.GetStatsResponse(
            rows=[_row(row) for row in figures.rows],
            start_time=to_timestamp(figures.start_at),
            end_time=to_timestamp(figures.end_at),
            zone=figures.zone.key,
        )


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid.field("zone", "is not an IANA time zone, such as Asia/Shanghai") from None


def _row(row: Row) -> pb.StatsRow:
    counts = row.counts
    wire = pb.StatsRow(
        start_time=to_timestamp(row.slot.start_at),
        end_time=to_timestamp(row.slot.end_at),
        delivery_count=counts.deliveries,
        accepted_count=counts.accepted,
        failed_count=counts.failed,
        unknown_count=counts.unknown,
        suppressed_count=counts.suppressed,
        expired_count=counts.expired,
        cancelled_count=counts.cancelled,
        waiting_count=counts.waiting,
        recipient_count=counts.recipients,
        recipient_accepted_count=counts.recipients_accepted,
        recipient_failed_count=counts.recipients_failed,
        attempt_count=counts.attempts,
        retry_count=counts.retries,
        clicked_count=counts.clicked,
        acknowledged_count=counts.acknowledged,
        success_ratio=success_ratio(counts.accepted, counts.failed, counts.unknown, counts.expired),
        latency=_latency(row.latencies.since_go if row.latencies else None),
        total_latency=_latency(row.latencies.since_planned if row.latencies else None),
    )
    for group, value in row.told_apart.items():
        setattr(wire, group.value, PRIORITY.to_wire(Priority(value)) if group is Group.PRIORITY else value)
    return wire


def _latency(spread: Spread | None) -> pb.StatsLatency:
    if spread is None:
        return pb.StatsLatency()
    p50, p90, p95, p99 = map(to_duration, spread.percentiles)
    return pb.StatsLatency(
        count=spread.count, p50=p50, p90=p90, p95=p95, p99=p99, max=to_duration(spread.longest)
    )
