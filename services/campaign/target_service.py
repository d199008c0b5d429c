"""The RPC about the groups of a run: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import target_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.target_wire import TARGET_STATUS, to_run, to_target
from services.campaign.usecases.targets import Targets
from shared.rpc.paging import PageTokens, page_size

SCOPES: Final[Mapping[str, str]] = {f"{SERVICE}/ListTargets": "campaign.read"}
"""The scope each method needs."""


class TargetMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _targets: Targets
    _tokens: PageTokens

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Any) -> pb.ListTargetsResponse:
        """Groups of a run."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        statuses = {
            TARGET_STATUS.to_domain(one, f"statuses[{at}]") for at, one in enumerate(request.statuses)
        }
        # A token goes on with the run that it began with, though a later one may be the one to show by now.
        run_id, after = (request.run_id, "") if cursor is None else (str(cursor[0]), str(cursor[1]))
        run, found = await self._targets.page(
            request.campaign_id, run_id, statuses, request.owner, after, size + 1
        )
        token = self._tokens.issue(request, [run.id, found[size - 1].chat_id]) if len(found) > size else ""
        return pb.ListTargetsResponse(
            run=to_run(run), targets=map(to_target, found[:size]), next_page_token=token
        )
