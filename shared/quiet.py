"""Hours in which people are left alone, on the clocks of a zone: across midnight, and where clocks are changed.

A window is what lies between two instants, not what a wall clock shows: in the night in which an hour comes twice it
lasts until the end comes for the second time, and where an hour is left out it begins or ends with the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from shared.errors import Invalid
from shared.values import value_class

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_LONGEST = timedelta(days=8)
"""Quiet for longer than a week is quiet for ever."""


class QuietMode(StrEnum):
    """What becomes of a message that comes in quiet hours."""

    HOLD = "hold"
    """It goes when they end."""
    DIGEST = "digest"
    """It is a line of the one message that goes when they end."""
    DROP = "drop"
    """It is recorded and never goes."""


@value_class
class Window:
    """From *start* to *end* on a wall clock; an end that is not later is that of the next day."""

    start: time
    end: time
    days: frozenset[int] = frozenset()
    """Weekdays on which it begins, Monday is 0; empty is every day."""

    @classmethod
    def read(cls, start: str, end: str, days: frozenset[int] = frozenset(), *, field: str) -> Window:
        """From ``HH:MM`` to ``HH:MM``. Raises Invalid for *field*."""
        found = [_CLOCK.fullmatch(one) for one in (start, end)]
        if not all(found) or start == end:
            raise Invalid.field(
                field, "write two different times from 00:00 to 23:59, such as 22:00 and 08:00"
            )
        first, last = (time(int(one[1]), int(one[2])) for one in found if one)
        return cls(first, last, days)

    def instance(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """The one that begins on *day*; None on a day that is not among its days."""
        if self.days and day.weekday() not in self.days:
            return None
        last = day + _DAY if self.end <= self.start else day
        return _instant(day, self.start, zone, late=False), _instant(last, self.end, zone, late=True)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}–{self.end:%H:%M}"


def _instant(day: date, at: time, zone: ZoneInfo, *, late: bool) -> datetime:
    """When the clocks of *zone* show *at* on *day*: of two instants the one asked for, of none the change itself."""
    wall = datetime.combine(day, at)
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return second if late else first
    # Left out: the offset changes somewhere between the two readings.
    low, high, after = second, first, first.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)


@value_class
class QuietHours:
    """When somebody is left alone, and what becomes of what comes then."""

    windows: tuple[Window, ...]
    """At least one; they may meet and overlap."""
    mode: QuietMode = QuietMode.HOLD

    def until(self, at: datetime, zone: ZoneInfo) -> datetime | None:
        """When the quiet that reigns at *at* ends; None where none does. Windows that meet are one quiet."""
        end: datetime | None = None
        while True:
            now = end or at
            if now - at > _LONGEST:
                return end
            reigning = [last for first, last in self._around(now, zone) if first <= now < last]
            if not reigning:
                return end
            end = max(reigning)

    def _around(self, at: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        today = at.astimezone(zone).date()
        for window in self.windows:
            for day in (today - _DAY, today):
                found = window.instance(day, zone)
                if found is not None:
                    yield found

    def check(self, zone: ZoneInfo, *, field: str) -> None:
        """Raises Invalid for *field* where the quiet would never end."""
        monday = datetime(2026, 1, 5, tzinfo=zone)
        for hour in range(7 * 24):
            at = monday + timedelta(hours=hour)
            end = self.until(at.astimezone(UTC), zone)
            if end is not None and end - at > timedelta(days=7):
                raise Invalid.field(field, "would never end; leave some time in which messages may go")

    def __str__(self) -> str:
        return " ".join(str(window) for window in self.windows)
