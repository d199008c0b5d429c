"""The RPCs about campaigns as they are written: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from reach.campaign.v1 import campaign_pb2, campaign_service_pb2_grpc
from reach.campaign.v1 import writing_pb2 as pb

from services.campaign.campaign_wire import CAPABILITIES, STATUSES, from_spec, to_campaign, to_edit, to_spec
from services.campaign.contract import SERVICE
from services.campaign.domain.campaign import Spec
from services.campaign.domain.capabilities import STATEMENTS, require
from services.campaign.usecases.campaigns import Campaigns
from shared.errors import Invalid
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named, visible_stores
from shared.rpc.validation import check

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "ListCapabilities": "campaign.read",
        "CreateCampaign": "campaign.write",
        "UpdateCampaign": "campaign.write",
        "GetCampaign": "campaign.read",
        "ListCampaigns": "campaign.read",
    }.items()
}
"""The scope each method needs."""


class WritingMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _campaigns: Campaigns
    _tokens: PageTokens
    _zone: str
    """Of windows that name none."""

    async def ListCapabilities(
        self, request: pb.ListCapabilitiesRequest, context: Any
    ) -> pb.ListCapabilitiesResponse:
        """What customer groups can."""
        return pb.ListCapabilitiesResponse(
            capabilities=[
                pb.CapabilityStatement(
                    capability=CAPABILITIES.to_wire(one.capability),
                    available=one.available,
                    text_en=one.text_en,
                    text_zh=one.text_zh,
                )
                for one in STATEMENTS
            ]
        )

    async def CreateCampaign(
        self, request: pb.CreateCampaignRequest, context: Any
    ) -> pb.CreateCampaignResponse:
        """Begin a campaign."""
        authorise_store(request.store_id)
        require({CAPABILITIES.to_domain(one, "capabilities") for one in request.capabilities})
        view = await self._campaigns.create(
            request.store_id,
            from_spec(request.spec, self._zone),
            once=once_of(SERVICE, "CreateCampaign", request, request.store_id),
        )
        return pb.CreateCampaignResponse(campaign=to_campaign(view))

    async def UpdateCampaign(
        self, request: pb.UpdateCampaignRequest, context: Any
    ) -> pb.UpdateCampaignResponse:
        """Change what a campaign says."""
        view = await self._campaigns.update(
            request.campaign_id,
            _change(request, self._zone),
            visible_stores(),
            expected=request.expected_version,
            once=once_of(SERVICE, "UpdateCampaign", request),
        )
        return pb.UpdateCampaignResponse(campaign=to_campaign(view))

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: Any) -> pb.GetCampaignResponse:
        """One campaign."""
        view = await self._campaigns.get(request.campaign_id, visible_stores())
        return pb.GetCampaignResponse(campaign=to_campaign(view), edits=map(to_edit, view.edits))

    async def ListCampaigns(self, request: pb.ListCampaignsRequest, context: Any) -> pb.ListCampaignsResponse:
        """Campaigns, the newest first."""
        stores, size = stores_named(request.store_id), page_size(request.page_size)
        statuses = {STATUSES.to_domain(one, f"statuses[{at}]") for at, one in enumerate(request.statuses)}
        cursor = self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        found = await self._campaigns.page(stores, statuses, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1].kept
            token = self._tokens.issue(request, [last.created_at.astimezone(UTC).isoformat(), last.id])
        return pb.ListCampaignsResponse(campaigns=map(to_campaign, found[:size]), next_page_token=token)


def _change(request: pb.UpdateCampaignRequest, zone: str) -> Callable[[Spec], Spec]:
    """What *request* makes of a spec. Raises Invalid for a mask that names what is not there."""
    mask = FieldMask(paths=request.update_mask.paths)
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(campaign_pb2.CampaignSpec.DESCRIPTOR):
            raise Invalid.field("update_mask", f"no such field: {path[:80]}")

    def change(before: Spec) -> Spec:
        wanted = pb.UpdateCampaignRequest(campaign_id=request.campaign_id)
        if mask.paths:
            wanted.spec.CopyFrom(to_spec(before))
            mask.MergeMessage(
                request.spec, wanted.spec, replace_message_field=True, replace_repeated_field=True
            )
        else:
            wanted.spec.CopyFrom(request.spec)
        # The request's own spec may hold nothing but what its mask names: it is the outcome that has to be whole.
        check(pb.CreateCampaignRequest(store_id="checked", spec=wanted.spec))
        return from_spec(wanted.spec, zone)

    return change
