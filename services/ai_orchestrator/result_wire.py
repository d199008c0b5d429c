"""Insights, clues, alerts and copy: domain in, protobuf out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reach.ai_orchestrator.v1 import alert_pb2, clue_pb2, copy_pb2, insight_pb2

from services.ai_orchestrator.domain.copywriting import CANDIDATES, LONGEST, Brief, Copy, Form
from services.ai_orchestrator.domain.insights import Insight
from services.ai_orchestrator.domain.material import Reference
from services.ai_orchestrator.store.alerts import KeptAlert
from services.ai_orchestrator.store.clues import KeptClue
from services.ai_orchestrator.usecases.watching import Told
from shared.rpc.fields import to_duration, to_struct, to_timestamp

KINDS: Final = {
    word: alert_pb2.AlertKind.Value(f"ALERT_KIND_{word.upper()}")
    for word in ("circuit_open", "rate_limited", "budget_exceeded", "timeout", "failed")
}
FORMS: Final = {copy_pb2.CopyForm.Value(f"COPY_FORM_{form.name}"): form for form in Form}


def to_insight(found: Insight, now: datetime, *, whole: bool) -> insight_pb2.Insight:
    """An insight as it stands at *now*."""
    wire = insight_pb2.Insight(
        store_id=found.store_id,
        cache_type=found.cache_type,
        target=found.target,
        app_type=found.app_type,
        app_version=found.app_version,
        member_id=found.member_id,
        assistant_id=found.assistant_id,
        time_dimension=found.time_dimension,
        area=found.area,
        score=found.score,
        missing_inputs=found.missing,
        triggered_by=found.triggered_by,
        run_id=found.run_id,
        make_time=to_timestamp(found.made_at),
        age=to_duration(max(now - found.made_at, timedelta(0))),
        stale_reason=found.stale,
        revision=found.revision,
    )
    if whole:
        wire.result.CopyFrom(to_struct(found.result))
        wire.references.extend(map(_reference, found.references))
    return wire


def _reference(one: Reference) -> insight_pb2.InsightReference:
    return insight_pb2.InsightReference(
        kind=one.kind, id=one.id, time=None if one.at is None else to_timestamp(one.at)
    )


def to_clue(kept: KeptClue) -> clue_pb2.Clue:
    """A clue as callers see it."""
    one = kept.clue
    return clue_pb2.Clue(
        clue_id=kept.id,
        store_id=kept.store_id,
        member_id=kept.member_id,
        source=kept.source,
        category=one.category,
        emoji=one.emoji,
        summary=one.summary,
        shown_text=one.shown,
        detail=one.detail,
        providers=one.providers,
        create_time=to_timestamp(kept.created_at),
        created_by=kept.created_by,
        run_id=kept.run_id,
    )


def from_kinds(kinds: list[int]) -> tuple[str, ...]:
    """The words of kinds."""
    return tuple(word for word, kind in KINDS.items() if kind in kinds)


def to_told(told: Told) -> alert_pb2.WatchAlertsResponse:
    """One response of the stream."""
    return alert_pb2.WatchAlertsResponse(
        alert=None if told.alert is None else _alert(told.alert), cursor=told.cursor
    )


def _alert(one: KeptAlert) -> alert_pb2.Alert:
    return alert_pb2.Alert(
        alert_id=one.id,
        store_id=one.store_id,
        app_type=one.app_type,
        kind=KINDS[one.kind],
        message=one.message,
        run_id=one.run_id,
        step=one.step,
        create_time=to_timestamp(one.created_at),
    )


def from_brief(request: copy_pb2.GenerateCopyRequest) -> Brief:
    """What is to be written."""
    return Brief(
        theme=request.theme,
        audience=request.audience,
        tone=request.tone,
        banned_words=tuple(request.banned_words),
        candidates=request.candidate_count or CANDIDATES,
        longest=request.max_chars or LONGEST,
        form=FORMS.get(request.form, Form.TEXT),
        language_rules=tuple(request.language_rules),
        send_window=request.send_window,
    )


def to_copy(copy: Copy) -> copy_pb2.GenerateCopyResponse:
    """What was written."""
    return copy_pb2.GenerateCopyResponse(
        candidates=[
            copy_pb2.CopyCandidate(text=one.text, title=one.title, angle=one.angle, tokens=one.tokens)
            for one in copy.candidates
        ],
        refused_candidates=[
            copy_pb2.RefusedCandidate(
                text=one.text, banned_word=one.banned_word, title=one.title, tokens=one.tokens
            )
            for one in copy.dropped
        ],
        run_id=copy.run_id,
        app_version=copy.origin.app_version,
        prompt_hash=copy.origin.prompt_hash,
        models=copy.origin.models,
        input_tokens=copy.origin.input_tokens,
        output_tokens=copy.origin.output_tokens,
        total_tokens=copy.origin.total_tokens,
    )
