"""Tables of a TOML document that people write: each value of the kind that is meant, each objection with its place."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import TypeVar

from shared.errors import Invalid

E = TypeVar("E", bound=Enum)
T = TypeVar("T")


def load(document: str) -> Table:
    """The whole document as a table. Raises Invalid, with line and column, where it is no TOML."""
    try:
        return Table(tomllib.loads(document), "")
    except tomllib.TOMLDecodeError as error:
        raise Invalid("FIELD_INVALID", f"is no TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None


class Table:
    """One table, asked for its values by key. Every question may raise Invalid, naming the place and the fix."""

    def __init__(self, plain: Mapping[str, object], place: str) -> None:
        self.plain = plain
        self.place = place

    def only(self, known: Collection[str], hints: Mapping[str, str] | None = None) -> None:
        """Refuse a key that means nothing here: what nobody reads must not look as if it did something."""
        for key in self.plain:
            if key in known:
                continue
            close = difflib.get_close_matches(key, known, 1)
            fix = (hints or {}).get(key) or (
                f"write {close[0]}" if close else f"there are {', '.join(sorted(known))}"
            )
            raise self.wrong(key, f"is not known; {fix}")

    def wrong(self, key: str, description: str) -> Invalid:
        """The objection to the value of *key*."""
        return Invalid.field(f"{self.place} {key}".strip(), description)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; required where there is no *default*."""
        value = self.plain.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        if not isinstance(value, str):
            raise self.wrong(key, "must be text in quotes")
        return value

    def texts(self, key: str, default: list[str] | None = None) -> list[str]:
        """A list of texts; required where there is no *default*."""
        value = self.plain.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(key, 'must be a list of texts, like ["one", "two"]')
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.plain.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false, without quotes")
        return value

    def table(self, key: str) -> Table:
        """The table of *key*, or an empty one."""
        value = self.plain.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "must be a table")
        return Table(value, f"{self.place} {key}".strip())

    def tables(self, key: str) -> list[Table]:
        """The tables of ``[[key]]``, in order."""
        value = self.plain.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, f"must be tables, each under [[{key}]]")
        return [Table(one, f"{key} {number}") for number, one in enumerate(value, start=1)]

    def choice(self, key: str, kinds: Iterable[E], default: E | None = None) -> E:
        """A member of *kinds*, written as its name in small letters."""
        return self.member(key, self.text(key, None if default is None else default.name.lower()), kinds)

    def member(self, key: str, word: str, kinds: Iterable[E]) -> E:
        """The member of *kinds* that *word*, found at *key*, names."""
        names = {one.name.lower(): one for one in kinds}
        if word not in names:
            raise self.wrong(key, f"must be one of {', '.join(names)}, not {word!r}")
        return names[word]

    def each(self, read: Callable[[str, Table], T]) -> list[T]:
        """What *read* makes of each table in this one. Raises Invalid with the first objection to each at once."""
        found: list[T] = []
        refusals: list[Invalid] = []
        for key in self.plain:
            try:
                found.append(read(key, self.table(key)))
            except Invalid as refusal:
                refusals.append(refusal)
        if refusals:
            raise together(refusals)
        return found


def together(refusals: list[Invalid]) -> Invalid:
    """All of *refusals* as one."""
    if len(refusals) == 1:
        return refusals[0]
    violations = [one for refusal in refusals for one in refusal.violations]
    return Invalid(
        refusals[0].reason, "; ".join(refusal.message for refusal in refusals), violations=violations
    )


def as_json(value: object) -> object:
    """A TOML value as JSON has it: instants and days, which JSON lacks, as their texts."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value
