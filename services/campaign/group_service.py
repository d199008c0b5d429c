"""The RPCs about groups: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import group_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.group_wire import GROUP_STATUS, to_change, to_day, to_group, to_sync
from services.campaign.store.group_lists import GroupFilter
from services.campaign.usecases.groups import CustomerGroups
from shared.clock import Clock
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import stores_named, visible_stores

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "ListGroups": "campaign.read",
        "GetGroup": "campaign.read",
        "LabelGroups": "campaign.write",
        "SyncGroups": "campaign.operate",
        "GetGroupSync": "campaign.read",
        "ListGroupSyncs": "campaign.read",
    }.items()
}


class GroupMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _groups: CustomerGroups
    _tokens: PageTokens
    _clock: Clock

    async def ListGroups(self, request: pb.ListGroupsRequest, context: Any) -> pb.ListGroupsResponse:
        """Groups, by chat id."""
        wanted = GroupFilter(
            stores_named(request.store_id),
            request.owner,
            request.name_contains,
            tuple(request.labels),
            tuple(GROUP_STATUS.to_domain(one, "statuses") for one in request.statuses),
            request.include_gone,
        )
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        found = await self._groups.list(wanted, "" if cursor is None else str(cursor[0]), size + 1)
        more, found = len(found) > size, found[:size]
        token = self._tokens.issue(request, [found[-1].view.facts.chat_id]) if more else ""
        now = self._clock.now()
        return pb.ListGroupsResponse(groups=[to_group(one, now) for one in found], next_page_token=token)

    async def GetGroup(self, request: pb.GetGroupRequest, context: Any) -> pb.GetGroupResponse:
        """One group with its history."""
        told = await self._groups.get(request.chat_id, visible_stores(), request.days)
        return pb.GetGroupResponse(
            group=to_group(told.judged, self._clock.now()),
            changes=map(to_change, told.changes),
            days=map(to_day, told.days),
        )

    async def LabelGroups(self, request: pb.LabelGroupsRequest, context: Any) -> pb.LabelGroupsResponse:
        """Put labels on groups, take others off."""
        count = await self._groups.label(
            request.chat_ids,
            request.add,
            request.remove,
            request.comment,
            visible_stores(),
            once=once_of(SERVICE, "LabelGroups", request),
        )
        return pb.LabelGroupsResponse(group_count=count)

    async def SyncGroups(self, request: pb.SyncGroupsRequest, context: Any) -> pb.SyncGroupsResponse:
        """Begin a sync, or attach to the one under way."""
        found = await self._groups.sync(request.whole, once=once_of(SERVICE, "SyncGroups", request))
        return pb.SyncGroupsResponse(sync=to_sync(found))

    async def GetGroupSync(self, request: pb.GetGroupSyncRequest, context: Any) -> pb.GetGroupSyncResponse:
        """The report of a sync."""
        return pb.GetGroupSyncResponse(sync=to_sync(await self._groups.get_sync(request.sync_id)))

    async def ListGroupSyncs(
        self, request: pb.ListGroupSyncsRequest, context: Any
    ) -> pb.ListGroupSyncsResponse:
        """Syncs, the newest first."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        found = await self._groups.syncs(before, size + 1)
        more, found = len(found) > size, found[:size]
        token = self._tokens.issue(request, [found[-1].started_at.isoformat(), found[-1].id]) if more else ""
        return pb.ListGroupSyncsResponse(syncs=map(to_sync, found), next_page_token=token)
