"""What follows from one request to make a task, and from one look for a task that may exist.

    made               the owner is asked
    nothing was sent   1, 2, 5 … s later again, as often as the deployment allows; then refused
    token, file gone   renewed once each, which does not count
    too often          everybody rests, which does not count
    refused            for good; where a setting of the corp is at fault, the campaign pauses and the task waits
    outcome unclear    looked for, several times: found is made, not found is made again; several are for a person, and
                       so is what cannot be looked for within a day

A task is never made again as long as an earlier request may have made it: the platform cannot tell a repeat.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntFlag, StrEnum
from typing import Final

from services.campaign.domain.outcomes import TaskStatus
from shared.values import value_class
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

DELAYS: Final = tuple(timedelta(seconds=pause) for pause in (1, 2, 5, 10, 30, 60, 120, 300, 300, 300))
"""The waits before the second try, the third, and so on; how many of them count is a setting."""
LOOKS: Final = tuple(timedelta(seconds=pause) for pause in (5, 15, 60))
"""The waits before each look for a task that may exist: the platform lists one only after some seconds. It is made again
only where it was absent twice, a minute apart."""
AGAIN: Final = timedelta(seconds=30)
"""The wait after a look that could not be finished; it does not count."""
GIVE_UP: Final = timedelta(days=1)
"""So long after the request a look that could not be finished is the last: a person decides."""
JITTER: Final = 0.2
REST: Final = timedelta(seconds=60)
REST_MOST: Final = timedelta(hours=1)

_NOBODY_LEFT: Final = 41048
_MEDIA_GONE: Final = 40007
_OF_OWNER: Final = {
    40003: "owner_unknown",
    46004: "owner_unknown",
    50002: "owner_out_of_range",
    60011: "owner_out_of_range",
    60021: "owner_out_of_range",
    60111: "owner_unknown",
    84074: "owner_without_permission",
    90502: "owner_left",
}
"""Refusals that are about the sender alone, though the platform files some of them under settings."""
_OF_TASK: Final = {
    _MEDIA_GONE: "media_refused",
    _NOBODY_LEFT: "nobody_left",
    40058: "invalid_request",
    84061: "no_relation",
    41064: "attachments_refused",
    41065: "attachments_refused",
    40201: "blocked_as_spam",
    40204: "blocked_as_spam",
    41088: "attachments_refused",
    45002: "too_long",
}


class Came(StrEnum):
    """What one request brought."""

    MADE = "made"
    NOT_SENT = "not_sent"
    LATE = "late"
    """Its moment had passed before it could leave."""
    BUSY = "busy"
    REST = "rest"
    TOKEN = "token"
    MEDIA = "media"
    """A file of its attachments is not at the platform any more."""
    SETTING = "setting"
    """Refused for a setting of the corp: every other one would be, too."""
    REFUSED = "refused"
    UNKNOWN = "unknown"


def came_of(outcome: Outcome) -> Came:
    """The answer in one word."""
    if outcome.state in (State.ACCEPTED, State.ACCEPTED_PARTIAL):
        return Came.MADE
    if outcome.state is State.UNKNOWN:
        return Came.UNKNOWN
    if outcome.cause == "too_late":
        return Came.LATE
    if outcome.errcode == _MEDIA_GONE:
        return Came.MEDIA
    if outcome.errcode in _OF_OWNER or outcome.errcode in _OF_TASK:
        return Came.REFUSED
    match outcome.retry_class:
        case RetryClass.REST:
            return Came.REST
        case RetryClass.REFRESH:
            return Came.TOKEN
        case RetryClass.PERM_CONFIG:
            return Came.SETTING
        case RetryClass.RETRY:
            return Came.NOT_SENT if outcome.state is State.NOT_SENT else Came.BUSY
    return Came.NOT_SENT if outcome.state is State.NOT_SENT else Came.REFUSED


class Renewed(IntFlag):
    """What was renewed for a task; each once, and after that a refusal for it counts."""

    NOTHING = 0
    TOKEN = 1
    FILES = 2


@value_class
class Tries:
    """What a task has used up before the try at hand."""

    retries: int = 0
    renewals: Renewed = Renewed.NOTHING
    looks: int = 0


@value_class
class Next:
    """What becomes of the task."""

    status: TaskStatus
    reason: str = ""
    """Why it is refused or unknown."""
    due_at: datetime | None = None
    hold_reason: str = ""
    tries: Tries = Tries()
    unclear: bool = False
    """Whether a request may have made it."""
    rest_until: datetime | None = None
    """Until when nothing at all is to be made."""
    pause: str = ""
    """Why the campaign has to pause; '' where it goes on."""


def after_request(
    outcome: Outcome, tries: Tries, now: datetime, *, retry_max: int, jitter: float = 0.0
) -> Next:
    """What follows from a request; *jitter* is drawn from [0, 1)."""
    came = came_of(outcome)
    match came:
        case Came.MADE:
            return Next(TaskStatus.CREATED, tries=tries)
        case Came.UNKNOWN:
            looking = Tries(tries.retries, tries.renewals)
            return _look(looking, now)
        case Came.LATE:
            return Next(TaskStatus.DEFERRED, due_at=now, hold_reason="pace", tries=tries)
        case Came.REST:
            until = now + _spread(min(outcome.retry_after or REST, REST_MOST), jitter)
            return Next(TaskStatus.DEFERRED, due_at=until, hold_reason="rest", tries=tries, rest_until=until)
        case Came.TOKEN if Renewed.TOKEN not in tries.renewals:
            return _renewed(came, Renewed.TOKEN, tries, now)
        case Came.MEDIA if Renewed.FILES not in tries.renewals:
            return _renewed(came, Renewed.FILES, tries, now)
        case Came.SETTING:
            return Next(
                TaskStatus.DEFERRED, due_at=now, hold_reason="paused", tries=tries, pause="platform_refuses"
            )
        case Came.NOT_SENT | Came.BUSY | Came.TOKEN:
            return again(tries, now, retry_max=retry_max, jitter=jitter, wait=outcome.retry_after)
    return Next(TaskStatus.REFUSED, reason_of(outcome), tries=tries)


def _renewed(came: Came, what: Renewed, tries: Tries, now: datetime) -> Next:
    used = Tries(tries.retries, tries.renewals | what)
    return Next(TaskStatus.DEFERRED, due_at=now, hold_reason=f"renew_{came}", tries=used)


def again(
    tries: Tries, now: datetime, *, retry_max: int, jitter: float = 0.0, wait: timedelta | None = None
) -> Next:
    """What follows where certainly nothing was made; *wait* is asked for at least."""
    if tries.retries >= min(retry_max, len(DELAYS)):
        return Next(TaskStatus.REFUSED, "retries_exhausted", tries=tries)
    pause = _spread(max(DELAYS[tries.retries], min(wait or timedelta(0), REST_MOST)), jitter)
    used = Tries(tries.retries + 1, tries.renewals)
    return Next(TaskStatus.DEFERRED, due_at=now + pause, hold_reason="retry", tries=used)


def reason_of(outcome: Outcome) -> str:
    """Why the platform refused, in one stable word."""
    code = outcome.errcode
    if code is None:
        return outcome.cause or "platform_refused"
    return _OF_OWNER.get(code) or _OF_TASK.get(code) or "platform_refused"


class Sight(StrEnum):
    """What one look for a task brought."""

    FOUND = "found"
    NOTHING = "nothing"
    SEVERAL = "several"
    """More than one could be it."""
    UNSEEN = "unseen"
    """The look could not be finished."""


def after_look(
    sight: Sight, tries: Tries, now: datetime, *, since: datetime, retry_max: int, jitter: float = 0.0
) -> Next:
    """What follows from a look for what a request of *since* may have made."""
    match sight:
        case Sight.FOUND:
            return Next(TaskStatus.CREATED, tries=tries)
        case Sight.SEVERAL:
            return Next(TaskStatus.UNKNOWN, "several_found", tries=tries, unclear=True)
        case Sight.UNSEEN if now - since >= GIVE_UP:
            return Next(TaskStatus.UNKNOWN, "look_up_failed", tries=tries, unclear=True)
        case Sight.UNSEEN:
            due = now + _spread(AGAIN, jitter)
            return Next(TaskStatus.DEFERRED, due_at=due, hold_reason="look_up", tries=tries, unclear=True)
    looked = Tries(tries.retries, tries.renewals, tries.looks + 1)
    if looked.looks < len(LOOKS):
        return _look(looked, now)
    return again(Tries(tries.retries, tries.renewals), now, retry_max=retry_max, jitter=jitter)


def _look(tries: Tries, now: datetime) -> Next:
    due = now + LOOKS[tries.looks]
    return Next(TaskStatus.DEFERRED, due_at=due, hold_reason="look_up", tries=tries, unclear=True)


def _spread(pause: timedelta, jitter: float) -> timedelta:
    return pause * (1 + JITTER * jitter)
