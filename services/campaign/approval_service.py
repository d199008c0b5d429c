"""The RPCs about approving and running: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from reach.campaign.v1 import approval_pb2, campaign_pb2, campaign_service_pb2_grpc, preview_pb2, running_pb2

from services.campaign.approval_wire import to_approval, to_entry, to_preview
from services.campaign.contract import SERVICE
from services.campaign.usecases.approving import Approving
from services.campaign.usecases.history import History
from services.campaign.usecases.previewing import Previewing
from services.campaign.usecases.running import Running
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "SubmitCampaign": "campaign.write",
        "ApproveCampaign": "campaign.approve",
        "RejectCampaign": "campaign.approve",
        "PreviewCampaign": "campaign.read",
        "RunCampaign": "campaign.operate",
        "PauseCampaign": "campaign.operate",
        "ResumeCampaign": "campaign.operate",
        "CancelCampaign": "campaign.operate",
        "ListCampaignHistory": "campaign.read",
    }.items()
}
"""The scope each method needs."""


class Shown(Protocol):
    """Shows campaigns (room: writing)."""

    async def shown(self, campaign_id: str) -> campaign_pb2.Campaign:
        """The campaign as it stands, for the present caller. Raises NotFound."""
        ...


class ApprovalMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _approving: Approving
    _running: Running
    _previewing: Previewing
    _history: History
    _shown: Shown
    _tokens: PageTokens

    async def SubmitCampaign(
        self, request: approval_pb2.SubmitCampaignRequest, context: Any
    ) -> approval_pb2.SubmitCampaignResponse:
        """Freeze its groups and wait for an approval."""
        frozen = await self._approving.submit(
            request.campaign_id,
            expected=request.expected_version,
            once=once_of(SERVICE, "SubmitCampaign", request),
        )
        return approval_pb2.SubmitCampaignResponse(
            campaign=await self._shown.shown(request.campaign_id), excluded_count=frozen.excluded
        )

    async def ApproveCampaign(
        self, request: approval_pb2.ApproveCampaignRequest, context: Any
    ) -> approval_pb2.ApproveCampaignResponse:
        """Say yes."""
        decided = await self._approving.approve(
            request.campaign_id,
            request.content_hash,
            request.comment,
            once_of(SERVICE, "ApproveCampaign", request),
        )
        return approval_pb2.ApproveCampaignResponse(
            campaign=await self._shown.shown(request.campaign_id), approval=to_approval(decided)
        )

    async def RejectCampaign(
        self, request: approval_pb2.RejectCampaignRequest, context: Any
    ) -> approval_pb2.RejectCampaignResponse:
        """Say no."""
        await self._approving.reject(
            request.campaign_id,
            request.comment,
            expected=request.expected_version,
            once=once_of(SERVICE, "RejectCampaign", request),
        )
        return approval_pb2.RejectCampaignResponse(campaign=await self._shown.shown(request.campaign_id))

    async def PreviewCampaign(
        self, request: preview_pb2.PreviewCampaignRequest, context: Any
    ) -> preview_pb2.PreviewCampaignResponse:
        """Show what it would do."""
        rows, cursor = page_size(request.page_size), self._tokens.read(request)
        found = await self._previewing.preview(request.campaign_id)
        chosen = found.audience.selection
        groups = [(group, "", "") for group in chosen.included]
        groups += [(one.group, one.reason, one.detail) for one in chosen.excluded]
        groups.sort(key=lambda one: one[0].chat_id)
        if cursor is not None:
            groups = [one for one in groups if one[0].chat_id > str(cursor[0])]
        token = self._tokens.issue(request, [groups[rows - 1][0].chat_id]) if len(groups) > rows else ""
        campaign = await self._shown.shown(request.campaign_id)
        return to_preview(found, campaign, groups[:rows], token)

    async def RunCampaign(
        self, request: running_pb2.RunCampaignRequest, context: Any
    ) -> running_pb2.RunCampaignResponse:
        """Begin it."""
        ran = await self._running.run(
            request.campaign_id,
            live=request.confirm_live,
            expected=request.expected_version,
            once=once_of(SERVICE, "RunCampaign", request),
        )
        return running_pb2.RunCampaignResponse(
            campaign=await self._shown.shown(request.campaign_id), run_id=ran.run_id, dry=ran.dry
        )

    async def PauseCampaign(
        self, request: running_pb2.PauseCampaignRequest, context: Any
    ) -> running_pb2.PauseCampaignResponse:
        """Hold it."""
        once = once_of(SERVICE, "PauseCampaign", request)
        await self._running.pause(request.campaign_id, request.comment, once)
        return running_pb2.PauseCampaignResponse(campaign=await self._shown.shown(request.campaign_id))

    async def ResumeCampaign(
        self, request: running_pb2.ResumeCampaignRequest, context: Any
    ) -> running_pb2.ResumeCampaignResponse:
        """Let it go on."""
        once = once_of(SERVICE, "ResumeCampaign", request)
        await self._running.resume(request.campaign_id, request.comment, once)
        return running_pb2.ResumeCampaignResponse(campaign=await self._shown.shown(request.campaign_id))

    async def CancelCampaign(
        self, request: running_pb2.CancelCampaignRequest, context: Any
    ) -> running_pb2.CancelCampaignResponse:
        """Stop it for good."""
        once = once_of(SERVICE, "CancelCampaign", request)
        await self._running.cancel(request.campaign_id, request.comment, once)
        return running_pb2.CancelCampaignResponse(campaign=await self._shown.shown(request.campaign_id))

    async def ListCampaignHistory(
        self, request: approval_pb2.ListCampaignHistoryRequest, context: Any
    ) -> approval_pb2.ListCampaignHistoryResponse:
        """All that happened to it."""
        rows, cursor = page_size(request.page_size), self._tokens.read(request)
        # Nothing of it ever goes away, and what is new is the last: a place in it is a place for good.
        start = 0 if cursor is None else int(cursor[0] or 0)
        found = await self._history.of(request.campaign_id)
        page, rest = found[start : start + rows], len(found) > start + rows
        return approval_pb2.ListCampaignHistoryResponse(
            entries=[to_entry(one) for one in page],
            next_page_token=self._tokens.issue(request, [start + rows]) if rest else "",
        )
