"""Throttling opens no breaker: everybody rests, and comes back slowly.

Each time the platform throttles, the rest doubles and the rate is halved; each quiet minute after it the rate doubles
until it is whole again. Platform quotas are the account's, so this holds for all stores.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from shared.values import value_class

_FIRST: Final = timedelta(seconds=2)
_LONGEST: Final = timedelta(seconds=60)
_RECOVERY: Final = timedelta(seconds=60)
_MOST: Final = 6
"""Times that the rate is halved at most: a sixty-fourth is left."""
_JITTER: Final = 0.2


@value_class
class Slowdown:
    """How far the platform has slowed us; the default is not at all."""

    strikes: int = 0
    """Times it throttled, less the quiet minutes since."""
    struck_at: datetime | None = None
    """When it did last."""
    until: datetime | None = None
    """Nothing goes before."""

    def rests_until(self, now: datetime) -> datetime | None:
        """Until when nothing goes; None when something may."""
        return self.until if self.until is not None and self.until > now else None

    def halvings(self, now: datetime) -> int:
        """How often the rate is still halved."""
        if self.until is None:
            return 0
        return max(0, self.strikes - max(timedelta(0), now - self.until) // _RECOVERY)

    def of(self, rate: int, now: datetime) -> int:
        """What is left of *rate*; one at least."""
        left: int = rate >> self.halvings(now)
        return max(1, left)


def struck(
    slowdown: Slowdown, *, began: datetime, retry_at: datetime | None, now: datetime, jitter: float
) -> Slowdown:
    """How it stands after a call that began at *began* was throttled, with a rest until *retry_at* where it said so."""
    asked = max(retry_at or now, slowdown.until or now)
    if slowdown.struck_at is not None and began <= slowdown.struck_at:
        # It was under way when another was throttled: the same wave.
        return Slowdown(slowdown.strikes, slowdown.struck_at, asked)
    strikes = min(slowdown.halvings(now) + 1, _MOST)
    rest: timedelta = _FIRST * 2.0 ** (strikes - 1) * (1 + _JITTER * jitter)
    return Slowdown(strikes, now, max(asked, now + min(rest, _LONGEST)))
