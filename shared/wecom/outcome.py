"""What became of one send."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.values import value_class
from shared.wecom.errcodes import RetryClass


class State(StrEnum):
    """The six ends of an attempt."""

    ACCEPTED = "accepted"
    ACCEPTED_PARTIAL = "accepted_partial"
    """Accepted, but some recipients are named as not reached."""

    REJECTED_RETRYABLE = "rejected_retryable"
    REJECTED_PERMANENT = "rejected_permanent"
    NOT_SENT = "not_sent"
    """Certainly nothing left: trying again repeats nothing."""

    UNKNOWN = "unknown"
    """The other side may have accepted."""


@value_class
class Outcome:
    """One attempt's end. Holds no secret: the platform's text is masked and cut."""

    state: State
    cause: str = ""
    """For ``not_sent`` and ``unknown``: why, as a stable word (``refused``, ``http_502``, ``not_json``)."""

    detail: str = ""
    """The same for people."""

    errcode: int | None = None
    errmsg: str = ""
    """At most 300 characters; the hint and the ``from ip`` are kept."""

    http_status: int | None = None
    msgid: str | None = None
    invalid_users: tuple[str, ...] = ()
    """Lower-cased by the platform."""

    invalid_parties: tuple[str, ...] = ()
    invalid_tags: tuple[str, ...] = ()
    unlicensed_users: tuple[str, ...] = ()
    retry_class: RetryClass = RetryClass.NONE
    retry_after: timedelta | None = None
    """Wait at least this long before the next attempt with the same credential."""

    response_code: str | None = None
    """Of a card with buttons: updates it, once, within 72 hours."""

    token_generation: int | None = None
    """Of the access token used; None where none was."""
