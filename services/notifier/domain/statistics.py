"""The arithmetic of figures: buckets on a zone's clocks, shares, ranks. What is counted is counted in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from shared.errors import Invalid
from shared.values import value_class

DEFAULT_PERIOD: Final = timedelta(hours=24)
LONGEST_PERIOD: Final = timedelta(days=93)
"""A quarter of a year, and the hour more that one of them has where clocks are changed."""

MOST_ROWS: Final = 5000
"""Rows of one answer: bucket times group."""

_STEP: Final = 6 * 3600
"""No zone changes its clocks twice within these seconds."""


class Bucket(StrEnum):
    """How a period is cut."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"


class Group(StrEnum):
    """What figures are told apart by; the words are those of the rows."""

    EVENT_TYPE = "event_type"
    RULE = "rule_id"
    ROLE = "role"
    PRIORITY = "priority"
    CHANNEL = "channel"
    STORE = "store_id"


@value_class
class Stretch:
    """A part of a period in which a zone's clocks are not changed; instants are seconds since 1970."""

    start: int
    end: int
    offset: int
    """What the clocks are ahead of UTC, in seconds."""


@value_class
class Slot:
    """One bucket of a period."""

    key: int
    """What `key_of` gives for every instant in it."""
    start_at: datetime
    end_at: datetime


def period(start_at: datetime | None, end_at: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The period asked for; the last day where nothing is said. Raises Invalid for one that is none, or too long."""
    end = end_at or now
    start = start_at or end - DEFAULT_PERIOD
    if start >= end:
        raise Invalid.field("start_time", f"must be before the end of the period, {end.isoformat()}")
    if end - start > LONGEST_PERIOD:
        raise Invalid.field(
            "start_time",
            f"must be at most {LONGEST_PERIOD.days} days before the end; ask for several periods",
        )
    return start, end


def stretches(start_at: datetime, end_at: datetime, zone: tzinfo) -> tuple[Stretch, ...]:
    """The period from *start_at* to *end_at*, cut where the clocks of *zone* are changed."""
    start, end = int(start_at.timestamp()), -int(-end_at.timestamp() // 1)
    found: list[Stretch] = []
    offset = _offset(start, zone)
    began = at = start
    while at < end:
        following = min(at + _STEP, end)
        if _offset(following, zone) != offset:
            change = _change(at, following, zone)
            found.append(Stretch(began, change, offset))
            began, offset = change, _offset(change, zone)
        at = following
    if began < end:
        found.append(Stretch(began, end, offset))
    return tuple(found)


def key_of(at: datetime, bucket: Bucket, parts: Sequence[Stretch]) -> int:
    """The bucket of the instant *at* of the period that *parts* are made of: the same arithmetic as in SQL."""
    second = int(at.timestamp())
    offset = next((part.offset for part in parts if second < part.end), parts[-1].offset)
    return _key(second, offset, bucket)


def slots(start_at: datetime, end_at: datetime, bucket: Bucket, parts: Sequence[Stretch]) -> tuple[Slot, ...]:
    """The buckets of a period in order, the first and the last no longer than what is in it."""
    if bucket is Bucket.NONE:
        return (Slot(0, start_at, end_at),)
    found: dict[int, tuple[int, int]] = {}
    for key, start, end in _pieces(parts, 3600 if bucket is Bucket.HOUR else 86400, bucket):
        began, _ = found.get(key, (start, end))  # a day goes on where its clocks are changed
        found[key] = (began, end)
    return tuple(
        Slot(key, max(_instant(start), start_at), min(_instant(end), end_at))
        for key, (start, end) in found.items()
    )


def _pieces(parts: Sequence[Stretch], unit: int, bucket: Bucket) -> Iterator[tuple[int, int, int]]:
    for part in parts:
        at = part.start
        while at < part.end:
            upto = ((at + part.offset) // unit + 1) * unit - part.offset
            yield _key(at, part.offset, bucket), at, min(upto, part.end)
            at = upto


def _key(second: int, offset: int, bucket: Bucket) -> int:
    if bucket is Bucket.NONE:
        return 0
    if bucket is Bucket.DAY:
        return (second + offset) // 86400
    # The instant at which the clock showed the full hour: an hour that it shows twice has two.
    return (second + offset) // 3600 * 3600 - offset


def success_ratio(accepted: int, failed: int, unknown: int, expired: int) -> float | None:
    """The share that was accepted of what was meant to go and has ended; None when nothing has."""
    ended = accepted + failed + unknown + expired
    return accepted / ended if ended else None


def nearest_rank(percent: int, count: int) -> int:
    """Which of *count* values in order is the percentile, from 1: the first that so many do not exceed."""
    return (count * percent + 99) // 100


def _offset(second: int, zone: tzinfo) -> int:
    ahead = _instant(second).astimezone(zone).utcoffset()
    assert ahead is not None  # an aware instant has one
    return int(ahead.total_seconds())


def _change(before: int, after: int, zone: tzinfo) -> int:
    """The first second after *before* at which the clocks are not as they were then."""
    offset = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
