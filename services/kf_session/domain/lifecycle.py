"""The states of a push, and what follows from one try of it.

    accepted           the platform took it; its credit is spent
    nothing was sent   its credit is given back; 1, 2 and 5 s later again, then failed
    outcome unclear    its credit is kept; the same msgid again, which the platform takes once; at last unknown
    too many, too late, wrong state
                       what we know of the session is put right, and the gates decide anew without a call
    refused for good   failed

A push that was unclear once and is never accepted ends as unknown, not as failed: somebody may have read it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.kf_session.domain.push import Purpose
from shared.values import value_class

DELAYS: Final = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=5))
"""The waits before the second, third and fourth try."""
JITTER: Final = 0.2
REST: Final = timedelta(seconds=60)
REST_MOST: Final = timedelta(hours=1)


class PushStatus(StrEnum):
    """Where a push stands."""

    PENDING = "pending"
    DEFERRED = "deferred"
    SENDING = "sending"
    ACCEPTED = "accepted"
    """The platform took it. It may still say later that it failed."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody can tell whether it arrived."""
    SUPPRESSED = "suppressed"
    """Not sent on purpose; the reason says why, ``merged`` that another one carries it."""
    EXPIRED = "expired"

    @property
    def open(self) -> bool:
        """Whether it may still go."""
        return self in (PushStatus.PENDING, PushStatus.DEFERRED, PushStatus.SENDING)


class Came(StrEnum):
    """What one try brought."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    """Refused since its msgid is known: an earlier try of unknown outcome was accepted."""
    NOT_SENT = "not_sent"
    BUSY = "busy"
    REST = "rest"
    TOKEN = "token"
    FULL = "full"
    CLOSED = "closed"
    STATE = "state"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Credit(StrEnum):
    """What becomes of the credit that was reserved."""

    SPEND = "spend"
    KEEP = "keep"
    GIVE_BACK = "give_back"


@value_class
class Tries:
    """What a push has used up before the try at hand."""

    retries: int = 0
    refreshes: int = 0
    unclear: bool = False
    """Whether the outcome of an earlier try is unknown."""


@value_class
class Next:
    """What becomes of the push."""

    status: PushStatus
    credit: Credit
    reason: str = ""
    due_at: datetime | None = None
    hold_reason: str = ""
    counts_as_retry: bool = False
    counts_as_refresh: bool = False


def after(
    came: Came,
    tries: Tries,
    purpose: Purpose,
    now: datetime,
    *,
    jitter: float,
    errcode: int | None = None,
    cause: str = "",
    wait: timedelta | None = None,
    by_code: bool = False,
) -> Next:
    """What follows; *jitter* is drawn from [0, 1), *wait* is what the answer asks for at least."""
    unclear = tries.unclear or came is Came.UNKNOWN
    credit = Credit.KEEP if unclear else Credit.GIVE_BACK
    match came:
        case Came.ACCEPTED:
            return Next(PushStatus.ACCEPTED, Credit.SPEND)
        case Came.REPEATED if tries.unclear:
            return Next(PushStatus.ACCEPTED, Credit.SPEND)
        case Came.REST:
            pause = min(wait or REST, REST_MOST)
            return Next(
                PushStatus.DEFERRED, credit, due_at=now + _spread(pause, jitter), hold_reason="rate:kf"
            )
        case Came.TOKEN if tries.refreshes == 0:
            return Next(
                PushStatus.DEFERRED, credit, due_at=now, hold_reason="retry:token", counts_as_refresh=True
            )
        case Came.FULL | Came.CLOSED | Came.STATE if not by_code and tries.retries < len(DELAYS):
            # What is known of the session has been put right: the gates say the rest.
            hold = f"corrected:{came}"
            return Next(PushStatus.DEFERRED, credit, due_at=now, hold_reason=hold, counts_as_retry=True)
        case Came.NOT_SENT | Came.BUSY | Came.TOKEN | Came.UNKNOWN if tries.retries < len(DELAYS):
            pause = _spread(max(DELAYS[tries.retries], min(wait or timedelta(0), REST_MOST)), jitter)
            hold = f"retry:{came}"
            return Next(
                PushStatus.DEFERRED, credit, due_at=now + pause, hold_reason=hold, counts_as_retry=True
            )
    return _ended(came, unclear, errcode, cause)


def _ended(came: Came, unclear: bool, errcode: int | None, cause: str) -> Next:
    if unclear:
        return Next(PushStatus.UNKNOWN, Credit.SPEND, "outcome_unknown")
    if came in (Came.NOT_SENT, Came.BUSY, Came.TOKEN):
        return Next(PushStatus.FAILED, Credit.GIVE_BACK, "retries_exhausted")
    reason = _WORDS.get(came) or cause or "rejected"
    return Next(PushStatus.FAILED, Credit.GIVE_BACK, reason if errcode is None else f"{reason}:{errcode}")


_WORDS: Final = {Came.FULL: "KF_WINDOW_FULL", Came.CLOSED: "KF_WINDOW_CLOSED", Came.STATE: "session_state"}


def _spread(pause: timedelta, jitter: float) -> timedelta:
    return pause * (1 + JITTER * jitter)


FAIL_TYPES: Final = {
    0: "late_unknown",
    1: "account_deleted",
    2: "app_closed",
    4: "window_closed",
    5: "session_closed",
    6: "count_exceeded",
    8: "corp_unverified",
    10: "customer_refused",
    11: "no_servicer",
    12: "type_barred",
    13: "security_limit",
}
"""Why the platform said later that a message it had taken failed (msg_send_fail)."""


def late_reason(fail_type: int) -> str:
    """The stable word of a *fail_type*; for one we do not know, its number."""
    return FAIL_TYPES.get(fail_type, f"late_{fail_type}")
