"""How a value of an event reads: 280 as 280.00, an instant on the store's clock, a phone with its middle hidden.

A payload is what a publisher sent. A value that is not of its declared kind is shown as it came rather than
refused: people read it, and a kitchen would rather have an odd amount than no order. The exception is a
phone: whatever stands in its place is hidden.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date as Day
from datetime import datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from shared.events.kinds import FieldKind, parse_when

VALUE_LIMIT = 1024
"""Characters of one value that are looked at; a longer one ends in ``…``. No channel shows more than 4,096 bytes."""

MISSING_MARK = "—"
"""What stands for a missing value where the template asks for a placeholder."""

Presenter = Callable[[object, tzinfo], str]

_PLAIN_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,2})?")
_INSTANT_MOST = 40  # characters of the longest RFC 3339 instant, with nanoseconds and offset: 35
_CENT = Decimal("0.01")


def is_missing(value: object) -> bool:
    """Whether there is nothing to show: absent, null, blank or an empty list."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value == []


def text(value: object, zone: tzinfo) -> str:
    """The value as plain text; a list joined with 、, a truth value as 是 or 否, an object left out."""
    if isinstance(value, str):
        return value if len(value) <= VALUE_LIMIT else value[: VALUE_LIMIT - 1] + "…"
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return text("、".join(text(item, zone) for item in value[:VALUE_LIMIT]), zone)
    return MISSING_MARK


def _number(value: int | float) -> str:
    # JSON knows one kind of number: 5 and 5.0 are the same and read 5.
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"{Decimal(value):.6E}"  # also keeps the interpreter's limit on printing integers out of reach
    return str(value)


def money(value: object, zone: tzinfo) -> str:
    """An amount with two decimals, halves rounded up; the sign of the currency is the template's."""
    if isinstance(value, str):
        value = value.strip()
        if _PLAIN_AMOUNT.fullmatch(value):
            whole, _, cents = value.partition(".")
            return f"{whole}.{cents:0<2}"
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return text(value, zone)
    return _exact_money(value, zone)


def _exact_money(value: str | int | float, zone: tzinfo) -> str:
    try:
        amount = Decimal(str(value) if isinstance(value, float) else value)
        if not amount.is_finite():
            return text(value, zone)
        return f"{amount.quantize(_CENT, 'ROUND_HALF_UP'):f}"
    except InvalidOperation:
        # No amount at all, or more digits than any till prints.
        return text(value, zone)


def quantity(value: object, zone: tzinfo) -> str:
    """A number without needless decimals: ``5``, ``2.5``."""
    if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value.strip()):
        value = value.strip()
        return value.rstrip("0").rstrip(".") if "." in value else value
    return text(value, zone)


def instant(value: object, zone: tzinfo) -> str:
    """``2026-02-20 12:30:00`` on the clocks of *zone*; without an offset it is taken to be of that zone.

    A day without a time stays one.
    """
    words = _instant(value, zone) if isinstance(value, str) and len(value) <= _INSTANT_MOST else None
    return text(value, zone) if words is None else words


# Events of one second share their instants, and reading one costs as much as the rest of a message.
@lru_cache(maxsize=4096)
def _instant(value: str, zone: tzinfo) -> str | None:
    local = _local(value, zone)
    if isinstance(local, datetime):
        return local.isoformat(" ", "seconds")[:19]
    return None if local is None else local.isoformat()


def date(value: object, zone: tzinfo) -> str:
    """``2026-02-20``; of an instant, the day on the clocks of *zone*."""
    local = _local(value, zone)
    return text(value, zone) if local is None else local.isoformat()[:10]


def time(value: object, zone: tzinfo) -> str:
    """``12:30``, on the clocks of *zone*; of a day without a time, the day."""
    local = _local(value, zone)
    if isinstance(local, datetime):
        return local.isoformat(" ", "minutes")[11:16]
    return text(value, zone)


def _local(value: object, zone: tzinfo) -> datetime | Day | None:
    if not isinstance(value, str) or len(value) > _INSTANT_MOST:
        return None
    try:
        when = parse_when(value)
        if isinstance(when, datetime) and when.tzinfo is not None:
            return when.astimezone(zone)
    except (ValueError, OverflowError):
        return None
    return when


def phone(value: object, zone: tzinfo) -> str:
    """``138****8000``. Shorter numbers show less, and what holds no number shows nothing.

    A country code of China is left out; nothing but digits of the value is ever shown.
    """
    digits = "".join(
        str(unicodedata.decimal(character))
        for character in unicodedata.normalize("NFKC", text(value, zone)[:64])
        if character.isdecimal()
    )
    for prefix in ("0086", "86"):
        if digits.startswith(prefix + "1") and len(digits) == len(prefix) + 11:
            digits = digits.removeprefix(prefix)
    if len(digits) >= 11:
        return f"{digits[:3]}****{digits[-4:]}"
    return f"****{digits[-2:]}" if len(digits) >= 7 else "****"


PRESENTERS: Mapping[FieldKind, Presenter] = {
    FieldKind.TEXT: text,
    FieldKind.ID: text,
    FieldKind.NAME: text,
    FieldKind.PHONE: phone,
    FieldKind.USERID: text,
    FieldKind.MONEY: money,
    FieldKind.QUANTITY: quantity,
    FieldKind.COUNT: quantity,
    FieldKind.SCORE: quantity,
    FieldKind.FLAG: text,
    FieldKind.INSTANT: instant,
    FieldKind.DATE: date,
}
"""How each kind of field reads when the template asks for nothing else; ANY has parts and cannot be shown as one."""


def listed(presenter: Presenter) -> Presenter:
    """The presenter of a repeated field: each item as *presenter* has it, joined with 、."""

    def present(value: object, zone: tzinfo) -> str:
        if not isinstance(value, list | tuple):
            return presenter(value, zone)
        return text("、".join(presenter(item, zone) for item in value[:VALUE_LIMIT]), zone)

    return present
