"""The RPCs about effects: from the wire to the use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.kf_session.v1 import effect_pb2 as pb
from reach.kf_session.v1 import kf_session_service_pb2_grpc

from services.kf_session.domain.effects import Group, Kind, Rate, rate
from services.kf_session.session_service import SERVICE
from services.kf_session.store.effects import Counts
from services.kf_session.usecases.effects import EffectStats
from shared.rpc.fields import EnumMap, optional_timestamp, to_timestamp
from shared.rpc.principal import stores_named

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/GetEffectStats": "kf.read",
    f"{SERVICE}/RecordEffect": "kf.send",
}
"""The scope each method needs."""

_GROUPS: EnumMap[Group] = EnumMap(
    pb.EffectGroup, {one: pb.EffectGroup.Value(f"EFFECT_GROUP_{one.name}") for one in Group}
)
_KINDS: EnumMap[Kind] = EnumMap(
    pb.EffectKind, {one: pb.EffectKind.Value(f"EFFECT_KIND_{one.name}") for one in Kind}
)


class EffectMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _effect_stats: EffectStats

    async def GetEffectStats(
        self, request: pb.GetEffectStatsRequest, context: Any
    ) -> pb.GetEffectStatsResponse:
        """Figures of a period."""
        found = await self._effect_stats.of(
            stores_named(request.store_id),
            optional_timestamp(request, "start_time"),
            optional_timestamp(request, "end_time"),
            tuple(_GROUPS.to_domain(one, "group_by") for one in request.group_by),
            template_ids=list(request.template_ids),
            variants=list(request.variants),
            intent_ids=list(request.intent_ids),
            purposes=list(request.purposes),
        )
        return pb.GetEffectStatsResponse(
            rows=[_row(told, counts) for told, counts in found.rows],
            start_time=to_timestamp(found.start_at),
            end_time=to_timestamp(found.end_at),
        )

    async def RecordEffect(self, request: pb.RecordEffectRequest, context: Any) -> pb.RecordEffectResponse:
        """Take note of what a customer did elsewhere."""
        kind = _KINDS.to_domain(request.kind, "kind")
        at = optional_timestamp(request, "occurred_time")
        return pb.RecordEffectResponse(recorded=await self._effect_stats.record(request.push_id, kind, at))


def _row(told: Mapping[Group, Any], counts: Counts) -> pb.EffectStats:
    wire = pb.EffectStats(
        push_count=counts.pushes,
        sent_count=counts.sent,
        failed_count=counts.failed,
        late_failed_count=counts.late_failed,
        replied_count=counts.replied,
        clicked_count=counts.clicked,
        engaged_count=counts.engaged,
        unsubscribed_count=counts.unsubscribed,
        reply_rate=_rate(rate(counts.replied, counts.sent)),
        click_rate=_rate(rate(counts.clicked, counts.sent)),
        engagement_rate=_rate(rate(counts.engaged, counts.sent)),
        unsubscribe_rate=_rate(rate(counts.unsubscribed, counts.sent)),
    )
    for group, value in told.items():
        setattr(wire, group.value, value if value is not None else 0 if group is Group.VERSION else "")
    return wire


def _rate(found: Rate | None) -> pb.EffectRate | None:
    return None if found is None else pb.EffectRate(value=found.value, low=found.low, high=found.high)
