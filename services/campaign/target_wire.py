"""Between runs, groups of runs and their messages."""

from __future__ import annotations

from reach.campaign.v1 import target_pb2 as pb

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.store.targets import Target
from services.campaign.store.tasks import Run
from shared.rpc.fields import EnumMap, to_timestamp

TARGET_STATUS: EnumMap[TargetStatus] = EnumMap(
    pb.TargetStatus, {one: pb.TargetStatus.Value(f"TARGET_STATUS_{one.name}") for one in TargetStatus}
)


def to_run(run: Run) -> pb.CampaignRun:
    """One run."""
    return pb.CampaignRun(
        id=run.id,
        version=run.version,
        dry=run.dry,
        started_by=run.started_by,
        start_time=to_timestamp(run.started_at),
        finish_time=None if run.finished_at is None else to_timestamp(run.finished_at),
    )


def to_target(one: Target) -> pb.Target:
    """One group of a run."""
    return pb.Target(
        chat_id=one.chat_id,
        name=one.name,
        owner=one.owner,
        task_id=one.task_id,
        task_status=one.task_status,
        hold_reason=one.hold_reason,
        msgid=one.msgid,
        status=TARGET_STATUS.to_wire(one.status),
        raw_status=one.raw_status,
        reason=one.reason,
        errcode=one.errcode,
        error=one.error,
        ask_time=None if one.made_at is None else to_timestamp(one.made_at),
        send_time=None if one.sent_at is None else to_timestamp(one.sent_at),
        update_time=to_timestamp(one.updated_at),
        confirm_time=None if one.confirmed_at is None else to_timestamp(one.confirmed_at),
    )
