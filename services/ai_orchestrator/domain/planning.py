"""From a chain and a subject to the steps of a run, its day, its key and its deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Final
from zoneinfo import ZoneInfo

from services.ai_orchestrator.domain.definitions import (
    AppDefinition,
    ChainDefinition,
    StepDefinition,
    Subject,
)
from shared.values import value_class

ALL: Final = "all"
"""The area that is the whole store."""

CHAIN_STEPS: Final = 5
"""Steps' worth of time that a chain has."""
PREWARM_SLACK: Final = timedelta(minutes=10)


TIME_DIMENSIONS: Final = (
    "this_month",
    "last_month",
    "this_week",
    "last_week",
    "this_quarter",
    "last_quarter",
    "last_3_months",
    "last_6_months",
)
AREAS: Final = (ALL, "hall", "hallA", "hallB", "hallC", "vip", "snooker", "mahjong", "ktv")


@value_class
class Site:
    """How a store is looked at."""

    zone: ZoneInfo
    time_dimensions: tuple[str, ...] = TIME_DIMENSIONS
    """In order of worth."""
    areas: tuple[str, ...] = AREAS
    """Likewise; `ALL` among them stands for the whole store."""


@value_class
class Pace:
    """How much at once and how long, in this deployment."""

    width: int
    """Steps of a prewarm run side by side."""
    step_limit: timedelta
    quiet: timedelta
    """How long later facts of a day gather before they are looked at."""


@value_class
class PlannedStep:
    """A step to be."""

    name: str
    app_type: str
    subject: Subject
    after: tuple[str, ...]


def plan(chain: ChainDefinition, subject: Subject, site: Site) -> tuple[PlannedStep, ...]:
    """The steps of a run in order, those left out whose subject lacks what they are for."""
    kept = [step for step in chain.steps if not step.when or step.when in subject.parts]
    repeated = {step.name: _repeated(step, subject, site) for step in kept}
    return tuple(
        PlannedStep(
            name,
            step.app_type,
            about,
            tuple(before for awaited in step.after for before, _ in repeated.get(awaited, ())),
        )
        for step in kept
        for name, about in repeated[step.name]
    )


def _repeated(step: StepDefinition, subject: Subject, site: Site) -> Sequence[tuple[str, Subject]]:
    if not step.each:
        return [(step.name, subject)]
    lists = [
        site.time_dimensions if each == "time_dimensions" else [one for one in site.areas if one != ALL]
        for each in step.each
    ]
    return [
        (
            f"{step.name}:{'__'.join(chosen)}",
            replace(
                subject,
                time_dimension=dict(zip(step.each, chosen, strict=True)).get("time_dimensions", ""),
                area=dict(zip(step.each, chosen, strict=True)).get("areas", ALL),
            ),
        )
        for chosen in product(*lists)
    ]


def about(app: AppDefinition, subject: Subject) -> Subject:
    """What an app is told of a subject: what it needs and no more, so that the same facts make the same prompt."""
    told = {part: value for part, value in subject.parts.items() if part in app.needs}
    if "time_dimension" in app.needs:
        told["area"] = subject.area or ALL
    return Subject(subject.store_id, **told)


def day_of(now: datetime, zone: ZoneInfo) -> str:
    """The day of the store's calendar."""
    return now.astimezone(zone).date().isoformat()


def dedup_key(chain: ChainDefinition, subject: Subject, day: str) -> str:
    """Of which a store has one run."""
    return "|".join((chain.event_type, day, *(subject.parts.get(part, "") for part in chain.dedup)))


def lacking(needs: Sequence[str], subject: Subject) -> list[str]:
    """What *needs* names and the subject has not."""
    return [part for part in needs if part not in subject.parts]


def limit_of(steps: int, pace: Pace, *, prewarm: bool) -> timedelta:
    """How long a run of so many steps may take."""
    if prewarm:
        return pace.step_limit * math.ceil(steps / pace.width) + PREWARM_SLACK
    return pace.step_limit * CHAIN_STEPS
