"""What happens after a try: again, later, never, or nobody can tell.

    nothing was sent, -1     1, 2 and 5 s later, then failed
    token refused            at once with a fresh one; that first time is free, then like -1
    no token to be had       as its errcode asks: rest, or failed where somebody must change a setting
    too fast (45009, 429)    the whole account rests; the delivery waits with it, at no cost
    refused for good         failed
    outcome unclear, app     1, 2 and 5 s later with the same bytes, as long as the platform recognises them
    outcome unclear, robot   urgent and high: once more, marked 「可能重复」; others stay unknown

A delivery that was unclear once and is never accepted ends as unknown, not as failed: somebody may have read it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.notifier.domain.content import DUPLICATE_INTERVAL
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.routing import Channel
from services.notifier.domain.rules import Priority
from shared.values import value_class

DELAYS = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=5))
"""The waits before the second, third and fourth try."""

JITTER = 0.2
"""The most that chance adds to a wait, as a part of it."""

REST = timedelta(seconds=60)
"""How long an account rests that the platform found too fast: it blocks for the window that was exceeded, a minute."""

REST_LEAST = timedelta(seconds=5)
REST_MOST = timedelta(hours=1)
"""Bounds of what an answer's Retry-After may ask for."""

RECOGNISED = DUPLICATE_INTERVAL - timedelta(minutes=1)
"""How long after a try the platform is trusted to recognise the same bytes; a minute short of what it promises."""


class RetryClass(StrEnum):
    """What an errcode asks for; the words of the errcode table."""

    REFRESH = "refresh"
    RETRY = "retry"
    REST = "rest"
    PERM_CONFIG = "perm_config"
    PERM_INPUT = "perm_input"
    PERM_TARGET = "perm_target"
    STATE = "state"


@value_class
class Answer:
    """What one try brought."""

    state: AttemptState
    retry_class: RetryClass | None = None
    """Of the errcode, or of the one that refused a token; None when there was none."""
    errcode: int | None = None
    retry_after: timedelta | None = None
    """How long to wait at least: by the answer's Retry-After, or by the errcode."""
    cause: str = ""
    """Why we refused it ourselves, as a stable word; empty where the platform did."""


@value_class
class Spent:
    """What a delivery has used up before the try at hand."""

    retries: int = 0
    refreshes: int = 0
    resent: bool = False
    """Whether the try at hand was already marked as a possible repeat."""
    unclear_since: datetime | None = None
    """When the first try started whose outcome nobody knows; None when there was none before this one."""


@value_class
class Next:
    """What becomes of the delivery."""

    status: DeliveryStatus
    """DEFERRED, ACCEPTED, FAILED or UNKNOWN."""
    reason: str = ""
    """Why it ended, as a stable word; empty when it was accepted or goes on."""
    due_at: datetime | None = None
    """When it goes again; set exactly when it is DEFERRED."""
    hold_reason: str = ""
    """What it waits for; set exactly when it is DEFERRED."""
    resend_mark: bool = False
    """Whether the next try says that it may be a repeat."""
    counts_as_retry: bool = False
    counts_as_refresh: bool = False
    rest_until: datetime | None = None
    """Until when nothing may be sent with this account; None where it may go on."""


def after(
    answer: Answer,
    *,
    channel: Channel,
    priority: Priority,
    spent: Spent,
    now: datetime,
    started_at: datetime,
    jitter: float,
) -> Next:
    """What follows from *answer* to the try that started at *started_at*; *jitter* is drawn from [0, 1).

    Raises ValueError for an answer that is still out (STARTED): whoever takes over such a try calls it UNKNOWN.
    """
    if answer.state in _REACHED:
        return ACCEPTED
    case = _Case(answer, channel, priority, spent, now, jitter)
    match answer.state:
        case AttemptState.NOT_SENT:
            return case.not_sent()
        case AttemptState.REJECTED_RETRYABLE:
            return case.refused_for_now()
        case AttemptState.REJECTED_PERMANENT:
            return case.end(answer.cause or str(answer.retry_class or "rejected"))
        case AttemptState.UNKNOWN:
            return case.unclear(started_at)
        case _:
            raise ValueError("the answer is still out")


def by_another(following: Next, retries: int, now: datetime) -> Next:
    """What follows where another robot serves the same group: what one cannot send the next one tries at once.

    Not what may have arrived, and at most as often as anything is tried again.
    """
    if following.status is not DeliveryStatus.FAILED or retries >= len(DELAYS):
        return following
    return Next(DeliveryStatus.DEFERRED, due_at=now, hold_reason="retry:member", counts_as_retry=True)


def forgotten(unclear_since: datetime | None, at: datetime) -> bool:
    """Whether the same bytes sent at *at* could arrive a second time as an app message.

    Ask it again before a try that waited longer than planned: after a restart, a rate, a replay.
    """
    return unclear_since is not None and at - unclear_since >= RECOGNISED


_PERMANENT = frozenset(
    {RetryClass.PERM_CONFIG, RetryClass.PERM_INPUT, RetryClass.PERM_TARGET, RetryClass.STATE}
)
_REACHED = frozenset({AttemptState.ACCEPTED, AttemptState.ACCEPTED_PARTIAL})
ACCEPTED = Next(DeliveryStatus.ACCEPTED)
LOST = Next(DeliveryStatus.UNKNOWN, "outcome_unknown")
"""The end of what may have arrived and is not tried again."""


@value_class
class _Case:
    answer: Answer
    channel: Channel
    priority: Priority
    spent: Spent
    now: datetime
    jitter: float

    def not_sent(self) -> Next:
        """The request never left; a class says that no token could be had, and why."""
        asked = self.answer.retry_class
        if asked is RetryClass.REST:
            return self._rest()
        if asked in _PERMANENT:
            return self.end(str(asked))
        return self.again("retry:not_sent")

    def refused_for_now(self) -> Next:
        """Refused in a way that may pass."""
        asked = self.answer.retry_class
        if asked is RetryClass.REST:
            return self._rest()
        if asked is not RetryClass.REFRESH:
            return self.again("retry:busy")
        if self.spent.refreshes == 0:
            return self._defer(
                Next(DeliveryStatus.DEFERRED, hold_reason="retry:token", counts_as_refresh=True)
            )
        return self.again("retry:token")

    def unclear(self, started_at: datetime) -> Next:
        """It may have been accepted."""
        since = self.spent.unclear_since or started_at
        case = replace(self, spent=replace(self.spent, unclear_since=since))
        if self.channel is Channel.APP:
            return case.again("retry:unknown")
        if self.priority > Priority.HIGH or self.spent.resent:
            return LOST
        return replace(case.again("retry:unknown"), resend_mark=True)

    def again(self, hold_reason: str) -> Next:
        """One of the three further tries, or the end."""
        if self.spent.retries >= len(DELAYS):
            return self.end("retries_exhausted")
        plan = Next(DeliveryStatus.DEFERRED, hold_reason=hold_reason, counts_as_retry=True)
        asked = min(self.answer.retry_after or timedelta(0), REST_MOST)
        return self._defer(plan, max(DELAYS[self.spent.retries], asked))

    def end(self, reason: str) -> Next:
        """No further try. What was unclear once stays so."""
        if self.spent.unclear_since is not None:
            return LOST
        code = self.answer.errcode
        return Next(DeliveryStatus.FAILED, reason if code is None else f"{reason}:{code}")

    def _rest(self) -> Next:
        asked = self.answer.retry_after
        pause = REST if asked is None else min(max(asked, REST_LEAST), REST_MOST)
        plan = self._defer(Next(DeliveryStatus.DEFERRED, hold_reason=f"rate:{self.channel}"), pause)
        return replace(plan, rest_until=self.now + self._jittered(pause))

    def _defer(self, plan: Next, pause: timedelta = timedelta(0)) -> Next:
        due_at = self.now + self._jittered(pause)
        if self.channel is Channel.APP and forgotten(self.spent.unclear_since, due_at):
            return LOST
        # A robot's post that may have arrived says so in every try that follows.
        return replace(plan, due_at=due_at, resend_mark=self.spent.resent)

    def _jittered(self, pause: timedelta) -> timedelta:
        return pause * (1 + JITTER * self.jitter)
