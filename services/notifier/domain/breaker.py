"""When a credential failed too often in a row: nothing is sent with it until one try shows that it works again.

    CLOSED ──threshold failures in a row──▶ OPEN ──its time is over──▶ HALF_OPEN: one probe ──works──▶ CLOSED
                                              ▲                              │
                                              └──fails: twice as long────────┘

What the platform says about one message says nothing about the credential, and neither does our own trouble: such
tries neither open a breaker nor close it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.notifier.domain.lifecycle import AttemptState
from services.notifier.domain.retry import JITTER, Answer, RetryClass
from shared.values import value_class

HELD = "breaker:open"
"""What a delivery waits for whose credential's breaker is open."""


class BreakerState(StrEnum):
    """Whether a credential is used."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not, until an instant."""
    HALF_OPEN = "half_open"
    """One delivery tries it, the others wait."""


class Sign(StrEnum):
    """What one try says about its credential."""

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
        return min(doubled, self.most) * (1 + JITTER * jitter)


@value_class
class Tried:
    """One try that is over, as far as it says something about its credential."""

    sign: Sign
    began: datetime
    delivery_id: str
    store_id: str = ""
    reason: str = ""
    """Of a failure, as a stable word."""
    errcode: int | None = None
    detail: str = ""
    """The same for people."""


@value_class
class Breaker:
    """How a credential stands; the default is that of one that never failed."""

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
    """The delivery that probes; empty while none does."""
    probe_until: datetime | None = None
    """Until when it may take: its lease."""
    reason: str = ""
    """Of the last failure."""
    errcode: int | None = None
    detail: str = ""
    store_id: str = ""
    """The store whose delivery failed last while it was closed."""

    @property
    def clean(self) -> bool:
        """Whether a success would change nothing."""
        return self.state is BreakerState.CLOSED and not self.failures

    @property
    def holds(self) -> bool:
        """Whether deliveries wait for it."""
        return self.state is not BreakerState.CLOSED

    def held_until(self, now: datetime) -> datetime:
        """When to look again; *now* where a probe may go at once."""
        if self.retry_at is not None and self.retry_at > now:
            return self.retry_at
        if self.probe and self.probe_until is not None and self.probe_until > now:
            return self.probe_until
        return now

    def may_probe(self, now: datetime) -> bool:
        """Whether a delivery may go as the probe: its time has come, and no other is at it."""
        return self.holds and self.held_until(now) <= now


def sign(answer: Answer, *, refreshed: bool) -> Sign:
    """What *answer* says about the credential; *refreshed*: its token had been renewed for this delivery before."""
    if answer.state in (AttemptState.ACCEPTED, AttemptState.ACCEPTED_PARTIAL):
        return Sign.WORKS
    if answer.cause in _OURS or answer.retry_class in _ABOUT_THE_MESSAGE:
        return Sign.NEITHER
    if answer.retry_class is RetryClass.REFRESH and not refreshed:
        return Sign.NEITHER  # tokens end: all that were under way meet it at once, and a fresh one mends it
    return Sign.FAILS


_OURS = frozenset({"own_database", "content_unsuitable", "stopped", "defect", "pool_unknown"})
_ABOUT_THE_MESSAGE = frozenset(
    # An account that was too fast rests, which is a wait of its own.
    {RetryClass.PERM_INPUT, RetryClass.PERM_TARGET, RetryClass.STATE, RetryClass.REST}
)


def after(breaker: Breaker, tried: Tried, *, now: datetime, figures: Figures, jitter: float) -> Breaker:
    """How the credential stands after *tried*."""
    probing = bool(breaker.probe) and breaker.probe == tried.delivery_id
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
    if breaker.holds or worse.failures < figures.threshold:
        return worse
    return replace(
        worse,
        state=BreakerState.OPEN,
        opening=breaker.opening + 1,
        failed_probes=0,
        opened_at=now,
        retry_at=now + figures.period(0, jitter),
    )


def probing(breaker: Breaker, delivery_id: str, until: datetime) -> Breaker:
    """It stands so while *delivery_id* probes, at most *until*."""
    return replace(breaker, state=BreakerState.HALF_OPEN, probe=delivery_id, probe_until=until)


def reset(breaker: Breaker) -> Breaker:
    """Closed and clean. How often it has opened is remembered, which numbers the next opening, and for whom it failed."""
    return Breaker(opening=breaker.opening, store_id=breaker.store_id)
