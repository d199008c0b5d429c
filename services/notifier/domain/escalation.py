"""An urgent message waits for an answer, and climbs without one: from a rule's roles to their deputies to the manager.

    ──▶ OPEN ──nobody left──▶ EXHAUSTED
         │ ▲ │                    │
         │ └─┘ due: next level    │
         └───────answered─────────┴──▶ ACKNOWLEDGED

The first answer counts, also one that comes after everybody was told; nothing leaves ACKNOWLEDGED.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Any, Final

from shared.errors import Invalid
from shared.values import value_class

AFTER_LEAST: Final = timedelta(minutes=1)
AFTER_MOST: Final = timedelta(hours=24)


class State(StrEnum):
    """Where an escalation stands; the words are stored."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    EXHAUSTED = "exhausted"
    """Everybody was told, had their time, and nobody answered."""


class Action(StrEnum):
    """What somebody answers; the words are the keys of a card's buttons."""

    ACKNOWLEDGE = "acknowledge"
    IN_PROGRESS = "in_progress"
    HAND_OVER = "hand_over"
    """Not for these: it climbs at once."""

    @property
    def settles(self) -> bool:
        """Whether it ends the escalation."""
        return self is not Action.HAND_OVER


BUTTONS: Final[Mapping[Action, str]] = {
    Action.ACKNOWLEDGE: "收到",
    Action.IN_PROGRESS: "处理中",
    Action.HAND_OVER: "转派",
}
"""What the buttons say, in their order."""


class Level(IntEnum):
    """Who is told, in order."""

    ROLES = 0
    DEPUTIES = 1
    MANAGER = 2


LEVEL_NAMES: Final[Mapping[Level, tuple[str, str]]] = {
    Level.ROLES: ("岗位", "the rule's roles"),
    Level.DEPUTIES: ("代理人", "their deputies"),
    Level.MANAGER: ("店长", "the manager"),
}


@value_class
class Escalation:
    """What a rule says about it."""

    after: timedelta
    """How long each level has before the next one is told."""

    def to_json(self) -> dict[str, object]:
        """As plain JSON."""
        return {"after_seconds": int(self.after.total_seconds())}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> Escalation | None:
        """What ``to_json`` wrote; None where a rule says nothing."""
        return None if plain is None else cls(timedelta(seconds=plain["after_seconds"]))

    def objections(self, *, urgent: bool, plain_text: bool) -> Iterator[tuple[str, str]]:
        """The fields of a rule that do not go with it, and why."""
        if not AFTER_LEAST <= self.after <= AFTER_MOST or self.after % timedelta(seconds=1):
            yield "escalation.after", "is 1 minute to 24 hours, in whole seconds"
        if not urgent:
            # What may be held on purpose must not climb while it waits.
            yield "escalation", "only an urgent rule escalates; set priority urgent or leave it out"
        if not plain_text:
            yield "format", "a card shows plain text; a rule that escalates is text"


def action_of(key: str) -> Action | None:
    """The action of a button's key; None for a key that is not ours."""
    return Action(key) if key in Action._value2member_map_ else None


def parse_after(text: str) -> timedelta:
    """``90s``, ``5m``, ``2h``. Raises Invalid (FIELD_INVALID) for anything else."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdecimal() or len(number) > 6:
        raise Invalid.field("escalation.after", f"is a number and s, m or h, like 5m; not {text!r}")
    return int(number) * _UNITS[unit]


def spell_after(after: timedelta) -> str:
    """What ``parse_after`` reads."""
    for unit in ("h", "m", "s"):
        if not after % _UNITS[unit]:
            return f"{after // _UNITS[unit]}{unit}"
    raise ValueError("whole seconds only")


_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
