"""On which days a playbook's steps come, on the clocks of a zone; and whom each is for on its day.

Days are those of the zone's calendar. A time that its clocks leave out is the one they show instead; one that comes twice
is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.campaign.domain.playbook import Anchor, Playbook, Step, conditioned
from services.campaign.domain.playbook_parameters import Value
from services.campaign.domain.window import Hours, SendWindow, openings
from shared.values import value_class

_DAY: Final = timedelta(days=1)
_MIDNIGHT: Final = time(0)

Place = tuple[date, int]
"""A day and the number of a step: where something stands in the order of a run."""


@value_class
class Occurrence:
    """One step on one day."""

    step: int
    """Its number; 0 is the first."""
    day: date
    due_at: datetime
    """When its campaign is drafted."""
    opens_at: datetime
    """When owners may first be asked; groups are looked at as they will be then."""
    closes_at: datetime
    """From when on nobody is asked any more."""

    @property
    def place(self) -> Place:
        """Its place in the order of the run."""
        return self.day, self.step


class Calendar:
    """The days of one run; the same for the same arguments, whenever it is asked."""

    def __init__(
        self,
        playbook: Playbook,
        values: Mapping[str, Value],
        zone: str,
        start: date,
        started_at: datetime,
    ) -> None:
        """*start* is the day on which it begins, *started_at* when somebody said so."""
        self.playbook, self.values, self.zone = playbook, values, zone
        self.start, self.started_at = start, started_at
        self._zone = ZoneInfo(zone)
        self.last = self._last()

    def occurrences(self, after: Place | None = None) -> Iterator[Occurrence]:
        """In order, those behind *after*; without those whose hours were over when it was started."""
        day = self.start if after is None else after[0]
        while day <= self.last:
            for number, step in enumerate(self.playbook.steps):
                if (after is None or (day, number) > after) and self._falls(step, day):
                    found = self._occurrence(number, step, day)
                    if found is not None:
                        yield found
            day += _DAY

    def occurrence(self, place: Place) -> Occurrence | None:
        """What stands at a place that ``occurrences`` has told of."""
        day, number = place
        return self._occurrence(number, self.playbook.steps[number], day)

    def window(self, step: Step, day: date) -> SendWindow:
        """The hours of *step* on *day* and the days behind it, and no others."""
        start, end = (one.time(self.values) for one in step.hours)
        days = (day + _DAY * at for at in range(step.open_days))
        shut = tuple((weekday, ()) for weekday in range(7))
        return SendWindow(self.zone, shut, tuple((one, (Hours(start, end),)) for one in days))

    def audience(self, step: Step, day: date) -> dict[str, Any]:
        """The filter of *step* on *day*, as plain JSON."""
        own, asked = self._own(step, day), conditioned(step.where, self.values)
        both = [one for one in (own, asked) if one]
        if not both:
            return {"every_group": True}
        return {"where": both[0] if len(both) == 1 else {"all_of": both}}

    def days_left(self, day: date) -> int | None:
        """Days from *day* to the event; None where there is none."""
        event = self.values.get(self.playbook.event)
        return (event - day).days if isinstance(event, date) else None

    def told_by(self, step: Step, day: date) -> date:
        """Of a step that follows another one: the last day on which a group may have been told that one."""
        return day - _DAY * step.offset.number(self.values)

    def at(self, day: date, clock: time) -> datetime:
        """The instant at which the zone's clocks show *clock* on *day*."""
        return datetime.combine(day, clock, self._zone).astimezone(UTC)

    def _last(self) -> date:
        fixed = [day for step in self.playbook.steps if (day := self._fixed(step)) is not None]
        days = self.playbook.days.number(self.values)
        return max([*fixed, *([self.start + _DAY * (days - 1)] if days else [])], default=self.start)

    def _fixed(self, step: Step) -> date | None:
        if step.anchor.repeated:
            return None
        event = self.values.get(self.playbook.event)
        base = event if step.anchor is Anchor.EVENT and isinstance(event, date) else self.start
        return base + _DAY * step.offset.number(self.values)

    def _falls(self, step: Step, day: date) -> bool:
        fixed = self._fixed(step)
        if fixed is not None:
            return day == fixed
        inside = 0 <= (day - self.start).days < self.playbook.days.number(self.values)
        return inside and (not step.weekdays or day.weekday() in step.weekdays)

    def _occurrence(self, number: int, step: Step, day: date) -> Occurrence | None:
        window, morning = self.window(step, day), self.at(day, _MIDNIGHT)
        last = self.at(day + _DAY * step.open_days, _MIDNIGHT)
        found = list(openings(window, max(morning, self.started_at), last))
        if not found:
            return None
        before = day - _DAY * self.playbook.draft_days_before
        due = self.at(before, self.playbook.draft_at.time(self.values))
        return Occurrence(number, day, max(due, self.started_at), found[0][0], found[-1][1])

    def _own(self, step: Step, day: date) -> dict[str, Any]:
        """What the anchor itself asks of a group."""
        if step.anchor is Anchor.SILENT:
            return {"silent_for_days": step.offset.number(self.values)}
        if step.anchor is not Anchor.CREATED:
            return {}
        newest = day - _DAY * step.offset.number(self.values)
        oldest = newest - _DAY * step.late.number(self.values)
        return {
            "created": {
                "start": self.at(oldest, _MIDNIGHT).isoformat(),
                "end": self.at(newest + _DAY, _MIDNIGHT).isoformat(),
            }
        }
