"""What an operator tells a playbook: typed, with a default, a range and a help; and how it is shown in texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from enum import StrEnum
from typing import Final

from services.campaign.domain.window import NIGHT
from shared.errors import Invalid, Violation
from shared.values import value_class

LINK_BYTES: Final = 2048
WORD_CHARS: Final = 64
_WEEKDAYS: Final = "一二三四五六日"
_TONE: Final = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_BETWEEN: Final = re.compile(r"[,，、]")

Value = str | int | date | time | tuple[str, ...]
"""What was read: of a text, a link and a tone a str, which is empty where nothing was said."""


class Kind(StrEnum):
    """What a parameter is."""

    TEXT = "text"
    """One line; its range is in characters."""
    NUMBER = "number"
    """Whole; its range is its own."""
    DATE = "date"
    """``YYYY-MM-DD``; its range is in days from the day on which the playbook begins."""
    TIME = "time"
    """``HH:MM``, by day."""
    LINK = "link"
    """https, to a host that is allowed."""
    TONE = "tone"
    """Name of a tone profile."""
    WORDS = "words"
    """Separated by commas; its range is how many."""


RANGES: Final[Mapping[Kind, tuple[int, int]]] = {
    Kind.TEXT: (0, 200),
    Kind.NUMBER: (0, 3650),
    Kind.DATE: (0, 365),
    Kind.WORDS: (0, 50),
}
"""Of the kinds that have a range, the widest there may be."""


@value_class
class Parameter:
    """One of them, as its playbook declares it."""

    name: str
    kind: Kind
    title: str
    help: str
    default: str
    needed: bool
    """Whether something has to be said where the default is empty."""
    least: int
    most: int


def read(parameters: Iterable[Parameter], given: Mapping[str, str], today: date) -> dict[str, Value]:
    """The values by name, defaults where nothing is given. Raises Invalid naming every one that is wrong.

    *today* is the day on which the playbook begins.
    """
    declared = {one.name: one for one in parameters}
    wrong = [
        Violation(_field(name), f"is no parameter of the playbook; there are {', '.join(declared)}")
        for name in sorted(set(given) - set(declared))
    ]
    values: dict[str, Value] = {}
    for one in declared.values():
        try:
            values[one.name] = value_of(one, given.get(one.name, "").strip() or one.default, today)
        except Invalid as refusal:
            wrong += refusal.violations
    if wrong:
        raise Invalid("FIELD_INVALID", f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
    return values


def value_of(parameter: Parameter, said: str, today: date) -> Value:
    """The value that *said* is. Raises Invalid naming the parameter."""
    if not said and parameter.needed:
        raise _wrong(parameter, f"is missing: {parameter.title}")
    return _READERS[parameter.kind](parameter, said, today)


def shown(value: Value) -> str:
    """How a text shows it; '' where nothing was said."""
    if isinstance(value, date):
        return f"{value.month}月{value.day}日（周{_WEEKDAYS[value.weekday()]}）"
    if isinstance(value, time):
        return f"{value:%H:%M}"
    if isinstance(value, tuple):
        return "、".join(value)
    return str(value)


def said_of(value: Value) -> str:
    """What an operator would write for it: ``read`` makes the same of it."""
    if isinstance(value, date):
        return value.isoformat()
    return ",".join(value) if isinstance(value, tuple) else shown(value)


def _field(name: str) -> str:
    return f"parameters.{name}"


def _wrong(parameter: Parameter, description: str) -> Invalid:
    return Invalid.field(_field(parameter.name), description)


def _text(parameter: Parameter, said: str, today: date) -> Value:
    if any(not char.isprintable() for char in said):
        raise _wrong(parameter, "is one line, without control characters")
    if said and not parameter.least <= len(said) <= parameter.most:
        raise _wrong(
            parameter, f"has {len(said)} characters; write {parameter.least:,} to {parameter.most:,}"
        )
    return said


def _number(parameter: Parameter, said: str, today: date) -> Value:
    if _NUMBER.fullmatch(said) is None or not parameter.least <= int(said) <= parameter.most:
        raise _wrong(parameter, f"must be a whole number from {parameter.least:,} to {parameter.most:,}")
    return int(said)


def _date(parameter: Parameter, said: str, today: date) -> Value:
    try:
        day = date.fromisoformat(said) if _DATE.fullmatch(said) else None
    except ValueError:
        day = None
    if day is None:
        raise _wrong(parameter, "must be a date, such as 2026-10-01")
    if not parameter.least <= (day - today).days <= parameter.most:
        bounds = f"{parameter.least:,} to {parameter.most:,} days behind {today.isoformat()}"
        raise _wrong(parameter, f"must lie {bounds}, the day on which the playbook begins")
    return day


def _time(parameter: Parameter, said: str, today: date) -> Value:
    match, (evening, morning) = _CLOCK.fullmatch(said), NIGHT
    found = None if match is None else time(int(match[1]), int(match[2]))
    if found is None or not morning <= found <= evening:
        raise _wrong(parameter, f"must be HH:MM from {morning:%H:%M} to {evening:%H:%M}")
    return found


def _link(parameter: Parameter, said: str, today: date) -> Value:
    if said and (not said.startswith("https://") or not said.isprintable() or " " in said):
        raise _wrong(parameter, "must be a link that begins with https://")
    if len(said.encode()) > LINK_BYTES:
        raise _wrong(parameter, f"has more than {LINK_BYTES} bytes")
    return said


def _tone(parameter: Parameter, said: str, today: date) -> Value:
    if said and _TONE.fullmatch(said) is None:
        raise _wrong(parameter, "must be the name of a tone profile; ListTones names those there are")
    return said


def _words(parameter: Parameter, said: str, today: date) -> Value:
    found = tuple(dict.fromkeys(word for part in _BETWEEN.split(said) if (word := part.strip())))
    if found and not parameter.least <= len(found) <= parameter.most:
        raise _wrong(parameter, f"has {len(found)} words; write {parameter.least:,} to {parameter.most:,}")
    if any(len(word) > WORD_CHARS or not word.isprintable() for word in found):
        raise _wrong(
            parameter, f"has a word of more than {WORD_CHARS} characters, or one that nobody can see"
        )
    return found


_READERS: Final[Mapping[Kind, Callable[[Parameter, str, date], Value]]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.LINK: _link,
    Kind.TONE: _tone,
    Kind.WORDS: _words,
}
