"""What follows from one look at a task that exists, and when its owner is reminded.

nobody has confirmed     1, 2, 5, 10, 30 min later again, then every hour; whatever is new begins that anew
confirmed in part        the same: groups that were not sent to yet are not listed, and absence is no failure
all groups have ended    over
the deadline             one look more, the task is stopped at the platform, and the rest was never confirmed
the campaign cancelled   one look more, the task is stopped at the platform, and the rest is cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.window import SendWindow, next_open
from shared.values import value_class
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

DELAYS: Final = tuple(timedelta(minutes=pause) for pause in (1, 2, 5, 10, 30, 60))
"""The waits before the looks that follow one that brought something; the last is for all further ones."""
FAILED: Final = tuple(timedelta(seconds=pause) for pause in (10, 30, 60, 120, 300, 600, 1800, 3600))
"""The waits after looks that came to nothing; the last is for all further ones."""
REST: Final = timedelta(seconds=60)
REST_MOST: Final = timedelta(hours=1)
SETTING: Final = timedelta(minutes=10)
"""The least wait where only an administrator can help."""

A_DAY: Final = timedelta(hours=24, minutes=1)
"""In which a task's owner is reminded three times at most: the platform's day, and what a request may be under way."""
REMINDERS_A_DAY: Final = 3

NOT_YET, STOPPED, NOT_FOUND, REMINDED_OUT = 41063, 41093, 41047, 41094


class FollowStatus(StrEnum):
    """How the following of a task ended; before that it is a due row."""

    CONFIRMED = "confirmed"
    """Every group of it has its outcome."""
    NEVER_CONFIRMED = "never_confirmed"
    """The deadline passed before."""
    CANCELLED = "cancelled"
    """It was stopped at the platform."""
    NOT_FOUND = "not_found"
    """The platform does not know it."""


class Reminded(StrEnum):
    """What became of a reminder; '' while that is not known."""

    GIVEN = "given"
    UNKNOWN = "unknown"
    """It may have been given, and counts."""
    REFUSED = "refused"
    """The platform refused it: it does not count."""
    DROPPED = "dropped"
    """It was not wanted any more when its turn came: it does not count."""


_UNCOUNTED: Final = (Reminded.REFUSED, Reminded.DROPPED)
"""Reminders that the platform's three do not hold."""


def status_of(raw: int) -> TargetStatus | None:
    """What the platform's number for one group means; None for a number that nobody knows, which decides nothing."""
    return {
        0: TargetStatus.AWAITING_OWNER,
        1: TargetStatus.SENT,
        2: TargetStatus.GROUP_GONE,
        3: TargetStatus.LIMIT_REACHED,
    }.get(raw)


def may_become(before: TargetStatus, after: TargetStatus) -> bool:
    """Whether a group's state may change so, or be told anew: forward only, and whatever the platform says was sent, was
    sent."""
    return before is not TargetStatus.SENT and (after is TargetStatus.SENT or not before.over)


def next_look(looks: int, now: datetime, confirm_by: datetime) -> datetime:
    """When to look again after *looks* looks that brought nothing new; never past the deadline where that is ahead."""
    due = now + DELAYS[min(looks, len(DELAYS) - 1)]
    return min(due, confirm_by) if now < confirm_by else due


class Fault(StrEnum):
    """Why a look, or a stop, came to nothing."""

    AGAIN = "again"
    TOKEN = "token"
    REST = "rest"
    """Everybody has to rest."""
    SETTING = "setting"
    STOPPED = "stopped"
    """The task was stopped at the platform: it tells nothing more."""
    NOT_FOUND = "not_found"
    """The platform does not know the task."""


def fault_of(outcome: Outcome) -> Fault | None:
    """None where there is an answer."""
    if outcome.state in (State.ACCEPTED, State.ACCEPTED_PARTIAL):
        return None
    if outcome.errcode == STOPPED:
        return Fault.STOPPED
    if outcome.errcode == NOT_FOUND:
        return Fault.NOT_FOUND
    match outcome.retry_class:
        case RetryClass.REST:
            return Fault.REST
        case RetryClass.REFRESH:
            return Fault.TOKEN
        case RetryClass.PERM_CONFIG:
            return Fault.SETTING
    return Fault.AGAIN


def after_fault(fault: Fault, outcome: Outcome, failures: int, now: datetime) -> datetime:
    """When to look again after a look that came to nothing, *failures* of which went before."""
    if fault is Fault.REST:
        return now + min(outcome.retry_after or REST, REST_MOST)
    if fault is Fault.TOKEN and failures < 2:
        return now
    wait = FAILED[min(failures, len(FAILED) - 1)]
    return now + (max(wait, SETTING) if fault is Fault.SETTING else wait)


@value_class
class Policy:
    """When owners are reminded by themselves."""

    every: timedelta
    """After the task was made, and after each reminder."""
    most: int
    """Of one task; 0: never."""


@value_class
class Reminder:
    """One that was written down."""

    number: int
    by: str
    asked_at: datetime
    began_at: datetime | None
    outcome: str
    errcode: int | None

    @property
    def planned(self) -> bool:
        """Whether it still has to leave."""
        return not self.outcome and self.began_at is None

    @property
    def counts(self) -> bool:
        """Whether the platform's three may hold it."""
        return self.outcome not in _UNCOUNTED


def free_at(given: Sequence[Reminder], now: datetime) -> datetime:
    """When one more may be asked for: *now*, or when the third last is a day old."""
    full = [one.asked_at for one in given if one.errcode == REMINDED_OUT and one.asked_at > now - A_DAY]
    known = sorted(one.asked_at for one in given if one.counts and one.asked_at > now - A_DAY)
    until = [at + A_DAY for at in full]
    if len(known) >= REMINDERS_A_DAY:
        until.append(known[-REMINDERS_A_DAY] + A_DAY)
    return max(until, default=now)


def next_reminder(
    policy: Policy,
    window: SendWindow,
    given: Sequence[Reminder],
    made_at: datetime,
    confirm_by: datetime,
    now: datetime,
) -> datetime | None:
    """When the owner of a task is reminded by itself; None where that is before the deadline no more.

    Never outside *window*, and never more than three times in a day, whoever asked for them.
    """
    counted = [one for one in given if one.counts]
    if policy.most <= sum(not one.by for one in counted):
        return None
    # One that was refused would be refused again: it waits as long as if it had been given.
    last = max((one.asked_at for one in given if one.outcome != Reminded.DROPPED), default=made_at)
    due = next_open(window, max(last + policy.every, free_at(given, now), now))
    return due if due is not None and due < confirm_by else None
