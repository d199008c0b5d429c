"""From a row as people export it, or an event, to a fact; everything wrong with a row is said at once.

Rows come from JSON (numbers, lists, objects) and from CSV (texts; an empty one is not said), and mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from services.ai_orchestrator.domain.facts.kinds import (
    AssistantFact,
    Fact,
    Item,
    Kind,
    MemberFact,
    NoteFact,
    StoreFact,
    TaskFact,
    VisitFact,
)
from services.ai_orchestrator.domain.facts.stores import ALL, TIME_DIMENSIONS, Area
from shared.errors import Invalid, Violation
from shared.events.kinds import parse_when

T = TypeVar("T")

COLUMNS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.STORE: ("name", "zone", "areas", "time_dimensions", "active"),
    Kind.MEMBER: ("member_id", "name", "level", "points", "joined_date", "known_time"),
    Kind.ASSISTANT: ("assistant_id", "name", "level", "skills", "joined_date", "known_time"),
    Kind.VISIT: (
        "visit_id", "settled_time", "amount", "member_id", "assistant_id", "area", "duration_minutes", "items",
    ),
    Kind.NOTE: ("note_id", "member_id", "content", "noted_by", "noted_time"),
    Kind.TASK: ("task_id", "member_id", "assistant_id", "assigned_time"),
}  # fmt: skip
"""What a row of each kind may say."""

MOST_ITEMS: Final = 1000
LONGEST_STAY: Final = 7 * 24 * 60
"""Minutes of a visit."""

_MONEY: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,4})?", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}", re.ASCII)
_YEARS: Final = range(2000, 2100)


def read(kind: Kind, row: Mapping[str, object], zone: ZoneInfo, now: datetime) -> Fact:
    """The fact of a row; instants without a zone are on the clocks of *zone*. Raises Invalid naming every column."""
    reader = _Row(kind, row, zone)
    fact = _READERS[kind](reader, now)
    if reader.wrong:
        text = "; ".join(f"{one.field}: {one.description}" for one in reader.wrong)
        raise Invalid("FIELD_INVALID", text, violations=reader.wrong)
    return fact


class _Row:
    """One row, and what is wrong with it."""

    def __init__(self, kind: Kind, row: Mapping[str, object], zone: ZoneInfo) -> None:
        self._row = {name: value for name, value in row.items() if value is not None and value != ""}
        self._zone = zone
        columns = ", ".join(COLUMNS[kind])
        unknown = sorted(row.keys() - set(COLUMNS[kind]))
        self.wrong = [Violation(name, f"is no column of a {kind}: {columns}") for name in unknown]

    def get(self, name: str, parse: Callable[[Any], T]) -> T | None:
        """The value of a column that may be missing."""
        value = self._row.get(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.wrong.append(Violation(name, str(error)))
            return None

    def need(self, name: str, parse: Callable[[Any], T], instead: T) -> T:
        """The value of a column that must be there; *instead* where it is not, which is then said."""
        if name not in self._row:
            self.wrong.append(Violation(name, "is missing"))
        found = self.get(name, parse)
        return instead if found is None else found

    def key(self, name: str) -> str:
        """An id."""
        return self.need(name, text_of(128), "")

    def instant(self, value: object) -> datetime:
        """An instant, in UTC."""
        return instant_of(value, self._zone)


def _store(row: _Row, now: datetime) -> StoreFact:
    return StoreFact(
        row.get("name", text_of(256)),
        row.get("zone", _zone),
        row.get("areas", _areas),
        row.get("time_dimensions", _time_dimensions),
        row.get("active", _flag),
    )


def _member(row: _Row, now: datetime) -> MemberFact:
    return MemberFact(
        row.key("member_id"),
        row.get("known_time", row.instant) or now,
        row.get("name", text_of(256)),
        row.get("level", text_of(256)),
        row.get("points", lambda value: float(_number(value))),
        row.get("joined_date", _date),
    )


def _assistant(row: _Row, now: datetime) -> AssistantFact:
    return AssistantFact(
        row.key("assistant_id"),
        row.get("known_time", row.instant) or now,
        row.get("name", text_of(256)),
        row.get("level", text_of(256)),
        row.get("skills", text_of(2000)),
        row.get("joined_date", _date),
    )


def _visit(row: _Row, now: datetime) -> VisitFact:
    return VisitFact(
        row.key("visit_id"),
        row.need("settled_time", row.instant, now),
        row.need("amount", cents_of, 0),
        row.get("member_id", text_of(128)),
        row.get("assistant_id", text_of(128)),
        row.get("area", text_of(256)),
        row.get("duration_minutes", seconds_of),
        row.get("items", items_of) or (),
    )


def _note(row: _Row, now: datetime) -> NoteFact:
    return NoteFact(
        row.key("note_id"),
        row.key("member_id"),
        row.need("content", text_of(32768), ""),
        row.get("noted_by", text_of(256)) or "",
        row.need("noted_time", row.instant, now),
    )


def _task(row: _Row, now: datetime) -> TaskFact:
    return TaskFact(
        row.key("task_id"),
        row.key("member_id"),
        row.key("assistant_id"),
        row.need("assigned_time", row.instant, now),
    )


_READERS: Final[Mapping[Kind, Callable[[_Row, datetime], Fact]]] = {
    Kind.STORE: _store,
    Kind.MEMBER: _member,
    Kind.ASSISTANT: _assistant,
    Kind.VISIT: _visit,
    Kind.NOTE: _note,
    Kind.TASK: _task,
}


def text_of(longest: int) -> Callable[[object], str]:
    """Reads a text of 1 to *longest* characters; a whole number is taken as its digits."""

    def parse(value: object) -> str:
        if type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if not value.strip() or len(value) > longest or "\0" in value:
            raise ValueError(f"must be a text of 1 to {longest} characters, without NUL")
        return value.strip()

    return parse


def cents_of(value: object) -> int:
    """Yuan, of which more than two decimals are rounded to the nearest cent, half to even."""
    written = _plain(value)
    if not _MONEY.fullmatch(written):
        raise ValueError('must be yuan such as "280.00"')
    return int((Decimal(written) * 100).quantize(Decimal(1), ROUND_HALF_EVEN))


def seconds_of(value: object) -> int:
    """Minutes, to the second."""
    minutes = _number(value)
    if not 0 <= minutes <= LONGEST_STAY:
        raise ValueError(f"must be minutes, 0 to {LONGEST_STAY}")
    return int((minutes * 60).quantize(Decimal(1), ROUND_HALF_EVEN))


def instant_of(value: object, zone: ZoneInfo) -> datetime:
    """An instant in UTC; without a zone on the clocks of *zone*, a day alone is its beginning."""
    if not isinstance(value, str):
        raise ValueError("must be a time such as 2026-02-20T18:30:00+08:00")
    try:
        when = parse_when(value)
    except ValueError:
        raise ValueError("must be a time such as 2026-02-20T18:30:00+08:00") from None
    if when.year not in _YEARS:
        raise ValueError(f"must lie between the years {_YEARS.start} and {_YEARS.stop}")
    if not isinstance(when, datetime):
        when = datetime.combine(when, time())
    return (when if when.tzinfo is not None else when.replace(tzinfo=zone)).astimezone(UTC)


def items_of(value: object) -> tuple[Item, ...]:
    """What was consumed: names or objects of name, quantity and amount; as a text, such JSON, or names between ``;``."""
    if isinstance(value, str):
        value = _json(value) if value.lstrip().startswith("[") else re.split("[;；]", value)
    if not isinstance(value, list) or len(value) > MOST_ITEMS:
        raise ValueError(f"must be a list of at most {MOST_ITEMS} names or objects of name, quantity, amount")
    return tuple(item_of(one) for one in value if one != "")


def item_of(value: object) -> Item:
    """One of them."""
    if not isinstance(value, dict):
        return Item(text_of(256)(value), 1000)
    quantity = Decimal(1) if value.get("quantity") is None else _number(value["quantity"])
    if abs(quantity) > 1_000_000:
        raise ValueError("a quantity must be at most 1,000,000")
    amount = value.get("amount")
    return Item(
        text_of(256)(value.get("name")),
        int((quantity * 1000).quantize(Decimal(1), ROUND_HALF_EVEN)),
        None if amount is None else cents_of(amount),
    )


def _number(value: object) -> Decimal:
    written = _plain(value)
    if not _NUMBER.fullmatch(written):
        raise ValueError("must be a number such as 90 or 1.5")
    return Decimal(written)


def _plain(value: object) -> str:
    """A number as it would be written, whichever way it came."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(value) if isinstance(value, int) else f"{Decimal(repr(value)):f}"


def _date(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip(), re.ASCII):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    raise ValueError("must be a day such as 2026-02-20")


def _zone(value: object) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, such as Asia/Shanghai") from None


def _flag(value: object) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def _time_dimensions(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (
            _json(value)
            if value.lstrip().startswith("[")
            else [one.strip() for one in re.split("[;；]", value)]
        )
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError("must be a list of different time dimensions")
    if unknown := [one for one in value if one not in TIME_DIMENSIONS]:
        raise ValueError(f"{unknown[0]} is none of {', '.join(TIME_DIMENSIONS)}")
    return tuple(value)


def _areas(value: object) -> tuple[Area, ...]:
    if isinstance(value, str):
        value = _json(value)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value) or len(value) > 64:
        raise ValueError(
            'must be a list of objects such as {"key": "vip", "title": "包厢", "names": ["VIP"]}'
        )
    found = tuple(_area(one) for one in value)
    keys = {one.key for one in found}
    if len(keys) < len(found) or ALL in keys:
        raise ValueError(f"each key must be another one, and none is {ALL}")
    for one in found:
        if one.within and (one.within not in keys or one.within == one.key):
            raise ValueError(f"{one.key}: within names no other area of the list")
    return found


def _area(value: Mapping[str, object]) -> Area:
    if unknown := value.keys() - {"key", "title", "names", "within"}:
        raise ValueError(f"an area has no {min(unknown)}: key, title, names, within")
    key = str(value.get("key"))
    if not _KEY.fullmatch(key):
        raise ValueError("the key of an area is 1 to 32 letters and digits")
    names = value.get("names") or []
    if not isinstance(names, list) or len(names) > 64:
        raise ValueError(f"{key}: names must be a list of at most 64")
    title = text_of(64)(value.get("title") or key)
    return Area(key, title, tuple(text_of(64)(one) for one in names), str(value.get("within") or ""))


def _json(written: str) -> object:
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:
        raise ValueError("is no JSON") from None
