"""What crosses the door to DashScope, whatever carries it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from shared.values import value_class


@value_class
class Usage:
    """Tokens that one call cost."""

    input_tokens: int
    output_tokens: int
    models: tuple[str, ...] = ()
    """Which models were used."""

    @property
    def total(self) -> int:
        """Both ways."""
        return self.input_tokens + self.output_tokens


@value_class
class Call:
    """One request."""

    app_type: str
    app_id: str
    prompt: str
    timeout: timedelta
    session_id: str = ""
    """Of a conversation; empty begins one."""
    traceparent: str = ""
    """W3C: what the call belongs to."""


@value_class
class Completion:
    """A reply that came whole."""

    text: str
    session_id: str
    finish_reason: str
    usage: Usage | None
    """None: the reply names none."""
    request_id: str
    took: timedelta


class Scope(StrEnum):
    """How far a failure reaches."""

    NONE = "none"
    """It says nothing about the service: our bug, or refused content."""
    APP = "app"
    KEY = "key"
    ACCOUNT = "account"


class Count(StrEnum):
    """What a failure does to the breaker of its scope."""

    NEVER = "never"
    COUNT = "count"
    """One of several in a row."""
    OPEN = "open"
    """Opens it at once."""
    SLOW = "slow"
    """Does not open it; the rate rests until `retry_at`."""


class Tokens(StrEnum):
    """What a failed call cost."""

    RELEASE = "release"
    """Nothing: it did not run."""
    HOLD = "hold"
    """Unknown: the whole hold is charged."""


@value_class
class CallProblem:
    """A call that failed, classified by `dashscope-api.md` 6."""

    reason: str
    """A stable word: throttled, arrears, content_refused, app_missing, timeout, unknown, …"""
    code: str = ""
    """The platform's own."""
    http_status: int | None = None
    message: str = ""
    """The platform's, cut and masked."""
    request_id: str = ""
    scope: Scope = Scope.APP
    count: Count = Count.COUNT
    tokens: Tokens = Tokens.HOLD
    repeatable: bool = False
    """Whether the same request may be sent again."""
    sent: bool = True
    """False: certainly not a byte of it left."""
    retry_at: datetime | None = None
    took: timedelta = timedelta(0)


Outcome = Completion | CallProblem
"""How a call ended."""
