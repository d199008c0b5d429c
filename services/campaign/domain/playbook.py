"""A playbook: which groups are told what on which days, with room for what an operator says. Data; files hold them.

What is written as ``{name}`` is a parameter's. In texts its value is put in once and never looked at again; a line whose
parameters all say nothing is left out. Where a number, a time, words, a link or a tone is wanted, ``{name}`` stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import time
from enum import StrEnum
from typing import Any, Final

from services.campaign.domain.playbook_parameters import Parameter, Value, shown
from shared.errors import Invalid
from shared.values import value_class

DAYS_LEFT: Final = "days_left"
"""What every text of a playbook with an event may show: days from the day it is sent to the event."""

_PLACE: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}", re.ASCII)


class Anchor(StrEnum):
    """What the days of a step are counted from."""

    START = "start"
    """The day on which the playbook begins."""
    EVENT = "event"
    """The day of the event; days before it are negative."""
    CREATED = "created"
    """The day on which a group was created."""
    SILENT = "silent"
    """The last time that somebody joined or left a group."""
    STEP = "step"
    """The day on which a group was told another step."""

    @property
    def repeated(self) -> bool:
        """Whether it is each group's own, so that the step comes back every day."""
        return self not in (Anchor.START, Anchor.EVENT)


@value_class
class Ref:
    """A value that is written out, or a parameter's."""

    value: Value | None = None
    name: str = ""

    def of(self, values: Mapping[str, Value]) -> Value:
        """What it says with these parameters."""
        found = values[self.name] if self.name else self.value
        if found is None:
            raise ValueError("a reference names a parameter or has a value")
        return found

    def number(self, values: Mapping[str, Value]) -> int:
        """The same, of a number."""
        found = self.of(values)
        if not isinstance(found, int):
            raise TypeError(f"{self.name} is no number")
        return found

    def time(self, values: Mapping[str, Value]) -> time:
        """The same, of a time of day."""
        found = self.of(values)
        if not isinstance(found, time):
            raise TypeError(f"{self.name} is no time")
        return found


@value_class
class Card:
    """A link that a step shows; none where its address says nothing."""

    title: str
    url: Ref
    description: str = ""


@value_class
class Writing:
    """What an application is asked for instead of a fixed text."""

    theme: str
    audience: str = ""
    max_chars: int = 120
    rules: tuple[str, ...] = ()


@value_class
class Step:
    """One thing that groups are told, each group once in a run."""

    name: str
    title: str
    anchor: Anchor
    offset: Ref
    """Days from the anchor; of ``silent``, whole days of silence."""
    late: Ref
    """Of ``created``: for how many days more a group may still be told."""
    after: str
    """Of ``step``: which one."""
    weekdays: frozenset[int]
    """Of those that come back every day: only on these, Monday is 0; empty for any."""
    where: Mapping[str, Any] = field(hash=False)
    """A condition of ``reach.campaign.v1.Audience``, with parameters in it; empty: every group."""
    hours: tuple[Ref, Ref]
    """From when until when owners may be asked."""
    open_days: int
    """On how many days, the step's own the first."""
    confirm_hours: int
    text: str
    writing: Writing | None
    card: Card | None
    tone: Ref


@value_class
class Playbook:
    """All steps, and what can be said."""

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    event: str
    """The parameter that is the day of the event; '' where there is none."""
    days: Ref
    """For how many days groups are looked for whose own day has come; 0 where no step comes back."""
    draft_days_before: int
    """How long before its day the campaign of a step is drafted, …"""
    draft_at: Ref
    """… and at what time."""
    steps: tuple[Step, ...]
    document: Mapping[str, Any] = field(hash=False)
    """The content that it was read from."""

    def check(self, values: Mapping[str, Value]) -> None:
        """Raises Invalid where hours end before they begin, or begin before anything is drafted."""
        for number, step in enumerate(self.steps):
            start, end = (one.time(values) for one in step.hours)
            if end <= start:
                name = step.hours[1].name or step.hours[0].name
                raise _untimely(
                    name, f"steps[{number}].hours", f"{step.title}: the hours end before they begin"
                )
            if not self.draft_days_before and start < self.draft_at.time(values):
                name = self.draft_at.name or step.hours[0].name
                text = f"{step.title}: the hours begin at {start:%H:%M}, before its campaign is drafted"
                raise _untimely(name, "draft.at", text)

    def shown(self, values: Mapping[str, Value]) -> dict[str, str]:
        """The parameters as texts show them."""
        return {one.name: shown(values[one.name]) for one in self.parameters}


def places(template: str) -> Iterator[str]:
    """The names of the parameters that a text shows."""
    return (match[1] for match in _PLACE.finditer(template))


def alone(written: object) -> str:
    """The name of the parameter that *written* is and nothing else; ''."""
    match = _PLACE.fullmatch(written) if isinstance(written, str) else None
    return match[1] if match else ""


def fill(template: str, said: Mapping[str, str]) -> str:
    """A text with what is said; lines whose parameters all say nothing are left out."""
    lines = []
    for line in template.strip().splitlines():
        names = list(places(line))
        if names and not any(said[name] for name in names):
            continue
        lines.append(_PLACE.sub(lambda match: said[match[1]], line))
    return "\n".join(lines).strip()


def conditioned(where: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """A condition with what is said; empty where nothing of it is left: who says nothing asks for nothing."""
    if not where:
        return {}
    name, asked = next(iter(where.items()))
    if name in ("all_of", "any_of", "none_of"):
        left = [found for one in asked if (found := conditioned(one, values))]
        return {name: left} if left else {}
    if isinstance(asked, Mapping):
        return {name: {side: _value(one, values) for side, one in asked.items()}}
    if isinstance(asked, list):
        words = [word for one in asked for word in _words(_value(one, values))]
        return {name: words} if words else {}
    plain = _value(asked, values)
    if isinstance(plain, tuple):
        return {name: list(plain)} if plain else {}
    return {name: plain} if plain != "" else {}


def _untimely(parameter: str, place: str, description: str) -> Invalid:
    return Invalid.field(f"parameters.{parameter}" if parameter else place, description)


def _value(written: object, values: Mapping[str, Value]) -> object:
    name = alone(written)
    return values[name] if name else written


def _words(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
