"""One form for one fact: payloads checked and coerced by their fields' kinds, and a hash over the result."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import orjson

from shared.errors import Invalid, Violation
from shared.events.kinds import EventType, Field, FieldKind, parse_when


class Unreadable(Invalid):
    """An event that cannot be taken as it is; trying again will not help.

    ``dead_reason`` is the stable word it is parked under: ``decode`` (not the encoding it claims to be), ``schema``
    (an envelope or data that does not fit, every violation listed), ``oversize``, ``store_missing``,
    ``store_mismatch`` (two different stores), ``id_invalid``.
    """

    def __init__(self, dead_reason: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__("EVENT_UNREADABLE", message, violations=violations, dead_reason=dead_reason)
        self.dead_reason = dead_reason
        self.event_id: str | None = None
        self.event_type: str | None = None
        self.store_id: str | None = None

    @classmethod
    def listing(cls, violations: Sequence[Violation]) -> Unreadable:
        """Data or attributes that do not fit: says all of it at once."""
        return cls("schema", "; ".join(f"{v.field}: {v.description}" for v in violations), violations)


class _Bad(Exception):
    """What is wrong with one value and how to put it right."""


_MONEY = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,4})?", re.ASCII)
_PHONE = re.compile(r"[0-9+*() .#-]{3,64}", re.ASCII)
_CENT = Decimal("0.01")
_LARGEST_COUNT = 2**31 - 1
_EXACT = 2**53
"""Below this a double holds every whole number."""


def _text(value: object, field: Field) -> str:
    if type(value) is int:  # a number where an identifier is meant: its digits, which lose nothing
        value = str(value)
    if not isinstance(value, str):
        raise _Bad(f"must be a string, not {_name(value)}")
    if field.required and not value.strip():
        raise _Bad("must not be empty")
    if field.max_length is not None and len(value) > field.max_length:
        raise _Bad(f"must be at most {field.max_length} characters, has {len(value)}")
    return value


def _phone(value: object, field: Field) -> str:
    text = _text(value, field)
    if text and not _PHONE.fullmatch(text):
        raise _Bad("must be a telephone number of digits, spaces and + - ( )")
    return text


def _money(value: object, field: Field) -> str:
    if isinstance(value, str):
        if not _MONEY.fullmatch(value):
            raise _Bad('must be yuan as a decimal string such as "280.00", at most 4 decimals')
        amount = Decimal(value)
    elif type(value) is int or type(value) is float:
        amount = _from_number(value)
    else:
        raise _Bad(f'must be yuan as a decimal string such as "280.00", not {_name(value)}')
    cents = amount.quantize(_CENT, ROUND_HALF_EVEN)
    text = f"{cents:f}" if cents == amount else f"{amount.normalize():f}"
    return "0.00" if text == "-0.00" else text


def _from_number(value: float) -> Decimal:
    if not math.isfinite(value) or abs(value) >= 1e12:
        raise _Bad("must be finite and below 1,000,000,000,000")
    amount = Decimal(repr(value))
    rounded = round(amount, 4)
    if abs(amount - rounded) > Decimal("1e-7"):  # more than the noise of binary fractions
        raise _Bad("must have at most 4 decimals")
    return rounded


def _quantity(value: object, _: Field) -> float:
    if type(value) is not int and type(value) is not float:
        raise _Bad(f"must be a number, not {_name(value)}")
    if not math.isfinite(value) or abs(value) > _EXACT:
        raise _Bad("must be a finite number between -2^53 and 2^53")
    return int(value) if value == int(value) else value


def _count(value: object, field: Field) -> int:
    number = _quantity(value, field)
    if not isinstance(number, int) or not 0 <= number <= _LARGEST_COUNT:
        raise _Bad("must be a whole number, not negative, below 2^31")
    return number


def _score(value: object, field: Field) -> float:
    number = _quantity(value, field)
    if not 0 <= number <= 1:
        raise _Bad("must be between 0 and 1")
    return number


def _flag(value: object, _: Field) -> bool:
    if not isinstance(value, bool):
        raise _Bad(f"must be true or false, not {_name(value)}")
    return value


def _instant(value: object, field: Field) -> str:
    text = _text(value, field)
    try:
        if text:
            parse_when(text)
    except ValueError:
        raise _Bad(
            "must be an RFC 3339 instant such as 2026-02-20T12:30:00+08:00, without the zone for local time"
        ) from None
    return text


def _date(value: object, field: Field) -> str:
    text = _instant(value, field)
    if text and len(text) != len("2026-02-20"):
        raise _Bad("must be a day such as 2026-02-20")
    return text


def _any(value: object, _: Field) -> object:
    return value


_COERCE: Mapping[FieldKind, Callable[[object, Field], object]] = {
    FieldKind.TEXT: _text,
    FieldKind.ID: _text,
    FieldKind.NAME: _text,
    FieldKind.USERID: _text,
    FieldKind.PHONE: _phone,
    FieldKind.MONEY: _money,
    FieldKind.QUANTITY: _quantity,
    FieldKind.COUNT: _count,
    FieldKind.SCORE: _score,
    FieldKind.FLAG: _flag,
    FieldKind.INSTANT: _instant,
    FieldKind.DATE: _date,
    FieldKind.ANY: _any,
}


def _name(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a string")


def normalise(known: EventType, data: Mapping[str, object]) -> dict[str, object]:
    """Check *data* against its type and give each known field its one form; unknown fields are kept as they are.

    An optional field that is null is absent. Raises ``Unreadable`` ("schema") that lists every violation.
    """
    result: dict[str, object] = {}
    violations: list[Violation] = []
    for field in known.fields:
        value = data.get(field.name)
        if value is None:
            if field.required:
                violations.append(Violation(field.name, "is required"))
        elif field.repeated:
            result[field.name] = _list(field, value, violations)
        else:
            result[field.name] = _one(field, field.name, value, violations)
    if violations:
        raise Unreadable.listing(violations)
    known_names = known.by_name
    result.update((name, value) for name, value in data.items() if name not in known_names)
    return result


def _one(field: Field, path: str, value: object, violations: list[Violation]) -> object:
    try:
        return _COERCE[field.kind](value, field)
    except _Bad as bad:
        violations.append(Violation(path, str(bad)))
        return None


def _list(field: Field, value: object, violations: list[Violation]) -> list[object]:
    if not isinstance(value, list):
        violations.append(Violation(field.name, f"must be a list, not {_name(value)}"))
        return []
    if field.max_items is not None and len(value) > field.max_items:
        violations.append(
            Violation(field.name, f"must have at most {field.max_items} elements, has {len(value)}")
        )
        return []
    return [_one(field, f"{field.name}[{i}]", one, violations) for i, one in enumerate(value)]


def _same_numbers(value: object) -> object:
    """*value* with every number that is whole as an int, however it was written."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, dict):
        return {key: _same_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_same_numbers(one) for one in value]
    return value


def content_hash(event_type: str, store_id: str, data: Mapping[str, object]) -> str:
    """SHA-256, in hex, over what was said: the order of keys and the spelling of whole numbers do not matter.

    *data* is JSON values; of a known type, what ``normalise`` returned.
    """
    body = orjson.dumps([event_type, store_id, _same_numbers(dict(data))], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()
