"""What events and their fields are, as plain values; the contract fills them in (``shared.events.catalogue``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, date, datetime
from enum import StrEnum

from shared.values import value_class


class FieldKind(StrEnum):
    """What a field means; the words of ``FieldKind`` in ``reach/events/v1/options.proto``."""

    TEXT = "TEXT"
    ID = "ID"
    NAME = "NAME"
    PHONE = "PHONE"
    USERID = "USERID"
    MONEY = "MONEY"
    QUANTITY = "QUANTITY"
    COUNT = "COUNT"
    SCORE = "SCORE"
    FLAG = "FLAG"
    INSTANT = "INSTANT"
    DATE = "DATE"
    ANY = "ANY"

    @property
    def personal(self) -> bool:
        """Whether the value tells who somebody is: masked wherever it is not the point."""
        return self in _PERSONAL


_PERSONAL = frozenset({FieldKind.NAME, FieldKind.PHONE, FieldKind.USERID})


@value_class
class Field:
    """One field of a known event type."""

    name: str
    kind: FieldKind
    required: bool
    repeated: bool = False
    max_length: int | None = None
    """Characters, for texts; None is unlimited."""
    max_items: int | None = None
    """Elements, for lists; None is unlimited."""


@value_class
class EventType:
    """A known type of event."""

    name: str
    """``order.created``; also the routing key."""
    fields: tuple[Field, ...]
    announced: bool
    """Whether the suite itself announces it; otherwise publishers outside do."""
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {one.name: one for one in self.fields})


@value_class
class Event:
    """One event, read and checked."""

    id: str
    """Unique within its store; 1 to 256 characters."""
    type: str
    store_id: str
    data: Mapping[str, object]
    """JSON values; of a known type normalised as its fields' kinds say, unknown fields kept."""
    content_hash: str
    """SHA-256 over the canonical (type, store, data), in hex: the same in every encoding."""
    received_at: datetime
    source: str = ""
    subject: str | None = None
    occurred_at: datetime | None = None
    known: bool = False
    """Whether the contract has a message for the type."""
    derived_id: bool = False
    """Whether the publisher gave no id, so that repeats are recognised for a minute only."""
    candidate_ids: tuple[str, ...] = ()
    """Ids under which the same event may be there already: its own first, then, for an id derived from the minute,
    the minute before's."""
    traceparent: str | None = None
    tracestate: str | None = None
    door: str = "bus"


_WHEN = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2})(:\d{2})?(?:[.,](\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII
)


def parse_when(text: str) -> date | datetime:
    """Read an INSTANT or a DATE: an aware datetime, a naive one (store's local time), or a date.

    Raises ValueError when the text is none of them, or names a day or time that does not exist.
    """
    found = _WHEN.fullmatch(text)
    if found is None:
        raise ValueError("not a date or an instant")
    day, minute, second, fraction, zone = found.groups()
    if minute is None:
        return date.fromisoformat(day)
    micros = (fraction or "")[:6].ljust(6, "0")
    zone = "+00:00" if zone in ("Z", "z") else zone or ""
    return datetime.fromisoformat(f"{day}T{minute}{second or ':00'}.{micros}{zone}")


def parse_instant(text: str) -> datetime:
    """Read an instant that has a zone; in UTC. Raises ValueError otherwise."""
    when = parse_when(text)
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise ValueError("not an instant with a zone")
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise ValueError("an instant outside the calendar") from None
