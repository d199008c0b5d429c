"""The gates before every request that leaves the process, in this order: breaker, rate, budget."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

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
