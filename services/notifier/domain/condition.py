"""When a rule acts: a CEL expression over the event's fields, checked against their types before it is stored.

    total > 1000.0 && table_number.startsWith("V")

CEL (github.com/google/cel-spec) cannot loop, call out or change anything. A field is a variable of its own; one that the
event leaves out is empty text, 0, false or an empty list, and ``"reason" in given`` tells. ``store_id`` is there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]  # ships stubs, but no py.typed

from shared.errors import Invalid, Violation
from shared.events.kinds import Field, FieldKind

CONDITION_MOST = 1024
"""Bytes of UTF-8 a condition may have."""

GIVEN, STORE = "given", "store_id"
"""Variables that are no fields: the names of the fields that the event has, and its store."""

_NUMBERS = frozenset({FieldKind.MONEY, FieldKind.QUANTITY, FieldKind.SCORE})
_TYPES: Mapping[FieldKind, tuple[Any, object]] = {
    FieldKind.MONEY: (cel.Type.DOUBLE, 0.0),
    FieldKind.QUANTITY: (cel.Type.DOUBLE, 0.0),
    FieldKind.SCORE: (cel.Type.DOUBLE, 0.0),
    FieldKind.COUNT: (cel.Type.INT, 0),
    FieldKind.FLAG: (cel.Type.BOOL, False),
    FieldKind.ANY: (cel.Type.DYN, None),
}
_TEXT = (cel.Type.STRING, "")
_OBJECTION = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_WORD = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]*\b")


class Unanswerable(Exception):
    """The condition has no answer for this event: a division by zero, an index that is not there."""


class Condition:
    """A checked expression, ready to be asked."""

    def __init__(self, words: str, fields: Mapping[str, Field]) -> None:
        """Raises Invalid for the field ``condition``, every objection with its line, column and remedy."""
        if len(words.encode()) > CONDITION_MOST:
            raise Invalid.field("condition", f"has more than {CONDITION_MOST} bytes; shorten it")
        self.text = words
        self._fields = {name: field for name, field in fields.items() if name in set(_WORD.findall(words))}
        variables = {GIVEN: cel.Type.List(cel.Type.STRING), STORE: cel.Type.STRING}
        variables |= {name: _type(field) for name, field in fields.items()}
        try:
            self._expression = cel.NewEnv(variables=variables).compile(words)
        except RuntimeError as error:
            raise _refusal(str(error), fields) from None
        if self._expression.return_type() != cel.Type.BOOL:
            raise Invalid.field("condition", "must be true or false; compare with something")

    def holds(self, data: Mapping[str, object], store_id: str) -> bool:
        """Whether it is true of an event. Raises ``Unanswerable``."""
        values: dict[str, object] = {GIVEN: list(data), STORE: store_id}
        try:
            values |= {name: _value(field, data.get(name)) for name, field in self._fields.items()}
            answer = self._expression.eval(data=values)
        except (RuntimeError, TypeError, ValueError):
            # Of a type that the contract does not know, nobody has checked what is in the fields.
            raise Unanswerable("a field is not of the kind that the rule declares") from None
        if answer.type() != cel.Type.BOOL:
            raise Unanswerable(str(answer.value())[:200])
        return bool(answer.value())

    def facts(self, data: Mapping[str, object]) -> str:
        """What it looked at, for people: ``total = 80.00, table_number = A01``; personal values left out."""
        shown = (
            f"{name} = {_shown(field, data.get(name))}"
            for name, field in self._fields.items()
            if not field.kind.personal
        )
        return ", ".join(shown)


def _type(field: Field) -> Any:
    kind, _ = _TYPES.get(field.kind, _TEXT)
    return cel.Type.List(kind) if field.repeated else kind


def _value(field: Field, value: object) -> object:
    if field.repeated:
        return [_one(field, item) for item in value] if isinstance(value, list) else []
    return _one(field, value)


def _one(field: Field, value: object) -> object:
    if value is None:
        return _TYPES.get(field.kind, _TEXT)[1]
    return float(str(value)) if field.kind in _NUMBERS else value


def _shown(field: Field, value: object) -> str:
    if value is None:
        return "—"
    return f"{len(value)} elements" if isinstance(value, list) else str(value)[:60]


def _refusal(objections: str, fields: Mapping[str, Field]) -> Invalid:
    found = [
        Violation("condition", f"line {line}, column {column}: {_remedied(words, fields)}")
        for line, column, words in _OBJECTION.findall(objections)
    ] or [Violation("condition", "is not a CEL expression")]
    return Invalid("FIELD_INVALID", f"condition: {found[0].description}", violations=found)


def _remedied(words: str, fields: Mapping[str, Field]) -> str:
    words = words.strip().removesuffix("(in container '')").rstrip()
    if "undeclared reference" in words:
        return f"{words}; the event has {', '.join(sorted(fields)) or 'no declared fields'}"
    if "(double, int)" in words or "(int, double)" in words:
        return f"{words}; write a whole number with a point where it meets a decimal one, like 100.0"
    return words
