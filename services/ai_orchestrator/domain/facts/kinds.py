"""The facts there are, each known by the store and its id; what is None was not said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum

from services.ai_orchestrator.domain.facts.stores import Area
from shared.values import value_class


class Kind(StrEnum):
    """What a fact is about."""

    STORE = "store"
    MEMBER = "member"
    ASSISTANT = "assistant"
    VISIT = "visit"
    NOTE = "note"
    TASK = "task"


@value_class
class StoreFact:
    """How a store is to be looked at; what is None stays as it was, at first the deployment's."""

    name: str | None = None
    zone: str | None = None
    """IANA."""
    areas: tuple[Area, ...] | None = None
    time_dimensions: tuple[str, ...] | None = None
    active: bool | None = None
    """Whether it is prewarmed."""


@value_class
class MemberFact:
    """A member (会员); each part is kept until something newer is said of it."""

    member_id: str
    known_at: datetime
    name: str | None = None
    level: str | None = None
    points: float | None = None
    joined_on: date | None = None


@value_class
class AssistantFact:
    """An assistant (助教) who looks after members; each part is kept until something newer is said of it."""

    assistant_id: str
    known_at: datetime
    name: str | None = None
    level: str | None = None
    skills: str | None = None
    joined_on: date | None = None


@value_class
class Item:
    """Something consumed."""

    name: str
    thousandths: int
    """How many, in thousandths, so that sums are exact."""
    cents: int | None = None
    """For all of them together."""


@value_class
class VisitFact:
    """A visit that was paid for, or, with a negative amount, a refund."""

    visit_id: str
    settled_at: datetime
    cents: int
    member_id: str | None = None
    """None: a guest."""
    assistant_id: str | None = None
    area: str | None = None
    """As the till calls it; see `Area.names`."""
    seconds: int | None = None
    items: tuple[Item, ...] = ()


@value_class
class NoteFact:
    """What a member of staff wrote about a member."""

    note_id: str
    member_id: str
    content: str
    noted_by: str
    noted_at: datetime


@value_class
class TaskFact:
    """A member who was given to an assistant to look after."""

    task_id: str
    member_id: str
    assistant_id: str
    assigned_at: datetime


Fact = StoreFact | MemberFact | AssistantFact | VisitFact | NoteFact | TaskFact


def member_of(fact: Fact) -> str:
    """Whom it says something of; empty: no member."""
    match fact:
        case MemberFact() | NoteFact() | TaskFact():
            return fact.member_id
        case VisitFact():
            return fact.member_id or ""
        case _:
            return ""


def key_of(fact: Fact) -> str:
    """The fact's id among those of its kind in its store; a store is the only one of its own."""
    match fact:
        case StoreFact():
            return ""
        case MemberFact():
            return fact.member_id
        case AssistantFact():
            return fact.assistant_id
        case VisitFact():
            return fact.visit_id
        case NoteFact():
            return fact.note_id
        case TaskFact():
            return fact.task_id


@value_class
class Profile:
    """What is kept of a member or an assistant."""

    id: str
    name: str | None = None
    level: str | None = None
    joined_on: date | None = None
    more: Mapping[str, object] | None = None
    """What only one of the two has, by its title."""
