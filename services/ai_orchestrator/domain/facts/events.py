"""From a business event to the fact that it tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from services.ai_orchestrator.domain.facts.kinds import (
    Fact,
    Item,
    Kind,
    MemberFact,
    NoteFact,
    TaskFact,
    VisitFact,
)
from services.ai_orchestrator.domain.facts.reading import cents_of, instant_of, item_of, seconds_of
from shared.events.kinds import Event

T = TypeVar("T")


def fact_of(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact] | None:
    """What to keep of *event*, which the contract has checked; None where it tells of no fact.

    The event's id is the fact's, so that a visit that is loaded under the same id is the same visit. What a publisher
    may leave open and fills with nonsense (an item without a name, a stay of minus three minutes) counts as not said;
    a time outside the calendar is that of the event.
    """
    reader = _FACTS.get(event.type)
    return None if reader is None else reader(event, zone)


def _visit(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact]:
    data = event.data
    items = data.get("items")
    read = [_maybe(one, item_of) for one in items] if isinstance(items, list) else []
    return Kind.VISIT, VisitFact(
        visit_id=event.id,
        settled_at=_when(event, "settled_time", zone),
        cents=cents_of(data["amount"]),
        member_id=str(data["member_id"]),
        assistant_id=str(data["assistant_id"])
        if data["has_assistant"] and data.get("assistant_id")
        else None,
        area=_text(data, "area"),
        seconds=_maybe(data.get("duration_minutes"), seconds_of),
        items=tuple(one for one in read if isinstance(one, Item)),
    )


def _note(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact]:
    data = event.data
    at = _when(event, "noted_by_created_at", zone)
    told = NoteFact(
        event.id, str(data["member_id"]), str(data["note_content"]), str(data["noted_by_name"]), at
    )
    return Kind.NOTE, told


def _task(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact]:
    data = event.data
    return Kind.TASK, TaskFact(event.id, str(data["member_id"]), str(data["assistant_id"]), _at(event))


def _points(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact]:
    data = event.data
    points = data["balance"]
    assert isinstance(points, int | float)  # the contract says so
    told = MemberFact(str(data["member_id"]), _at(event), str(data["member_name"]), points=float(points))
    return Kind.MEMBER, told


def _level(event: Event, zone: ZoneInfo) -> tuple[Kind, Fact]:
    data = event.data
    told = MemberFact(str(data["member_id"]), _at(event), str(data["member_name"]), str(data["new_level"]))
    return Kind.MEMBER, told


_FACTS: Final[Mapping[str, Callable[[Event, ZoneInfo], tuple[Kind, Fact]]]] = {
    "consumption.settled": _visit,
    "note.created": _note,
    "task.assigned": _task,
    "member.points_changed": _points,
    "member.upgraded": _level,
}

TYPES: Final = tuple(_FACTS)
"""Types of events that tell of a fact."""


def _at(event: Event) -> datetime:
    return event.occurred_at or event.received_at


def _when(event: Event, name: str, zone: ZoneInfo) -> datetime:
    return _maybe(event.data.get(name), lambda value: instant_of(value, zone)) or _at(event)


def _text(data: Mapping[str, object], name: str) -> str | None:
    value = data.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _maybe(value: object, parse: Callable[[object], T]) -> T | None:
    """The value, or None where it is none."""
    try:
        return None if value is None else parse(value)
    except ValueError:
        return None
