"""What is known of somebody or something that may be wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from datetime import date
from typing import Final

import orjson

from services.kf_session.domain.matching.text import fold, terms
from shared.errors import Invalid
from shared.values import value_class

TEXT_MOST: Final = 2000
"""Characters of a profile's text."""
FIELDS_MOST: Final = 50
TERM_MOST: Final = 128
"""Characters of a term; a longer word is found by its beginning and hash."""

Value = str | float | date | tuple[str, ...]
"""A text, a number, a day, or several texts (tags)."""


@value_class
class Profile:
    """One profile, as conditions look at it."""

    id: str
    name: str = field(repr=False)
    text: str = field(repr=False)
    fields: Mapping[str, Value] = field(default_factory=dict, hash=False, repr=False)
    """By their names, which are compared as they are."""

    def fingerprint(self) -> str:
        """What conditions look at, as a hash: a new name, or the same in other widths, is no change."""
        seen = [fold(self.text), {name: _canonical(value) for name, value in self.fields.items()}]
        return hashlib.sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]

    def searched(self) -> tuple[str, ...]:
        """What keywords are looked for in, folded: the text, and the fields that are texts. Not the name."""
        told = [text for value in self.fields.values() for text in texts_of(value)]
        return tuple(fold(one) for one in (self.text, *told))

    def terms(self) -> frozenset[str]:
        """All it can be found by."""
        found = {term for text in self.searched() for term in terms(text)}
        for name, value in self.fields.items():
            found.add(has_term(name))
            found.update(equals_term(name, form) for form in _forms(value))
        return frozenset(map(bounded, found))

    def to_json(self) -> dict[str, object]:
        """The fields as plain JSON, their types kept."""
        return {name: _stored(value) for name, value in self.fields.items()}

    @classmethod
    def from_json(cls, id: str, name: str, text: str, stored: Mapping[str, Mapping[str, object]]) -> Profile:  # noqa: A002  # its name
        """What ``to_json`` stored."""
        return cls(id, name, text, {key: _restored(value) for key, value in stored.items()})


def texts_of(value: Value | None) -> tuple[str, ...]:
    """The texts among a field's values."""
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, tuple) else ()


def number_form(value: float) -> str:
    """One way to write a number, however it came."""
    return format(value + 0.0, ".15g")


def wanted_forms(text: str) -> frozenset[str]:
    """What a value of a condition may be equal to: itself, folded, and the number that it writes."""
    forms = {fold(text)}
    with suppress(ValueError):  # of what is no number: only a text can be equal to it
        forms.add(number_form(float(text)))
    return frozenset(forms)


def is_equal(value: Value, wanted: frozenset[str]) -> bool:
    """Whether a field's value, or one of several, is among *wanted*."""
    return not wanted.isdisjoint(_forms(value))


def has_term(name: str) -> str:
    """The term of every profile that has the field."""
    return f"h:{name}"


def equals_term(name: str, form: str) -> str:
    """The term of every profile whose field has that value."""
    return f"e:{name}={form}"


def bounded(term: str) -> str:
    """*term* in a length that an index takes."""
    if len(term) <= TERM_MOST:
        return term
    return f"{term[: TERM_MOST - 33]}#{hashlib.sha256(term.encode()).hexdigest()[:32]}"


def _forms(value: Value) -> tuple[str, ...]:
    if isinstance(value, date):
        return (value.isoformat(),)
    if isinstance(value, str | tuple):
        return tuple(fold(text) for text in texts_of(value))
    return (number_form(value),)


def _canonical(value: Value) -> list[str]:
    return [_kind(value), *_forms(value)]


def _kind(value: Value) -> str:
    if isinstance(value, date):
        return "date"
    return "text" if isinstance(value, str) else "texts" if isinstance(value, tuple) else "number"


def _stored(value: Value) -> dict[str, object]:
    plain = (
        value.isoformat() if isinstance(value, date) else list(value) if isinstance(value, tuple) else value
    )
    return {_kind(value): plain}


def _restored(stored: Mapping[str, object]) -> Value:
    ((kind, value),) = stored.items()
    if kind == "texts" and isinstance(value, list):
        return tuple(map(str, value))
    if kind == "number" and isinstance(value, int | float):
        return float(value)
    return date.fromisoformat(str(value)) if kind == "date" else str(value)


def check(profile: Profile, place: str) -> None:
    """Raise Invalid unless *profile* is one that can be kept; *place* begins the field's path."""
    if len(profile.text) > TEXT_MOST:
        raise Invalid.field(f"{place}.text", f"has {len(profile.text)} characters; at most {TEXT_MOST}")
    if len(profile.fields) > FIELDS_MOST:
        raise Invalid.field(f"{place}.fields", f"at most {FIELDS_MOST}")
    for name, value in profile.fields.items():
        if isinstance(value, float) and not abs(value) <= 1e15:
            raise Invalid.field(f"{place}.fields[{name}]", "must be a number from -1e15 to 1e15")
