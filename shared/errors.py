"""The words this suite uses for failure.

    ReachError
    ├── Invalid           the caller must change the request
    ├── Unauthenticated   nobody we know is calling
    ├── Denied            the caller may not do this
    ├── NotFound          the thing named does not exist, or is not the caller's to see
    ├── Conflict          right request, wrong state
    ├── Unsupported       asked for something this deployment does not do
    ├── Overtaken         someone changed it in between; read again and retry
    ├── Throttled         a quota is spent; ``retry_after`` says when to return
    └── Unavailable       something we depend on is down

Domain code raises the first of these, stores ``Overtaken``, limiters and adapters the last two.
Nothing else should cross a module boundary. ``shared.rpc.status`` is the one place that turns them
into gRPC; ``shared.bus`` the one that turns them into a message's fate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from shared.values import value_class


@value_class
class Violation:
    """One thing wrong with one field of a request."""

    field: str
    """Path of the field, as the contract spells it (``targets[2].userid``)."""

    description: str
    """What is wrong and how to put it right, for people."""


class ReachError(Exception):
    """Base of every failure with a meaning.

    ``reason`` is the stable name clients may branch on (UPPER_SNAKE, listed in
    ``reach/errors/v1/error_reason.proto``); ``facts`` are what a person would ask for first.
    Neither holds secrets or personal data.
    """

    transient: ClassVar[bool] = False
    """Whether the same request may succeed later, unchanged."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
        **facts: object,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.facts = {key: str(value) for key, value in facts.items()}


class Invalid(ReachError):
    """The request cannot be carried out as it is; ``violations`` name the fields."""

    @classmethod
    def field(cls, field: str, description: str, reason: str = "FIELD_INVALID") -> Invalid:
        """The common case: one field is wrong."""
        return cls(reason, f"{field}: {description}", violations=[Violation(field, description)])


class Unauthenticated(ReachError):
    """No credentials, or none we know."""


class Denied(ReachError):
    """Known caller, missing permission."""


class NotFound(ReachError):
    """Absent, or in a store that is not the caller's; the two are not told apart."""


class Conflict(ReachError):
    """The state of things forbids it."""


class Unsupported(ReachError):
    """Not implemented, or switched off here."""


class Overtaken(ReachError):
    """A concurrent change won."""

    transient = True


class Throttled(ReachError):
    """A limit or budget of ours is spent."""

    transient = True


class Unavailable(ReachError):
    """A dependency is down or too slow."""

    transient = True
