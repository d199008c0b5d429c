"""When what is used often failed too often in a row: it is not used until one try shows that it works again.

    CLOSED ──threshold failures in a row──▶ OPEN ──its time is over──▶ HALF_OPEN: one probe ──works──▶ CLOSED
                                              ▲                              │
                                              └──fails: twice as long────────┘

It guards what may fail as a whole: the credential of an app or a robot, an application of DashScope, the account that
pays for all of them. What was said about one message says nothing about that, and neither does our own trouble: such
tries neither open a breaker nor close it.

Pure: `shared.db.breakers` keeps breakers in rows, so that they hold over all replicas.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.values import value_class

_JITTER: Final = 0.2
"""At most so much longer by chance, so that not everybody comes back at once."""


class BreakerState(StrEnum):
    """Whether it is used."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not, until an instant."""
    HALF_OPEN = "half_open"
    """One use tries it, the others wait."""


class Sign(StrEnum):
    """What one try says about it."""

    WORKS = "works"
    FAILS = "fails"
    NEITHER = "neither"


@value_class
class Figures:
    """How patient a breaker is."""

    threshold: int = 10
    """Failures in a row that open it."""
    first: timedelta = timedelta(seconds=60)
    """How long it is open at first; after each probe that fails, twice as long."""
    most: timedelta = timedelta(minutes=10)
    """The longest that it becomes."""

    def period(self, failed_probes: int, jitter: float) -> timedelta:
        """How long it is open after so many probes that failed; *jitter* is drawn from [0, 1)."""
        # Past thirty doublings any first period is beyond any sensible cap, and timedelta would overflow.
        doubled: timedelta = self.first * 2.0 ** min(failed_probes, 30)
        return min(doubled, self.most) * (1 + _JITTER * jitter)


@value_class
class Tried:
    """One try that is over, as far as it says something."""

    sign: Sign
    began: datetime
    by: str
    """What tried: a delivery, an attempt."""
    store_id: str = ""
    reason: str = ""
    """Of a failure, as a stable word."""
    errcode: int | None = None
    detail: str = ""
    """The same for people."""
    opens: bool = False
    """Whether this failure opens it, however few there were before: nothing will work until somebody acts."""


@value_class
class Breaker:
    """How something stands; the default is that of what never failed."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    """How many tries in a row failed."""
    since: datetime | None = None
    """When the first of them was known."""
    failed_at: datetime | None = None
    """When the last of them was known."""
    opening: int = 0
    """How often it has opened; the number of the present opening, or of the last one."""
    failed_probes: int = 0
    """Of the present opening."""
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    """When a probe may go; set while it is not closed."""
    probe: str = ""
    """What probes; empty while nothing does."""
    probe_until: datetime | None = None
    """Until when it may take: its lease."""
    reason: str = ""
    """Of the last failure."""
    errcode: int | None = None
    detail: str = ""
    store_id: str = ""
    """The store whose try failed last while it was closed."""

    @property
    def clean(self) -> bool:
        """Whether a success would change nothing."""
        return self.state is BreakerState.CLOSED and not self.failures

    @property
    def holds(self) -> bool:
        """Whether others wait for it."""
        return self.state is not BreakerState.CLOSED

    def held_until(self, now: datetime) -> datetime:
        """When to look again; *now* where a probe may go at once."""
        if self.retry_at is not None and self.retry_at > now:
            return self.retry_at
        if self.probe and self.probe_until is not None and self.probe_until > now:
            return self.probe_until
        return now

    def may_probe(self, now: datetime) -> bool:
        """Whether something may go as the probe: its time has come, and no other is at it."""
        return self.holds and self.held_until(now) <= now


def after(breaker: Breaker, tried: Tried, *, now: datetime, figures: Figures, jitter: float) -> Breaker:
    """How it stands after *tried*."""
    probing = bool(breaker.probe) and breaker.probe == tried.by
    match tried.sign:
        case Sign.WORKS:
            # While it is open, one that began before the last failure proves nothing about what came after it.
            newer = breaker.failed_at is None or tried.began > breaker.failed_at
            return reset(breaker) if not breaker.holds or probing or newer else breaker
        case Sign.NEITHER:
            return replace(breaker, probe="", probe_until=None) if probing else breaker
        case Sign.FAILS:
            return _failed(breaker, tried, probing, now, figures, jitter)


def _failed(
    breaker: Breaker, tried: Tried, probing: bool, now: datetime, figures: Figures, jitter: float
) -> Breaker:
    worse = replace(
        breaker,
        failures=breaker.failures + 1,
        since=breaker.since or now,
        failed_at=now,
        reason=tried.reason,
        errcode=tried.errcode,
        detail=tried.detail,
        # Its alert is told there, and the news that it works again.
        store_id=breaker.store_id if breaker.holds else tried.store_id,
    )
    if probing:
        failed_probes = breaker.failed_probes + 1
        return replace(
            worse,
            state=BreakerState.OPEN,
            failed_probes=failed_probes,
            retry_at=now + figures.period(failed_probes, jitter),
            probe="",
            probe_until=None,
        )
    if breaker.holds or not (tried.opens or worse.failures >= figures.threshold):
        return worse
    return replace(
        worse,
        state=BreakerState.OPEN,
        opening=breaker.opening + 1,
        failed_probes=0,
        opened_at=now,
        retry_at=now + figures.period(0, jitter),
    )


def probing(breaker: Breaker, by: str, until: datetime) -> Breaker:
    """It stands so while *by* probes, at most *until*."""
    return replace(breaker, state=BreakerState.HALF_OPEN, probe=by, probe_until=until)


def reset(breaker: Breaker) -> Breaker:
    """Closed and clean. How often it has opened is remembered, which numbers the next opening, and for whom it failed."""
    return Breaker(opening=breaker.opening, store_id=breaker.store_id)
