"""The gRPC servicer: from the wire to one use case and back; each group of methods has a room of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reach.campaign.v1 import campaign_pb2

from services.campaign import (
    approval_service,
    audit_service,
    group_service,
    join_way_service,
    playbook_service,
    reminder_service,
    reporting_side,
    writing_side,
)
from services.campaign.approval_service import ApprovalMethods
from services.campaign.approval_side import ApprovalSide
from services.campaign.audit_service import AuditMethods
from services.campaign.campaign_wire import to_campaign
from services.campaign.candidate_service import CandidateMethods
from services.campaign.contract import SERVICE
from services.campaign.explain_service import ExplainMethods
from services.campaign.group_service import GroupMethods
from services.campaign.groups_side import GroupsSide
from services.campaign.join_way_service import JoinWayMethods
from services.campaign.material_service import MaterialMethods
from services.campaign.playbook_service import PlaybookMethods
from services.campaign.playbooks_side import PlaybooksSide
from services.campaign.reconciling_side import ReconcilingSide
from services.campaign.reminder_service import ReminderMethods
from services.campaign.report_service import ReportMethods
from services.campaign.reporting_side import ReportingSide
from services.campaign.sending_side import SendingSide
from services.campaign.target_service import TargetMethods
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.writing_service import WritingMethods
from services.campaign.writing_side import WritingSide
from shared.clock import Clock
from shared.rpc.paging import PageTokens
from shared.rpc.principal import visible_stores

__all__ = ["SCOPES", "SERVICE", "CampaignServicer"]

SCOPES: Final[Mapping[str, str]] = {
    **group_service.SCOPES,
    **join_way_service.SCOPES,
    **writing_side.SCOPES,
    **approval_service.SCOPES,
    **audit_service.SCOPES,
    **reminder_service.SCOPES,
    **reporting_side.SCOPES,
    **playbook_service.SCOPES,
}
"""The scope each method needs; one that is missing here is denied."""


class _Shown:
    """See ``approval_service.Shown``."""

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns

    async def shown(self, campaign_id: str) -> campaign_pb2.Campaign:
        """As it stands."""
        return to_campaign(await self._campaigns.get(campaign_id, visible_stores()))


class CampaignServicer(
    GroupMethods,
    JoinWayMethods,
    WritingMethods,
    MaterialMethods,
    CandidateMethods,
    ApprovalMethods,
    AuditMethods,
    ReminderMethods,
    TargetMethods,
    ReportMethods,
    ExplainMethods,
    PlaybookMethods,
):
    """See campaign_service.proto."""

    def __init__(
        self,
        groups: GroupsSide,
        writing: WritingSide,
        approval: ApprovalSide,
        sending: SendingSide,
        reconciling: ReconcilingSide,
        reporting: ReportingSide,
        playbooks: PlaybooksSide,
        tokens: PageTokens,
        clock: Clock,
        default_store: str | None,
    ) -> None:
        self._groups = groups.groups
        self._join_ways = groups.join_ways
        self._campaigns = writing.campaigns
        self._materials = writing.materials
        self._tones = writing.tones
        self._candidates = writing.candidates
        self._zone = writing.zone
        self._approving = approval.approving
        self._running = approval.running
        self._previewing = approval.previewing
        self._history = approval.history
        self._shown = _Shown(writing.campaigns)
        self._chain = approval.chain
        self._targets = sending.targets
        self._reminders = reconciling.reminders
        self._reporting = reporting.reporting
        self._topping_up = reporting.topping_up
        self._explaining = reporting.explaining
        self._playbooks = playbooks.playbooks
        self._tokens = tokens
        self._clock = clock
        self._default_store = default_store
