"""When owners may be asked: hours by weekday and by date, on the clocks of a zone, and never at night.

Open is what a clock on the wall of the zone shows to be open: where clocks are changed, an hour that comes twice is open
twice, and one that is left out not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.errors import Invalid
from shared.values import value_class

NIGHT: Final = (time(22), time(8))
"""From when until when nobody is asked, whatever a window says."""

LOOKED_AHEAD: Final = timedelta(days=400)
"""A window that does not open for so long counts as one that never does."""

_MIDNIGHT: Final = time(0)
"""As an end: that of the day."""
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_END_OF_DAY: Final = "24:00"


@value_class
class Hours:
    """From *start* until before *end* of one day; it never reaches into the next. An end of 00:00 is the day's."""

    start: time
    end: time

    @classmethod
    def read(cls, start: str, end: str, *, field: str) -> Hours:
        """From ``HH:MM`` to a later ``HH:MM``, or 24:00. Raises Invalid for *field*."""
        first, last = _CLOCK.fullmatch(start), _CLOCK.fullmatch(end)
        if first is None or (last is None and end != _END_OF_DAY):
            raise Invalid.field(field, "write HH:MM, such as 10:00 and 18:00; the end may be 24:00")
        found = cls(
            time(int(first[1]), int(first[2])),
            _MIDNIGHT if last is None else time(int(last[1]), int(last[2])),
        )
        if last is not None and found.end <= found.start:
            raise Invalid.field(field, "ends before it begins; hours do not reach into the next day")
        return found

    def between(self, day: date) -> tuple[datetime, datetime]:
        """What a wall clock shows at its start and its end on *day*."""
        last = day + _DAY if self.end == _MIDNIGHT else day
        return datetime.combine(day, self.start), datetime.combine(last, self.end)

    def without_night(self) -> Hours | None:
        """What is left of it by day; None where that is nothing."""
        evening, morning = NIGHT
        start = max(self.start, morning)
        end = evening if self.end == _MIDNIGHT else min(self.end, evening)
        return Hours(start, end) if start < end else None

    def __str__(self) -> str:
        end = _END_OF_DAY if self.end == _MIDNIGHT else f"{self.end:%H:%M}"
        return f"{self.start:%H:%M}–{end}"


EVERY_DAY: Final = tuple((weekday, (Hours(time(10), time(18)),)) for weekday in range(7))
"""The hours of a window that says nothing of weekdays."""


@value_class
class SendWindow:
    """Hours of each weekday, and of single days that differ: holidays, and workdays in their stead."""

    zone: str
    """Name in the time zone database (``Asia/Shanghai``)."""
    weekdays: tuple[tuple[int, tuple[Hours, ...]], ...]
    """Weekday (Monday is 0) and its hours; a weekday that is missing has none."""
    dates: tuple[tuple[date, tuple[Hours, ...]], ...] = ()
    """A day and its hours, which go before its weekday's; no hours: a day off."""

    def hours(self, day: date) -> tuple[Hours, ...]:
        """Those of *day*, in order and without the night."""
        found = dict(self.dates).get(day)
        if found is None:
            found = dict(self.weekdays).get(day.weekday(), ())
        awake = (one.without_night() for one in found)
        return tuple(sorted((one for one in awake if one is not None), key=lambda one: one.start))

    def document(self) -> dict[str, Any]:
        """As plain JSON, the same for the same window."""
        return {
            "zone": self.zone,
            "weekdays": [[day, _hours(hours)] for day, hours in sorted(self.weekdays)],
            "dates": [[day.isoformat(), _hours(hours)] for day, hours in sorted(self.dates)],
        }


def read_window(
    zone: str,
    weekdays: Sequence[tuple[int, Sequence[tuple[str, str]]]],
    dates: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    *,
    default_zone: str,
    field: str,
) -> SendWindow:
    """A window from what a caller wrote: weekdays (Monday is 0) and dates (``YYYY-MM-DD``) with their hours.

    No zone is *default_zone*, no weekday at all ``EVERY_DAY``. Raises Invalid, which names the part of *field*: a zone
    that nobody knows, a day that stands twice, hours that overlap, or that are never open.
    """
    try:
        known = ZoneInfo(zone or default_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid.field(
            f"{field}.time_zone", "must be an IANA time zone, such as Asia/Shanghai"
        ) from None
    usual = tuple(
        (day, _read_hours(hours, f"{field}.weekdays[{at}].hours")) for at, (day, hours) in enumerate(weekdays)
    )
    _once([day for day, _ in usual], f"{field}.weekdays")
    differing = tuple(
        (_read_date(day, f"{field}.dates[{at}].date"), _read_hours(hours, f"{field}.dates[{at}].hours"))
        for at, (day, hours) in enumerate(dates)
    )
    _once([day for day, _ in differing], f"{field}.dates")
    window = SendWindow(known.key, usual or EVERY_DAY, differing)
    said = [hours for _, hours in window.weekdays] + [hours for _, hours in window.dates]
    if not any(one.without_night() for hours in said for one in hours):
        evening, morning = NIGHT
        raise Invalid.field(
            field, f"is never open: nobody is asked between {evening:%H:%M} and {morning:%H:%M}"
        )
    return window


def default_window(zone: str) -> SendWindow:
    """From 10:00 to 18:00 on every day, on the clocks of *zone*."""
    return SendWindow(zone, EVERY_DAY)


def is_open(window: SendWindow, at: datetime) -> bool:
    """Whether owners may be asked at *at*."""
    return open_until(window, at) is not None


def open_until(window: SendWindow, at: datetime) -> datetime | None:
    """When it shuts, where it is open at *at*; None where it is not. At that instant itself it is shut."""
    # Between two nights: a day holds the whole of every opening.
    start, end = next(openings(window, at, at + _DAY), (None, None))
    return end if start == at else None


def next_open(window: SendWindow, at: datetime) -> datetime | None:
    """The first instant from *at* on at which it is open, which may be *at*; None where it never opens."""
    return next((start for start, _ in openings(window, at)), None)


def openings(
    window: SendWindow, at: datetime, until: datetime | None = None
) -> Iterator[tuple[datetime, datetime]]:
    """From when until before when it is open, from *at* on, in order; hours that meet are one.

    The first begins at *at* where it is open then. Looks ahead until *until*, at most ``LOOKED_AHEAD``.
    """
    last = at + LOOKED_AHEAD if until is None else min(until, at + LOOKED_AHEAD)
    current: tuple[datetime, datetime] | None = None
    for start, end in _pieces(window, at, last):
        if current is not None and start == current[1]:
            current = current[0], end
            continue
        if current is not None:
            yield current
        current = start, end
    if current is not None:
        yield current


def _pieces(window: SendWindow, at: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Openings, cut wherever it is convenient: within a span the clocks of the zone go as those of UTC do."""
    for low, high, offset in _spans(ZoneInfo(window.zone), at.astimezone(UTC), last.astimezone(UTC)):
        first, end = ((one + offset).replace(tzinfo=None) for one in (low, high))
        day = first.date()
        while day <= end.date():
            for hours in window.hours(day):
                opens, shuts = hours.between(day)
                opens, shuts = max(opens, first), min(shuts, end)
                if opens < shuts:
                    yield (opens - offset).replace(tzinfo=UTC), (shuts - offset).replace(tzinfo=UTC)
            day += _DAY


def _spans(zone: ZoneInfo, at: datetime, last: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """The time from *at* to *last* in spans of a day at most, in each of which the zone keeps one offset."""
    while at < last:
        end, offset = min(at + _DAY, last), _offset(zone, at)
        if _offset(zone, end) != offset:
            end = _changed(zone, at, end)
        yield at, end, offset
        at = end


def _changed(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The instant between *low* and *high* from which on the zone has another offset than at *low*."""
    before = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    # Clocks are changed at whole seconds, and the one that is looked for is the only one between the two.
    return high.replace(microsecond=0)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _read_hours(hours: Sequence[tuple[str, str]], field: str) -> tuple[Hours, ...]:
    found = [Hours.read(start, end, field=f"{field}[{at}]") for at, (start, end) in enumerate(hours)]
    ordered = sorted(found, key=lambda one: one.start)
    for one, following in pairwise(ordered):
        if one.end == _MIDNIGHT or following.start < one.end:
            raise Invalid.field(field, f"{one} and {following} overlap")
    return tuple(ordered)


def _read_date(written: str, field: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise Invalid.field(field, "must be a date, such as 2026-10-01") from None


def _once(days: Sequence[object], field: str) -> None:
    for at, day in enumerate(days):
        if day in days[:at]:
            raise Invalid.field(f"{field}[{at}]", "stands twice")


def _hours(hours: tuple[Hours, ...]) -> list[list[str]]:
    return [[one.start.isoformat(), one.end.isoformat()] for one in sorted(hours, key=lambda one: one.start)]
