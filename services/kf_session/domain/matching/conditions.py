"""The conditions of an intent: what each looks at, when it is met, and how it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Final

from services.kf_session.domain.matching.profile import (
    Profile,
    Value,
    bounded,
    equals_term,
    has_term,
    is_equal,
    number_form,
    texts_of,
    wanted_forms,
)
from services.kf_session.domain.matching.text import anchor, fold, mentions
from shared.errors import Invalid
from shared.values import value_class

VALUES_MOST: Final = 50
WEIGHT_MOST: Final = 100


class Among(StrEnum):
    """How many of the keywords must be there."""

    ANY = "any"
    ALL = "all"
    NONE = "none"


class Comparison(StrEnum):
    """How a field is compared with values."""

    EQUALS = "equals"
    """Its value is one of them."""
    CONTAINS = "contains"
    """Its text mentions one of them."""


@value_class
class Keywords:
    """Words in the text of a profile."""

    words: tuple[str, ...]
    among: Among
    weight: int = 1
    required: bool = False

    def met(self, profile: Profile) -> bool:
        """Whether it holds."""
        found = self._found(profile)
        if self.among is Among.ALL:
            return len(found) == len(self.words)
        return bool(found) if self.among is Among.ANY else not found

    def _found(self, profile: Profile) -> list[str]:
        searched = profile.searched()
        return [word for word in self.words if any(mentions(text, fold(word)) for text in searched)]

    def anchors(self) -> frozenset[str] | None:
        """Terms of which a profile that meets it has one; None: nothing tells, as with what must be absent."""
        if self.among is Among.NONE:
            return None
        words = self.words if self.among is Among.ANY else (max(self.words, key=len),)
        return frozenset(bounded(term) for word in words if (term := anchor(fold(word))) is not None)

    def say(self) -> str:
        """The condition in words."""
        listed = "、".join(f"“{word}”" for word in self.words)
        if len(self.words) == 1:
            return f"未提到{listed}" if self.among is Among.NONE else f"提到{listed}"
        words = {Among.ANY: "提到{}之一", Among.ALL: "同时提到{}", Among.NONE: "未提到{}"}
        return words[self.among].format(listed)

    def evidence(self, profile: Profile) -> str:
        """What of the profile meets it, in words."""
        if self.among is not Among.ANY or len(self.words) == 1:
            return self.say()
        return "提到" + "、".join(f"“{word}”" for word in self._found(profile))


@value_class
class FieldIs:
    """A field's value."""

    field: str
    test: Comparison
    values: tuple[str, ...]
    weight: int = 1
    required: bool = False

    def met(self, profile: Profile) -> bool:
        """Whether it holds."""
        value = profile.fields.get(self.field)
        return value is not None and any(self._fits(value, wanted) for wanted in self.values)

    def _fits(self, value: Value, wanted: str) -> bool:
        if self.test is Comparison.EQUALS:
            return is_equal(value, wanted_forms(wanted))
        return any(mentions(fold(text), fold(wanted)) for text in texts_of(value))

    def anchors(self) -> frozenset[str] | None:
        """See ``Keywords``."""
        if self.test is Comparison.EQUALS:
            forms = {form for value in self.values for form in wanted_forms(value)}
            return frozenset(bounded(equals_term(self.field, form)) for form in forms)
        # Keywords are looked for in the fields as well, so a text's terms are the profile's.
        return frozenset(bounded(term) for one in self.values if (term := anchor(fold(one))) is not None)

    def say(self) -> str:
        """See ``Keywords``."""
        listed = "、".join(f"“{value}”" for value in self.values)
        some = "" if len(self.values) == 1 else "之一"
        return f"{self.field}{'是' if self.test is Comparison.EQUALS else '包含'}{listed}{some}"

    def evidence(self, profile: Profile) -> str:
        """See ``Keywords``."""
        value = profile.fields.get(self.field)
        held = [wanted for wanted in self.values if value is not None and self._fits(value, wanted)]
        listed = "、".join(f"“{one}”" for one in held)
        return f"{self.field}{'是' if self.test is Comparison.EQUALS else '包含'}{listed}"


@value_class
class Between:
    """A number or a day within limits, both included; None is no limit."""

    field: str
    low: float | date | None
    high: float | date | None
    weight: int = 1
    required: bool = False

    def met(self, profile: Profile) -> bool:
        """Whether it holds; a value of another type does not meet it."""
        value = profile.fields.get(self.field)
        if isinstance(value, date):
            return _within(value, self.low, self.high)
        return isinstance(value, float) and _within(value, self.low, self.high)

    def anchors(self) -> frozenset[str] | None:
        """See ``Keywords``."""
        return frozenset({bounded(has_term(self.field))})

    def say(self) -> str:
        """See ``Keywords``."""
        if self.high is None:
            return f"{self.field}不低于{_shown(self.low)}"
        if self.low is None:
            return f"{self.field}不高于{_shown(self.high)}"
        return f"{self.field}在{_shown(self.low)}至{_shown(self.high)}之间"

    def evidence(self, profile: Profile) -> str:
        """See ``Keywords``."""
        value = profile.fields.get(self.field)
        shown = _shown(value) if isinstance(value, float | date) else ""
        return f"{self.field}为{shown}（{self.say()}）"


Condition = Keywords | FieldIs | Between


def _within(value: float | date, low: float | date | None, high: float | date | None) -> bool:
    return (low is None or _ordered(low, value)) and (high is None or _ordered(value, high))


def _ordered(one: float | date, other: float | date) -> bool:
    """Whether *one* is not above *other*; a number and a day have no order."""
    if isinstance(one, date):
        return isinstance(other, date) and one <= other
    return not isinstance(other, date) and one <= other


def _shown(value: float | date | None) -> str:
    return value.isoformat() if isinstance(value, date) else number_form(value or 0.0)


def to_json(condition: Condition) -> dict[str, object]:
    """A condition as plain JSON."""
    common: dict[str, object] = {"weight": condition.weight, "required": condition.required}
    if isinstance(condition, Keywords):
        return {"kind": "keywords", "words": list(condition.words), "among": condition.among.value} | common
    if isinstance(condition, FieldIs):
        own = {"field": condition.field, "test": condition.test.value, "values": list(condition.values)}
        return {"kind": "field", **own, **common}
    days = isinstance(condition.low if condition.low is not None else condition.high, date)
    limits = {
        name: limit.isoformat() if isinstance(limit, date) else limit
        for name, limit in (("low", condition.low), ("high", condition.high))
    }
    return {"kind": "days" if days else "numbers", "field": condition.field, **limits, **common}


def from_json(stored: Mapping[str, object]) -> Condition:
    """What ``to_json`` stored."""
    weight, required = int(str(stored["weight"])), bool(stored["required"])
    if stored["kind"] == "keywords":
        return Keywords(_texts(stored["words"]), Among(str(stored["among"])), weight, required)
    name = str(stored["field"])
    if stored["kind"] == "field":
        return FieldIs(name, Comparison(str(stored["test"])), _texts(stored["values"]), weight, required)
    read = date.fromisoformat if stored["kind"] == "days" else float
    low, high = (None if stored[end] is None else read(str(stored[end])) for end in ("low", "high"))
    return Between(name, low, high, weight, required)


def _texts(stored: object) -> tuple[str, ...]:
    assert isinstance(stored, list)
    return tuple(map(str, stored))


def check(conditions: Sequence[Condition], place: str) -> None:
    """Raise Invalid for a condition that can never be met, or looks for nothing."""
    for at, one in enumerate(conditions):
        here = f"{place}[{at}]"
        if not 1 <= one.weight <= WEIGHT_MOST:
            raise Invalid.field(f"{here}.weight", f"must be from 1 to {WEIGHT_MOST}")
        if isinstance(one, Between):
            _check_limits(one, here)
        else:
            _check_words(one, here)


def _check_words(one: Keywords | FieldIs, here: str) -> None:
    words = one.words if isinstance(one, Keywords) else one.values
    if not 1 <= len(words) <= VALUES_MOST:
        raise Invalid.field(here, f"needs 1 to {VALUES_MOST} values")
    exact = isinstance(one, FieldIs) and one.test is Comparison.EQUALS
    for word in words:
        if not fold(word) or not (exact or anchor(fold(word))):
            raise Invalid.field(here, f"“{word}” has no letter, digit or ideograph to look for")


def _check_limits(one: Between, here: str) -> None:
    low, high = one.low, one.high
    if low is None and high is None:
        raise Invalid.field(here, "needs a limit")
    if low is not None and high is not None and not _ordered(low, high):
        raise Invalid.field(here, "its limits are the wrong way round")
