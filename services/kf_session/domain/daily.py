"""When the daily summary is due: at a time of the customer's clocks, once for each day of their calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from shared.values import value_class

AT: Final = time(9)
"""On the customer's clocks, where nobody said otherwise."""

GRACE: Final = timedelta(hours=3)
"""How long after its time a summary that was missed is made up for: of nine o'clock, until noon."""


class Outcome(StrEnum):
    """What became of one day's summary."""

    SENT = "sent"
    """There is a push."""
    NOTHING_PENDING = "nothing_pending"
    """There was nothing to tell."""
    WINDOW_CLOSED = "window_closed"
    """The customer may not be written to until they write."""
    MISSED = "missed"
    """Nothing ran at its time nor for long after it."""
    FAILED = "failed"
    """Its words could not be sent: the template is at fault."""
    SWITCHED_OFF = "switched_off"
    """The customer does not want pushes."""


@value_class
class Wish:
    """What a customer wants of the daily summary."""

    zone: ZoneInfo
    at: time = AT
    enabled: bool = True


def due_on(day: date, wish: Wish) -> datetime:
    """When the summary of *day* is due.

    Where the clocks show the time twice it is the first; where they leave it out, as long after as they jumped.
    """
    return datetime.combine(day, wish.at, tzinfo=wish.zone).astimezone(UTC)


def next_due(after: datetime, wish: Wish) -> datetime:
    """The first due instant that is later than *after*."""
    day = after.astimezone(wish.zone).date() - timedelta(days=1)
    while (due := due_on(day, wish)) <= after:
        day += timedelta(days=1)
    return due


def day_due(now: datetime, wish: Wish) -> tuple[date, datetime]:
    """The day whose summary was due last, at *now* or before, and when."""
    day = now.astimezone(wish.zone).date() + timedelta(days=1)
    while (due := due_on(day, wish)) > now:
        day -= timedelta(days=1)
    return day, due


def is_missed(due: datetime, now: datetime) -> bool:
    """Whether it is too late for a summary that was due at *due*."""
    return now >= due + GRACE
