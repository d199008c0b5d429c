"""Between reports and their messages."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from reach.campaign.v1 import preview_pb2
from reach.campaign.v1 import report_pb2 as pb

from services.campaign.campaign_wire import STATUSES
from services.campaign.domain.report import SEGMENTS, Funnel, OwnerResult, Taken
from services.campaign.target_wire import TARGET_STATUS, to_run
from services.campaign.usecases.reporting import Report
from shared.rpc.fields import to_duration, to_timestamp


def to_report(found: Report) -> pb.CampaignReport:
    """What came of a run."""
    held = found.campaign
    return pb.CampaignReport(
        campaign_id=held.id,
        store_id=held.store_id,
        name=found.spec.name,
        status=STATUSES.to_wire(held.status),
        reason=held.reason,
        run=to_run(found.run),
        read_time=to_timestamp(found.read_at),
        final=found.final,
        planned_end_time=None if found.planned_end is None else to_timestamp(found.planned_end),
        funnel=_funnel(found.funnel),
        excluded_reasons=[
            preview_pb2.ReasonCount(reason=reason, count=count)
            for reason, count in Counter(found.excluded).most_common()
        ],
        statuses=[
            pb.TargetStatusCount(status=TARGET_STATUS.to_wire(status), count=count)
            for status, count in found.statuses
        ],
        outcomes=[
            pb.OutcomeCount(
                status=TARGET_STATUS.to_wire(one.status),
                reason=one.reason,
                errcode=one.errcode,
                count=one.count,
                example=one.example,
            )
            for one in found.outcomes
        ],
        tasks=[pb.TaskStatusCount(status=status.value, count=count) for status, count in found.tasks],
        owners=map(_owner, found.owners),
        other_owners=None if found.others is None else _owner(found.others),
        owner_count=len(found.owners) + (found.others.owners if found.others else 0),
        time_to_confirm=_taken(found.taken),
        reminder_count=found.reminders,
        ai_cost=_cost(found),
        segments=[
            pb.LabelSegment(label=one.label, groups=one.groups, asked=one.asked, sent=one.sent)
            for one in found.segments[:SEGMENTS]
        ],
        other_segment_count=max(0, len(found.segments) - SEGMENTS),
        top_up_of=held.top_up_of,
        top_ups=[
            pb.TopUp(
                campaign_id=one.campaign_id,
                status=STATUSES.to_wire(one.status),
                group_count=one.groups,
                create_time=to_timestamp(one.created_at),
            )
            for one in found.top_ups
        ],
    )


def _funnel(one: Funnel) -> pb.CoverageFunnel:
    return pb.CoverageFunnel(
        audience=one.audience,
        included=one.included,
        asked=one.asked,
        confirmed=one.confirmed,
        sent=one.sent,
        coverage=one.coverage,
    )


def _owner(one: OwnerResult) -> pb.OwnerResult:
    return pb.OwnerResult(
        owner=one.owner,
        owner_count=one.owners,
        groups=one.groups,
        asked_tasks=one.asked_tasks,
        confirmed_tasks=one.confirmed_tasks,
        sent_groups=one.sent_groups,
        reminder_count=one.reminders,
        time_to_confirm=_taken(one.taken) if one.owner else None,
    )


def _taken(one: Taken) -> pb.TimeToConfirm:
    return pb.TimeToConfirm(tasks=one.tasks, p50=_span(one.p50), p90=_span(one.p90))


def _span(span: timedelta | None) -> Duration | None:
    return None if span is None else to_duration(span)


def _cost(found: Report) -> pb.AiCost:
    return pb.AiCost(
        input_tokens=sum(one.input_tokens for one in found.prompts),
        output_tokens=sum(one.output_tokens for one in found.prompts),
        total_tokens=sum(one.total_tokens for one in found.prompts),
        request_count=sum(one.requests for one in found.prompts),
        prompts=[
            pb.AiPromptCost(
                app_version=one.app_version,
                prompt_hash=one.prompt_hash,
                models=one.models,
                request_count=one.requests,
                input_tokens=one.input_tokens,
                output_tokens=one.output_tokens,
                total_tokens=one.total_tokens,
                used=one.used,
            )
            for one in found.prompts
        ],
    )
