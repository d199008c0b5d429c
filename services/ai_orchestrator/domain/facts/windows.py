"""Stretches of a store's calendar, and the instants they begin and end at."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.ai_orchestrator.domain.facts.stores import TIME_DIMENSIONS
from shared.errors import Invalid
from shared.values import value_class

_DAY: Final = timedelta(days=1)
_MONTH: Final = 31


@value_class
class Window:
    """Whole days of a store's calendar, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    def instants(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """From when, included, until when, excluded; in UTC."""
        return _begins(self.first, zone), _begins(self.last + _DAY, zone)

    def steps(self) -> list[Window]:
        """Its days, where there are no more than a month's; else its months. What a trend is made of."""
        found: list[Window] = []
        first = self.first
        while first <= self.last:
            after = first + _DAY if self.days <= _MONTH else _months(first, 1)
            found.append(Window(first, min(_eve(after), self.last)))
            first = after
        return found


def _begins(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of *day*: also where clocks skip midnight, or show it twice."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def windows(time_dimension: str, today: date) -> tuple[Window, Window]:
    """The window that *time_dimension* names on *today*, and the one before it that it is compared with.

    A window that is not over ends today, and the one before it has as many days, of the period before: the first 22
    days of November are compared with the first 22 of October. Raises Invalid for a dimension that is none.
    """
    which, _, unit = time_dimension.partition("_")
    if time_dimension not in TIME_DIMENSIONS:
        raise Invalid.field("time_dimension", f"{time_dimension} is none of {', '.join(TIME_DIMENSIONS)}")
    if unit.endswith("_months"):
        months, end = int(unit[0]), _start("month", today)
        first, before = _months(end, -months), _months(end, -2 * months)
        return Window(first, _eve(end)), Window(before, _eve(first))
    current = _start(unit, today)
    previous = _start(unit, _eve(current))
    if which == "last":
        return Window(previous, _eve(current)), Window(_start(unit, _eve(previous)), _eve(previous))
    as_far = previous + (today - current)
    return Window(current, today), Window(previous, min(as_far, _eve(current)))


def _start(unit: str, day: date) -> date:
    """The first day of the week, month or quarter of *day*; weeks begin on Monday."""
    if unit == "week":
        return day - timedelta(days=day.weekday())
    month = day.month if unit == "month" else day.month - (day.month - 1) % 3
    return day.replace(month=month, day=1)


def _months(first: date, count: int) -> date:
    """The first day of the month *count* months after that of *first*."""
    years, month = divmod(first.month - 1 + count, 12)
    return first.replace(year=first.year + years, month=month + 1, day=1)


def _eve(day: date) -> date:
    return day - _DAY
