"""Between the values of approving and their messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reach.campaign.v1 import approval_pb2, campaign_pb2, preview_pb2

from services.campaign.domain.forecast import most, tasks_of
from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.ports import Group
from services.campaign.store.approvals import APPROVED, Approval
from services.campaign.store.campaigns import Edit, Move
from services.campaign.usecases.history import Happened
from services.campaign.usecases.previewing import Preview
from shared.rpc.fields import to_timestamp

OWNERS = 50
"""Owners that a preview names."""


def to_status(status: str) -> campaign_pb2.CampaignStatus.ValueType:
    """The word of the contract; unspecified for ''."""
    if not status:
        return campaign_pb2.CAMPAIGN_STATUS_UNSPECIFIED
    return campaign_pb2.CampaignStatus.Value(f"CAMPAIGN_STATUS_{Status(status).name}")


def to_approval(decided: Approval) -> approval_pb2.Approval:
    """What somebody decided."""
    yes = decided.decision == APPROVED
    return approval_pb2.Approval(
        id=decided.id,
        version=decided.version,
        content_hash=decided.content_hash,
        approver=decided.approver,
        decision=approval_pb2.APPROVAL_DECISION_APPROVED if yes else approval_pb2.APPROVAL_DECISION_REJECTED,
        comment=decided.comment,
        login_time=to_timestamp(decided.login_at),
        decide_time=to_timestamp(decided.decided_at),
        expire_time=to_timestamp(decided.expires_at) if yes else None,
    )


def to_entry(one: Happened) -> approval_pb2.CampaignHistoryEntry:
    """One thing that happened."""
    entry = approval_pb2.CampaignHistoryEntry(
        time=to_timestamp(one.at), version=one.version, subject=one.subject
    )
    what = one.what
    if isinstance(what, Edit):
        entry.written.how = what.how
    elif isinstance(what, Move):
        entry.move.CopyFrom(
            approval_pb2.CampaignMove(
                before=to_status(what.before),
                after=to_status(what.after),
                reason=what.reason,
                comment=what.comment,
            )
        )
    else:
        entry.approval.CopyFrom(to_approval(what))
    return entry


def to_preview(
    found: Preview,
    campaign: campaign_pb2.Campaign,
    groups: Sequence[tuple[Group, str, str]],
    next_page_token: str,
) -> preview_pb2.PreviewCampaignResponse:
    """What it would do; *groups* are those of the page, with the reason and the fact that leave them out."""
    chosen, plan = found.audience.selection, found.plan
    reasons = Counter(one.reason for one in chosen.excluded)
    return preview_pb2.PreviewCampaignResponse(
        campaign=campaign,
        frozen=found.audience.frozen,
        content_hash=found.content_hash,
        group_count=len(chosen.included),
        excluded_count=len(chosen.excluded),
        excluded_reasons=[
            preview_pb2.ReasonCount(reason=reason, count=count) for reason, count in reasons.most_common()
        ],
        no_slot_count=len(found.full),
        owner_count=len(found.owners),
        task_count=sum(tasks_of(count) for count in found.owners.values()),
        owners=[
            preview_pb2.PreviewOwner(owner=owner, group_count=count, task_count=tasks_of(count))
            for owner, count in most(found.owners, OWNERS)
        ],
        openings=[
            preview_pb2.PreviewOpening(
                start_time=to_timestamp(one.start), end_time=to_timestamp(one.end), task_count=one.tasks
            )
            for one in plan.openings
        ],
        end_time=None if plan.end is None else to_timestamp(plan.end),
        hits=[
            preview_pb2.PreviewHit(
                field=one.field,
                word=one.word,
                found=one.found,
                start=one.start,
                end=one.end,
                reason=one.reason,
            )
            for one in found.hits
        ],
        missing=found.missing,
        approval=None if found.approval is None else to_approval(found.approval),
        groups=[
            preview_pb2.PreviewGroup(
                chat_id=group.chat_id,
                name=group.name,
                owner=group.owner,
                excluded_reason=reason,
                detail=detail,
                no_slot=found.full.get(group.chat_id, ""),
            )
            for group, reason, detail in groups
        ],
        next_page_token=next_page_token,
    )
