"""Groups and syncs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reach.campaign.v1 import group_pb2 as pb

from services.campaign.domain.groups import GroupStatus, SyncStatus
from services.campaign.store.group_lists import Day, PastChange
from services.campaign.store.group_syncs import Sync
from services.campaign.usecases.groups import Judged
from shared.rpc.fields import EnumMap, to_timestamp

GROUP_STATUS: EnumMap[GroupStatus] = EnumMap(
    pb.GroupStatus, {one: pb.GroupStatus.Value(f"GROUP_STATUS_{one.name}") for one in GroupStatus}
)
SYNC_STATUS: EnumMap[SyncStatus] = EnumMap(
    pb.SyncStatus, {one: pb.SyncStatus.Value(f"SYNC_STATUS_{one.name}") for one in SyncStatus}
)


def to_group(judged: Judged, now: datetime) -> pb.Group:
    """A group as it stands at *now*."""
    view, facts, standing = judged.view, judged.view.facts, judged.view.standing
    wire = pb.Group(
        chat_id=facts.chat_id,
        store_id=view.store_id,
        name=facts.name,
        owner=facts.owner,
        status=GROUP_STATUS.to_wire(standing.status),
        gone_reason=standing.gone_reason,
        member_count=facts.members,
        customer_count=view.customers,
        silent_days=facts.silent_days(now),
        labels=sorted(facts.labels),
        eligible=not judged.verdict.reason,
        reason=judged.verdict.reason,
        detail=judged.verdict.detail,
        read_error=standing.read_error,
        errcode=view.errcode or 0,
        join_states=sorted(facts.states),
    )
    _stamp(
        wire,
        gone_time=standing.gone_at,
        create_time=facts.created_at,
        last_join_time=facts.last_joined_at,
        last_change_time=facts.last_changed_at,
        read_time=standing.read_at,
        last_sent_time=facts.last_sent_at,
    )
    return wire


def to_change(change: PastChange) -> pb.GroupChange:
    """One entry of a group's history."""
    return pb.GroupChange(
        kind=change.kind, before=change.before, after=change.after, time=to_timestamp(change.at)
    )


def to_day(day: Day) -> pb.GroupDay:
    """One day of a group."""
    return pb.GroupDay(day=day.day.isoformat(), joined=day.joined, left=day.left)


def to_sync(sync: Sync) -> pb.GroupSync:
    """A sync as it stands."""
    wire = pb.GroupSync(
        id=sync.id,
        status=SYNC_STATUS.to_wire(sync.status),
        phase=sync.phase.value,
        whole=sync.whole,
        started_by=sync.started_by,
        listed=sync.listed,
        added=sync.added,
        changed=sync.changed,
        gone=sync.gone,
        read=sync.read,
        denied=sync.denied,
        failed=sync.failed,
        error=sync.error,
        errcode=sync.errcode or 0,
    )
    _stamp(
        wire,
        resume_time=sync.resume_at,
        start_time=sync.started_at,
        list_time=sync.listed_at,
        finish_time=sync.finished_at,
    )
    return wire


def _stamp(wire: Any, **times: datetime | None) -> None:
    for name, at in times.items():
        if at is not None:
            getattr(wire, name).CopyFrom(to_timestamp(at))
