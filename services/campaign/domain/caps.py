"""How many mass messages a group may receive: limits by date, counted in days, weeks and months of the platform's zone.

The number has changed over the years, and an administrator may choose another one: limits are data
(``presets/receive_limits.toml``), and what the administrator chose is a setting, which goes before.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from shared.errors import Invalid
from shared.values import value_class

ZONE: Final = ZoneInfo("Asia/Shanghai")
"""In which the platform counts its days."""
SAID_FULL: Final = "full, says the platform"
"""The name of a limit that the platform told of when a message did not get through; which one it is, it does not say."""

_DAY: Final = timedelta(days=1)
_WRITTEN: Final = re.compile(r"([1-9][0-9]{0,3}|days)/(day|week|month)", re.ASCII)


class Period(StrEnum):
    """What is counted together."""

    DAY = "day"
    WEEK = "week"
    """From Monday on."""
    MONTH = "month"

    def around(self, at: datetime) -> tuple[datetime, datetime]:
        """From when until before when the period lasts that *at* lies in."""
        day = at.astimezone(ZONE).date()
        match self:
            case Period.DAY:
                first, last = day, day + _DAY
            case Period.WEEK:
                first = day - day.weekday() * _DAY
                last = first + 7 * _DAY
            case Period.MONTH:
                first = day.replace(day=1)
                last = first + monthrange(day.year, day.month)[1] * _DAY
        return _midnight(first), _midnight(last)


@value_class
class ReceiveLimit:
    """At most so many in a period."""

    most: int | None
    """None: as many as the month has days."""
    period: Period

    @classmethod
    def read(cls, written: str, *, field: str) -> ReceiveLimit:
        """From ``1/day``, ``7/week``, ``4/month`` or ``days/month``. Raises Invalid for *field*."""
        found = _WRITTEN.fullmatch(written)
        if found is None or (found[1] == "days" and found[2] != Period.MONTH):
            raise Invalid.field(
                field, "write 1/day, 7/week, 4/month, or days/month for as many as it has days"
            )
        return cls(None if found[1] == "days" else int(found[1]), Period(found[2]))

    def most_at(self, at: datetime) -> int:
        """How many, in the period of *at*."""
        day = at.astimezone(ZONE)
        return monthrange(day.year, day.month)[1] if self.most is None else self.most

    def named(self, at: datetime) -> str:
        """For people, such as ``1 a day``."""
        return f"{self.most_at(at)} a {self.period}"


@value_class
class LimitProfile:
    """The limits that hold from a date on."""

    since: date
    """In the platform's zone."""
    limits: tuple[ReceiveLimit, ...]
    source: str
    """Where that stands, and what of it is not certain."""


@value_class
class ReceiveLimits:
    """All that is known, by date."""

    profiles: tuple[LimitProfile, ...]
    """The first first."""
    chosen: tuple[ReceiveLimit, ...] = ()
    """What the administrator of the corp has set; it holds beside what the date says."""

    def at(self, at: datetime) -> Sequence[ReceiveLimit]:
        """Those that hold at an instant."""
        day = at.astimezone(ZONE).date()
        known = [one for one in self.profiles if one.since <= day]
        dated = known[-1].limits if known else ()
        return [*self.chosen, *(one for one in dated if one not in self.chosen)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), ZONE).astimezone(UTC)
