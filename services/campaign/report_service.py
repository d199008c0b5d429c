"""The RPCs about what came of a campaign: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc, top_up_pb2
from reach.campaign.v1 import report_pb2 as pb

from services.campaign.approval_service import Shown
from services.campaign.contract import SERVICE
from services.campaign.domain.table import BYTE_ORDER_MARK
from services.campaign.report_wire import to_report
from services.campaign.target_wire import TARGET_STATUS
from services.campaign.usecases.reporting import Reporting
from services.campaign.usecases.topping_up import ToppingUp
from shared.rpc.once import once_of
from shared.rpc.paging import page_size

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "GetReport": "campaign.read",
        "ExportReport": "campaign.read",
        "TopUpCampaign": "campaign.write",
    }.items()
}
"""The scope each method needs."""

_OWNERS: Final = 20
"""Owners that a report names unless more are asked for."""


class ReportMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _reporting: Reporting
    _topping_up: ToppingUp
    _shown: Shown

    async def GetReport(self, request: pb.GetReportRequest, context: Any) -> pb.GetReportResponse:
        """The figures of a run."""
        owners = page_size(request.owner_count, default=_OWNERS)
        found = await self._reporting.report(request.campaign_id, request.run_id, owners)
        return pb.GetReportResponse(report=to_report(found))

    async def ExportReport(
        self, request: pb.ExportReportRequest, context: Any
    ) -> AsyncIterator[pb.ExportReportResponse]:
        """The groups of a run, as a table."""
        mark = BYTE_ORDER_MARK if request.byte_order_mark else b""
        async for part in self._reporting.export(request.campaign_id, request.run_id):
            yield pb.ExportReportResponse(content=mark + part.text.encode(), group_count=part.groups)
            mark = b""

    async def TopUpCampaign(
        self, request: top_up_pb2.TopUpCampaignRequest, context: Any
    ) -> top_up_pb2.TopUpCampaignResponse:
        """A new draft for those that remain."""
        outcomes = {
            TARGET_STATUS.to_domain(one, f"outcomes[{at}]") for at, one in enumerate(request.outcomes)
        }
        made = await self._topping_up.make(
            request.campaign_id, outcomes, request.name, once=once_of(SERVICE, "TopUpCampaign", request)
        )
        return top_up_pb2.TopUpCampaignResponse(
            campaign=await self._shown.shown(made.campaign_id), group_count=made.groups, left_count=made.left
        )
