"""Between protobuf fields and Python values."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Invalid

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_EXACT = 2**53
"""Beyond this a double no longer counts in ones."""

E = TypeVar("E", bound=Enum)


def to_timestamp(at: datetime) -> Timestamp:
    """The wire form of an aware instant; ``ValueError`` for a naive one."""
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    stamp = Timestamp()
    stamp.FromDatetime(at.astimezone(UTC))
    return stamp


def from_timestamp(stamp: Timestamp, field: str) -> datetime:
    """The instant in UTC, to the microsecond; ``Invalid`` naming *field* unless it is in 2000 to 2100."""
    try:
        at = stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid.field(field, "is not a timestamp") from error
    if not _EARLIEST <= at < _LATEST:
        raise Invalid.field(field, "must lie between the years 2000 and 2100")
    return at


def optional_timestamp(message: Message, field: str) -> datetime | None:
    """The instant in *field* of *message*, or None when it is not set."""
    return from_timestamp(getattr(message, field), field) if message.HasField(field) else None


def to_duration(span: timedelta) -> Duration:
    """The wire form of a span."""
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def from_duration(duration: Duration, field: str) -> timedelta:
    """The span; ``Invalid`` naming *field* when it is negative or beyond what Python holds."""
    try:
        span = duration.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise Invalid.field(field, "is not a duration") from error
    if span < timedelta(0):
        raise Invalid.field(field, "must not be negative")
    return span


def to_struct(value: Mapping[str, Any]) -> Struct:
    """The wire form of a JSON object; ``ValueError`` for what JSON cannot say."""
    struct = Struct()
    struct.update(dict(value))
    return struct


def from_struct(struct: Struct) -> dict[str, Any]:
    """A JSON object. Numbers without a fraction become int, as JSON text would give them: 280.0 is 280."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def _from_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return _from_list(value.list_value)
    return None if kind in (None, "null_value") else getattr(value, kind)


def _from_list(values: ListValue) -> list[Any]:
    return [_from_value(item) for item in values.values]


def fingerprint(message: Message, *, without: Collection[str] = ()) -> str:
    """SHA-256 (hex) of *message* with the fields *without* left out.

    Equal messages of one program version have equal fingerprints: for idempotency keys and page tokens.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    for field in without:
        copy.ClearField(field)
    digest = hashlib.sha256(message.DESCRIPTOR.full_name.encode() + b"\0")
    digest.update(copy.SerializeToString(deterministic=True))
    return digest.hexdigest()


class EnumMap(Generic[E]):
    """A domain enum ↔ a wire enum, proved total when it is made.

    Every member of the domain enum and every wire value but the zero must appear, once; a new value on
    either side fails the import, not a call.
    """

    def __init__(self, wire: Any, pairs: Mapping[E, int], *, ignored: Collection[int] = ()) -> None:
        domain = type(next(iter(pairs)))
        missing = [member.name for member in domain if member not in pairs]
        expected = {number for number in wire.values() if number != 0} - set(ignored)
        if missing or set(pairs.values()) != expected or len(set(pairs.values())) != len(pairs):
            raise ValueError(
                f"{domain.__name__} ↔ {wire.DESCRIPTOR.name}: missing {missing}, "
                f"wire {sorted(expected ^ set(pairs.values()))}"
            )
        self._wire: dict[E, int] = dict(pairs)
        self._domain = {number: member for member, number in pairs.items()}

    def to_wire(self, member: E) -> Any:
        """The wire value of *member*."""
        return self._wire[member]

    def to_domain(self, number: int, field: str) -> E:
        """The member for *number*; ``Invalid`` naming *field* for the zero and for values from the future."""
        member = self._domain.get(number)
        if member is None:
            raise Invalid.field(field, "is not a value this version knows")
        return member

    def to_domain_or(self, number: int, default: E, field: str) -> E:
        """The same, with *default* for the zero."""
        return default if number == 0 else self.to_domain(number, field)
