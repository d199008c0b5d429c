"""The hour at which a customer is likeliest to answer, learned from when they wrote.

What is long past counts less: half after thirty days. Weights are kept as of one fixed instant (forward decay, Cormode
et al., ICDE 2009), so that adding one and summing those of a whole store need no clock. Who has written little is
taken to be like the other customers of the store, and they, where they are few, to be like anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from shared.values import value_class

HALF_LIFE: Final = timedelta(days=30)
_LANDMARK: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Weights grow by half-lives since then; a double holds those of eighty years."""

COHORT: Final = 8.0
"""Messages of today that a customer's own hours are weighed against."""
EVEN: Final = 24.0
"""Messages, one for each hour, that the cohort's are weighed against."""

PATIENCE: Final = timedelta(hours=24)
"""The longest that a push waits for a better hour, from its admission on."""
GAIN: Final = 1.25
"""An hour is worth waiting for if an answer is so many times as likely in it."""
MARGIN: Final = timedelta(minutes=30)
"""So long before the window closes nothing is put off to: sending takes its time, and may have to be repeated."""

_HOUR: Final = timedelta(hours=1)

Quiet = Callable[[datetime], datetime | None]
"""When the quiet that reigns at an instant ends; None where none does."""


@value_class
class Histogram:
    """How likely an answer is in each hour of the customer's clocks; the twenty-four add up to 1."""

    shares: tuple[float, ...]
    zone: ZoneInfo

    def at(self, instant: datetime) -> float:
        """The share of the hour that the clocks show at *instant*."""
        return self.shares[instant.astimezone(self.zone).hour]


def weight(at: datetime) -> float:
    """What a message at *at* adds to its hour, as of the fixed instant."""
    return float(2.0 ** ((at - _LANDMARK) / HALF_LIFE))


def hour_of(at: datetime, zone: ZoneInfo) -> int:
    """The hour that a message at *at* is counted in."""
    return at.astimezone(zone).hour


def learn(own: Sequence[float], cohort: Sequence[float], now: datetime, zone: ZoneInfo) -> Histogram:
    """From the weights of a customer's and a store's twenty-four hours."""
    scale = 1.0 / weight(now)
    mine, theirs = ([value * scale for value in one] for one in (own, cohort))
    others = _blend(_smoothed(theirs), [1 / 24] * 24, EVEN)
    return Histogram(tuple(_blend(_smoothed(mine), others, COHORT)), zone)


def better_instant(now: datetime, latest: datetime, quiet: Quiet, histogram: Histogram) -> datetime | None:
    """The first instant of the best hour from *now* to *latest*, outside quiet hours.

    None where none is worth waiting for: then it goes as soon as it may.
    """
    allowed = list(_candidates(now, latest, quiet, histogram.zone))
    if not allowed:
        return None
    best = max(allowed, key=lambda at: (histogram.at(at), -at.timestamp()))
    worth_it = best > allowed[0] and histogram.at(best) >= GAIN * histogram.at(allowed[0])
    return best if worth_it else None


def _candidates(now: datetime, latest: datetime, quiet: Quiet, zone: ZoneInfo) -> Iterator[datetime]:
    """The instants up to *latest* at which something changes, in order: the hour, or the quiet; none inside the quiet."""
    at = now
    while at <= latest:
        end = quiet(at)
        if end is not None and end > at:
            at = end
            continue
        yield at
        local = at.astimezone(zone)
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        at = at - past + _HOUR


def _smoothed(hours: Sequence[float]) -> list[float]:
    """Each hour lends a quarter of what it has to either side, around the clock."""
    return [hours[at - 1] / 4 + hours[at] / 2 + hours[(at + 1) % 24] / 4 for at in range(24)]


def _blend(counts: Sequence[float], prior: Sequence[float], worth: float) -> list[float]:
    total = sum(counts) + worth
    return [(count + worth * share) / total for count, share in zip(counts, prior, strict=True)]
