"""Between playbooks and their messages in the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from reach.campaign.v1 import playbook_pb2 as pb

from services.campaign.domain.playbook import Anchor, Playbook, Ref, Step, fill
from services.campaign.domain.playbook_calendar import Calendar, Occurrence
from services.campaign.domain.playbook_drafts import order_of, said_on
from services.campaign.domain.playbook_parameters import RANGES, Kind, Parameter, said_of
from services.campaign.pipeline.playbook_making import EMPTY, FAILED, MADE
from services.campaign.pipeline.playbook_previewing import DayCount, GroupDays, Touch
from services.campaign.pipeline.playbook_scheduling import MISSED
from services.campaign.store.playbook_tables import ACTIVE, WRITING
from services.campaign.store.playbooks import FINISHED, LEFT, STOPPED, SUBMITTED, Draft
from services.campaign.usecases.playbooks import Preview, RunView, Seen
from shared.rpc.fields import EnumMap, to_timestamp

KINDS: EnumMap[Kind] = EnumMap(
    pb.PlaybookParameterKind,
    {one: pb.PlaybookParameterKind.Value(f"PLAYBOOK_PARAMETER_KIND_{one.name}") for one in Kind},
)
ANCHORS: EnumMap[Anchor] = EnumMap(
    pb.PlaybookAnchor, {one: pb.PlaybookAnchor.Value(f"PLAYBOOK_ANCHOR_{one.name}") for one in Anchor}
)
STATUSES: Final = {
    ACTIVE: pb.PLAYBOOK_RUN_STATUS_ACTIVE,
    FINISHED: pb.PLAYBOOK_RUN_STATUS_FINISHED,
    STOPPED: pb.PLAYBOOK_RUN_STATUS_STOPPED,
}
_OUTCOMES: Final = {
    MADE: pb.PLAYBOOK_OUTCOME_MADE,
    EMPTY: pb.PLAYBOOK_OUTCOME_EMPTY,
    MISSED: pb.PLAYBOOK_OUTCOME_MISSED,
    FAILED: pb.PLAYBOOK_OUTCOME_FAILED,
}
_DRAFTS: Final = {
    WRITING: pb.PLAYBOOK_DRAFT_STATUS_WRITING,
    SUBMITTED: pb.PLAYBOOK_DRAFT_STATUS_SUBMITTED,
    LEFT: pb.PLAYBOOK_DRAFT_STATUS_LEFT,
}


def to_playbook(playbook: Playbook) -> pb.Playbook:
    """A playbook as callers see it."""
    return pb.Playbook(
        name=playbook.name,
        title=playbook.title,
        summary=playbook.summary,
        parameters=map(_to_parameter, playbook.parameters),
        steps=map(_to_step, playbook.steps),
        draft_days_before=playbook.draft_days_before,
        draft_hour=_said(playbook.draft_at),
    )


def to_run(view: RunView) -> pb.PlaybookRun:
    """A run as callers see it."""
    run, steps = view.run, view.run.definition["steps"]
    made = pb.PlaybookRun(
        id=run.id,
        store_id=run.store_id,
        playbook=run.playbook,
        title=run.definition["title"],
        status=STATUSES[run.status],
        parameters=run.parameters,
        start_date=str(run.start_day),
        time_zone=run.zone,
        started_by=run.started_by,
        start_time=to_timestamp(run.started_at),
        stopped_by=run.stopped_by,
        comment=run.comment,
        end_time=None if run.ended_at is None else to_timestamp(run.ended_at),
        submitted_count=view.drafts.get(SUBMITTED, 0),
        writing_count=view.drafts.get(WRITING, 0),
        left_count=view.drafts.get(LEFT, 0),
    )
    if run.next_day is not None and run.next_at is not None:
        made.next_step, made.next_date = steps[run.next_step]["name"], str(run.next_day)
        made.next_time.CopyFrom(to_timestamp(run.next_at))
    return made


def to_occurrence(seen: Seen, definition: Mapping[str, list[Mapping[str, str]]]) -> pb.PlaybookOccurrence:
    """What became of a step on its day; *definition* is the run's."""
    one, step = seen.happened, definition["steps"][seen.happened.step]
    return pb.PlaybookOccurrence(
        date=str(one.day),
        step=step["name"],
        title=step["title"],
        outcome=_OUTCOMES[one.status],
        reason=one.reason,
        detail=one.detail,
        due_time=to_timestamp(one.due_at),
        time=to_timestamp(one.at),
        group_count=one.groups,
        told_before_count=one.told_before,
        excluded_reasons=_exclusions(one.excluded),
        drafts=map(_to_draft, seen.drafts),
    )


def to_preview(found: Preview, groups: list[GroupDays], token: str) -> pb.PreviewPlaybookResponse:
    """What a playbook would do; *groups* are those of this page."""
    calendar, played = found.calendar, found.played
    return pb.PreviewPlaybookResponse(
        days=[
            _to_day(calendar, one, None if played.counts is None else played.counts[one.place])
            for one in played.occurrences
        ],
        skipped_steps=found.skipped,
        groups=[_to_group(calendar, one) for one in groups],
        time_zone=calendar.zone,
        next_page_token=token,
    )


def _to_parameter(one: Parameter) -> pb.PlaybookParameter:
    ranged = one.kind in RANGES
    return pb.PlaybookParameter(
        name=one.name,
        kind=KINDS.to_wire(one.kind),
        title=one.title,
        help=one.help,
        default_value=one.default,
        required=one.needed,
        minimum=one.least if ranged else 0,
        maximum=one.most if ranged else 0,
    )


def _to_step(one: Step) -> pb.PlaybookStep:
    return pb.PlaybookStep(
        name=one.name,
        title=one.title,
        anchor=ANCHORS.to_wire(one.anchor),
        offset=_said(one.offset),
        after_step=one.after,
        weekdays=[day + 1 for day in sorted(one.weekdays)],
        where_json=orjson.dumps(one.where).decode() if one.where else "",
        start_hour=_said(one.hours[0]),
        end_hour=_said(one.hours[1]),
        open_days=one.open_days,
        text=one.text,
        theme=one.writing.theme.strip() if one.writing else "",
    )


def _said(ref: Ref) -> str:
    return f"{{{ref.name}}}" if ref.name else said_of(ref.of({}))


def _to_day(calendar: Calendar, one: Occurrence, count: DayCount | None) -> pb.PlaybookDay:
    step = calendar.playbook.steps[one.step]
    order = order_of(calendar, step, one.day)
    return pb.PlaybookDay(
        date=str(one.day),
        step=step.name,
        title=step.title,
        draft_time=to_timestamp(one.due_at),
        start_time=to_timestamp(one.opens_at),
        end_time=to_timestamp(one.closes_at),
        text=fill(step.text, said_on(calendar, one.day)),
        theme=order.theme if order else "",
        group_count=0 if count is None else count.groups,
        no_slot_count=0 if count is None else count.no_slot,
        excluded_count=0 if count is None else count.excluded.total(),
        excluded_reasons=() if count is None else _exclusions(count.excluded),
    )


def _to_group(calendar: Calendar, one: GroupDays) -> pb.PlaybookGroup:
    def touch(found: Touch) -> pb.PlaybookTouch:
        name = calendar.playbook.steps[found.occurrence.step].name
        return pb.PlaybookTouch(
            date=str(found.occurrence.day),
            step=name,
            excluded_reason=found.reason,
            detail=found.detail,
            no_slot=found.no_slot,
        )

    facts = one.facts
    return pb.PlaybookGroup(
        chat_id=facts.chat_id, name=facts.name, owner=facts.owner, touches=map(touch, one.touches)
    )


def _to_draft(one: Draft) -> pb.PlaybookDraft:
    return pb.PlaybookDraft(
        campaign_id=one.campaign_id,
        part=one.part,
        status=_DRAFTS[one.status],
        reason=one.reason,
        detail=one.detail,
        candidate_set_id=one.set_id,
    )


def _exclusions(counted: Mapping[str, int]) -> list[pb.PlaybookExclusion]:
    ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return [pb.PlaybookExclusion(reason=reason, count=count) for reason, count in ordered]
