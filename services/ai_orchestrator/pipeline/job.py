"""A claimed step, and what is to be asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.gating import Wish
from services.ai_orchestrator.domain.material import Prompt
from services.ai_orchestrator.store.runs import Run, subject_of
from shared.values import value_class


@value_class
class Step:
    """A step in this replica's hands."""

    id: str
    epoch: int
    attempt_no: int
    run_id: str
    name: str
    app_type: str
    app_version: str
    subject: Subject
    after: tuple[str, ...]
    arguments: Mapping[str, Any] = field(hash=False)
    user_id: str
    """Whose conversation it goes on with; empty: none."""
    refresh: bool
    patient: bool
    prewarm: bool
    correction: str
    refusals: tuple[Mapping[str, Any], ...] = field(hash=False)
    tokens: int
    asked_at: datetime | None
    started_at: datetime | None


def step_of(row: Mapping[Any, Any], *, prewarm: bool) -> Step:
    """A claimed row."""
    return Step(
        row["id"],
        row["lease_epoch"],
        row["attempt_no"],
        row["run_id"],
        row["name"],
        row["app_type"],
        row["app_version"],
        subject_of(row),
        tuple(row["after"]),
        row["arguments"],
        row["user_id"],
        row["refresh"],
        row["patient"],
        prewarm,
        row["correction"],
        tuple(row["refusals"]),
        row["tokens"],
        row["asked_at"],
        row["started_at"],
    )


@value_class
class Job:
    """A request that may leave: its attempt is written."""

    step: Step
    run: Run
    app: AppDefinition
    prompt: Prompt
    wish: Wish
    call: Call
    until: datetime
    """When the step's time is over."""
    known_at: datetime
    """When its facts were read."""
