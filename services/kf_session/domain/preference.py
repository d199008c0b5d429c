"""What a customer wants of us, and does not: their own words, else their store's, else ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, time
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.errors import Invalid, Violation
from shared.quiet import QuietHours, Window
from shared.values import value_class

RESERVE_MOST: Final = 2
DAILY_MOST: Final = 1000


class Closing(StrEnum):
    """What becomes of a push that meets quiet hours which the 48 hours do not outlast."""

    EARLIER = "earlier"
    """It goes before the quiet begins; inside it that is too late, and ``too_late`` says what happens."""
    DIGEST = "digest"
    """It is kept until the customer writes again, and goes as one list with the others that were kept."""
    DROP = "drop"
    """It never goes."""


class AfterHuman(StrEnum):
    """What becomes of a push that waited for a servicer when the session ends."""

    SEND = "send"
    """It goes when the customer writes again, if it is still worth sending then."""
    DROP = "drop"
    """It never goes."""


@value_class
class Preference:
    """What counts for one customer, every field with a value."""

    enabled: bool = True
    min_score: float = 0.7
    """Of a match, 0 to 1: a worse one is not told."""
    quiet: Window | None = None
    """None: there are no quiet hours."""
    zone: ZoneInfo = ZoneInfo("Asia/Shanghai")
    daily_limit: int = 10
    """Pushes that nobody asked for, per calendar day of the customer at one account."""
    reserve: int = 1
    """Credits that matches and summaries leave for an answer."""
    summary_at: time = time(9)
    closing: Closing = Closing.EARLIER
    too_late: Closing = Closing.DIGEST
    """DIGEST or DROP."""
    after_human: AfterHuman = AfterHuman.SEND
    send_at_best_hour: bool = False
    """Whether a match waits for the hour at which the customer is likeliest to answer."""

    @property
    def quiet_hours(self) -> QuietHours | None:
        """The same for asking when they end."""
        return None if self.quiet is None else QuietHours((self.quiet,))

    def quiet_until(self, at: datetime) -> datetime | None:
        """When the quiet that reigns at *at* ends; None where none does."""
        hours = self.quiet_hours
        return None if hours is None else hours.until(at, self.zone)


FIELDS: Final = (
    "enabled",
    "min_score",
    "quiet_from",
    "quiet_to",
    "time_zone",
    "daily_limit",
    "reserve",
    "summary_time",
    "closing",
    "too_late",
    "after_human",
    "send_at_best_hour",
)
"""What a stored preference may say; what it leaves out is said by the wider one."""


def merged(zone: ZoneInfo, *said: Mapping[str, object]) -> Preference:
    """What counts, of what was *said* from the widest to the narrowest; *zone* is the deployment's.

    Raises Invalid naming the fields that are wrong.
    """
    words: dict[str, object] = {}
    for one in said:
        words.update(one)
    base = replace(Preference(), zone=zone)
    wrong: list[Violation] = []

    def take(name: str, read: Callable[[Any], None]) -> None:
        if name not in words:
            return
        try:
            read(words[name])
        except (Invalid, ValueError, TypeError) as error:
            wrong.append(Violation(f"preferences.{name}", _FIXES.get(name, str(error))))

    values: dict[str, Any] = {}
    take("enabled", lambda it: values.update(enabled=bool(it)))
    take("min_score", lambda it: values.update(min_score=_between(float(it), 0.0, 1.0)))
    take("daily_limit", lambda it: values.update(daily_limit=int(_between(int(it), 0, DAILY_MOST))))
    take("reserve", lambda it: values.update(reserve=int(_between(int(it), 0, RESERVE_MOST))))
    take("time_zone", lambda it: values.update(zone=_zone(str(it))))
    take("summary_time", lambda it: values.update(summary_at=_clock(str(it))))
    take("closing", lambda it: values.update(closing=Closing(str(it))))
    take("too_late", lambda it: values.update(too_late=_late(str(it))))
    take("after_human", lambda it: values.update(after_human=AfterHuman(str(it))))
    take("send_at_best_hour", lambda it: values.update(send_at_best_hour=bool(it)))
    start, end = str(words.get("quiet_from", "")), str(words.get("quiet_to", ""))
    if start or end:
        try:
            values["quiet"] = Window.read(start, end, field="preferences.quiet_from")
        except Invalid as invalid:
            wrong += invalid.violations
    if wrong:
        raise Invalid("FIELD_INVALID", f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
    return replace(base, **values)


_FIXES: Final[Mapping[str, str]] = {
    "min_score": "write a number from 0 to 1",
    "daily_limit": f"write a whole number from 0 to {DAILY_MOST}",
    "reserve": f"write a whole number from 0 to {RESERVE_MOST}",
    "time_zone": "write an IANA name such as Asia/Shanghai",
    "summary_time": "write HH:MM from 00:00 to 23:59",
    "closing": "write earlier, digest or drop",
    "too_late": "write digest or drop",
    "after_human": "write send or drop",
}


def _between(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(f"must lie between {low} and {high}")
    return value


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("unknown zone") from error


def _clock(text: str) -> time:
    if len(text) != 5:
        raise ValueError("not HH:MM")
    return time.fromisoformat(text)


def _late(text: str) -> Closing:
    found = Closing(text)
    if found is Closing.EARLIER:
        raise ValueError("it is too late for that")
    return found
