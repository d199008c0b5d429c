"""The RPCs about join ways: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import join_way_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.domain.join_way import WayStatus
from services.campaign.store.join_ways import Way
from services.campaign.usecases.join_ways import STAYS, JoinWays
from shared.clock import Clock
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, optional_timestamp, to_duration, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named, visible_stores
from shared.wecom.customer_groups import JoinWaySpec

LONGEST: Final = timedelta(days=400)
"""Most that one attribution looks back."""
_USUAL: Final = timedelta(days=30)

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "CreateJoinWay": "campaign.operate",
        "GetJoinWay": "campaign.read",
        "ListJoinWays": "campaign.read",
        "UpdateJoinWay": "campaign.operate",
        "DeleteJoinWay": "campaign.operate",
        "GetJoinWayAttribution": "campaign.read",
    }.items()
}

STATUS: EnumMap[WayStatus] = EnumMap(
    pb.JoinWayStatus, {one: pb.JoinWayStatus.Value(f"JOIN_WAY_STATUS_{one.name}") for one in WayStatus}
)


_SCENES: Final[Mapping[int, pb.JoinWayScene.ValueType]] = {
    1: pb.JOIN_WAY_SCENE_MINIPROGRAM,
    2: pb.JOIN_WAY_SCENE_QR_CODE,
}


class JoinWayMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _join_ways: JoinWays
    _tokens: PageTokens
    _clock: Clock
    _default_store: str | None

    async def CreateJoinWay(self, request: pb.CreateJoinWayRequest, context: Any) -> pb.CreateJoinWayResponse:
        """Make a way into groups."""
        store = self._way_store_of(request)
        once = once_of(SERVICE, "CreateJoinWay", request, store)
        way = await self._join_ways.create(store, from_spec(request.spec), once=once)
        return pb.CreateJoinWayResponse(join_way=to_way(way))

    async def GetJoinWay(self, request: pb.GetJoinWayRequest, context: Any) -> pb.GetJoinWayResponse:
        """One join way."""
        return pb.GetJoinWayResponse(join_way=to_way(await self._join_ways.get(request.id, visible_stores())))

    async def ListJoinWays(self, request: pb.ListJoinWaysRequest, context: Any) -> pb.ListJoinWaysResponse:
        """Join ways, the newest first."""
        stores = stores_named(request.store_id)
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        statuses = [STATUS.to_domain(one, "statuses") for one in request.statuses]
        found = await self._join_ways.list(stores, request.states, statuses, before, size + 1)
        more, found = len(found) > size, found[:size]
        token = self._tokens.issue(request, [found[-1].created_at.isoformat(), found[-1].id]) if more else ""
        return pb.ListJoinWaysResponse(join_ways=map(to_way, found), next_page_token=token)

    async def UpdateJoinWay(self, request: pb.UpdateJoinWayRequest, context: Any) -> pb.UpdateJoinWayResponse:
        """Change a join way."""
        way = await self._join_ways.update(
            request.id,
            from_spec(request.spec),
            list(request.update_mask.paths),
            request.version,
            visible_stores(),
            once=once_of(SERVICE, "UpdateJoinWay", request),
        )
        return pb.UpdateJoinWayResponse(join_way=to_way(way))

    async def DeleteJoinWay(self, request: pb.DeleteJoinWayRequest, context: Any) -> pb.DeleteJoinWayResponse:
        """Take a join way away."""
        once = once_of(SERVICE, "DeleteJoinWay", request)
        way = await self._join_ways.delete(request.id, visible_stores(), request.comment, once=once)
        return pb.DeleteJoinWayResponse(join_way=to_way(way))

    async def GetJoinWayAttribution(
        self, request: pb.GetJoinWayAttributionRequest, context: Any
    ) -> pb.GetJoinWayAttributionResponse:
        """What became of those who came by a state."""
        store = self._way_store_of(request)
        end = optional_timestamp(request, "end_time") or self._clock.now()
        start = optional_timestamp(request, "start_time") or end - _USUAL
        if end - start > LONGEST:
            raise Invalid.field("start_time", f"lies at most {LONGEST.days} days before end_time")
        found = await self._join_ways.attribution(store, request.state, start, end)
        return pb.GetJoinWayAttributionResponse(
            joined=found.joined,
            members=found.members,
            present=found.present,
            groups=found.groups,
            retention=[
                pb.JoinRetention(stay=to_duration(stay), matured=matured, stayed=stayed)
                for stay, matured, stayed in zip(STAYS, found.matured, found.stayed, strict=True)
            ],
            reached=found.reached,
            campaigns=found.campaigns,
        )

    def _way_store_of(self, request: Any) -> str:
        """The store that is named, or the default one; it has to be the caller's."""
        store: str | None = request.store_id or self._default_store
        if not store:
            raise Invalid.field("store_id", "name a store: there is no default one", reason="STORE_MISSING")
        authorise_store(store)
        return store


def from_spec(wire: pb.JoinWaySpec) -> JoinWaySpec:
    """What is to be set; what it may be ``domain.join_way.check`` says."""
    return JoinWaySpec(
        scene=wire.scene,
        chat_ids=tuple(wire.chat_ids),
        remark=wire.remark,
        auto_create_room=wire.auto_create_room,
        room_base_name=wire.room_base_name,
        room_base_id=wire.room_base_id,
        state=wire.state,
        mark_source=wire.mark_source,
    )


def to_way(way: Way) -> pb.JoinWay:
    """A join way as it stands."""
    spec = way.spec
    wire = pb.JoinWay(
        id=way.id,
        store_id=way.store_id,
        status=STATUS.to_wire(way.status),
        spec=pb.JoinWaySpec(
            scene=_SCENES[spec.scene],
            chat_ids=spec.chat_ids,
            remark=spec.remark,
            auto_create_room=spec.auto_create_room,
            room_base_name=spec.room_base_name,
            room_base_id=spec.room_base_id,
            state=spec.state,
            mark_source=spec.mark_source,
        ),
        config_id=way.config_id,
        qr_code=way.qr_code,
        drifts=[pb.JoinWayDrift(field=one.field, ours=one.ours, theirs=one.theirs) for one in way.drift],
        version=way.version,
        error=way.error,
        errcode=way.errcode or 0,
        created_by=way.created_by,
        create_time=to_timestamp(way.created_at),
        update_time=to_timestamp(way.updated_at),
    )
    if way.checked_at is not None:
        wire.check_time.CopyFrom(to_timestamp(way.checked_at))
    return wire
