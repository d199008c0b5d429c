"""What arrived against what the rules say. Pure: lists in, complaints out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cli.demo.cast import PEOPLE
from shared.values import value_class


@value_class
class Arrival:
    """A message at one phone or in one group, as the sandbox shows it."""

    to: str
    """Userid, or the robot's key."""
    text: str
    at: datetime


@value_class
class Duty:
    """Words that must arrive, once at each of these people and nowhere else."""

    event_type: str
    says: str
    """What the rule makes of the event; the message may add a reference behind it."""
    people: Sequence[str]


def attribute(
    arrivals: Iterable[Arrival], duties: Iterable[Duty]
) -> tuple[dict[str, list[Arrival]], list[Arrival]]:
    """The arrivals by the type whose words they carry, and those that carry nobody's."""
    by_words = {duty.says: duty.event_type for duty in duties}
    found: dict[str, list[Arrival]] = {}
    strangers = []
    for arrival in arrivals:
        words = next((says for says in by_words if arrival.text.startswith(says)), None)
        if words is None:
            strangers.append(arrival)
        else:
            found.setdefault(by_words[words], []).append(arrival)
    return found, strangers


def complaints(duties: Iterable[Duty], found: Mapping[str, Sequence[Arrival]]) -> list[str]:
    """Everything that is not exactly as the rules say, a line each; empty when all is well."""
    lines = []
    for duty in duties:
        got = Counter(arrival.to for arrival in found.get(duty.event_type, ()))
        wanted = Counter(duty.people)
        lines += [f"{duty.event_type}: nothing arrived at {name(who)}" for who in (wanted - got)]
        lines += [
            f"{duty.event_type}: {count} too many at {name(who)}" for who, count in (got - wanted).items()
        ]
        if not duty.people:
            lines.append(f"{duty.event_type}: its rule names nobody")
    return lines


def name(userid: str) -> str:
    """How people call them."""
    person = PEOPLE.get(userid)
    return f"{person.name} ({userid})" if person is not None else userid
