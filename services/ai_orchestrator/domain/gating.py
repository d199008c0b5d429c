"""The gates before every request that leaves the process, in this order: breaker, rate, budget."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from shared.errors import ReachError, Throttled, Unavailable
from shared.values import value_class


class Refusal(StrEnum):
    """Why a call may not leave now; the words of alerts."""

    CIRCUIT_OPEN = "circuit_open"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXCEEDED = "budget_exceeded"


@value_class
class Wish:
    """A call that wants to leave."""

    attempt_id: str
    """The hold's key; also the probe's name of a half-open breaker."""
    store_id: str
    app_type: str
    prompt_bytes: int
    """From which, and from what the app cost before, the hold is guessed."""
    interactive: bool
    """Someone waits for it: prewarm leaves room for such."""
    until: datetime
    """When its attempt is over at the latest: a hold that nobody settled is charged from then on."""


@value_class
class Granted:
    """It may leave; settle it, whatever comes."""

    attempt_id: str
    tokens: int
    """Held of every budget it counts against."""


@value_class
class Refused:
    """Nothing was taken."""

    refusal: Refusal
    detail: str
    """For people: which breaker, window or budget, its figures."""
    until: datetime
    """When it could pass at the earliest."""


def refusal_error(refused: Refused, now: datetime) -> ReachError:
    """What a caller who waits is told of a refusal."""
    wait = max(refused.until - now, timedelta(0))
    match refused.refusal:
        case Refusal.CIRCUIT_OPEN:
            return Unavailable("CIRCUIT_OPEN", refused.detail, retry_after=wait)
        case Refusal.RATE_LIMITED:
            return Throttled("RATE_LIMITED", refused.detail, retry_after=wait, limit="ai")
        case Refusal.BUDGET_EXCEEDED:
            return Throttled("BUDGET_EXCEEDED", refused.detail, retry_after=wait, limit="ai")
