"""The life of a delivery, as a table.

              ┌────────────release───────────┐
              ▼                              │
    ──▶ PENDING ───────────claim──────────▶ SENDING ──accept──▶ ACCEPTED
          ▲  │ ◀─promote─ DEFERRED ◀─defer──┘ │ ├──fail────▶ FAILED
          │  └───defer───────▲                └─────lose────▶ UNKNOWN
          │
        replay: from FAILED, EXPIRED and CANCELLED;  resend: from UNKNOWN

expire, cancel and suppress end what is PENDING or DEFERRED. What somebody finds out about an UNKNOWN delivery
settles it as ACCEPTED or FAILED. A delivery may be born SUPPRESSED. Nothing leaves ACCEPTED or SUPPRESSED.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from shared.errors import Conflict


class DeliveryStatus(StrEnum):
    """Where a delivery stands; the words are stored and on the wire."""

    PENDING = "pending"
    DEFERRED = "deferred"
    SENDING = "sending"
    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        """Whether something will still happen to it by itself."""
        return self in _OPEN


_OPEN = frozenset({DeliveryStatus.PENDING, DeliveryStatus.DEFERRED, DeliveryStatus.SENDING})


class Verb(StrEnum):
    """What can happen to a delivery."""

    CLAIM = "claim"
    """A worker takes it."""
    RELEASE = "release"
    """The worker gives it back without having tried."""
    DEFER = "defer"
    """It has to wait: for a rate, or for the next try."""
    PROMOTE = "promote"
    """Its wait is over."""
    ACCEPT = "accept"
    """The platform took it."""
    FAIL = "fail"
    """It was refused for good, or the tries are used up."""
    LOSE = "lose"
    """Nobody can tell whether the platform took it."""
    SUPPRESS = "suppress"
    """It is not sent on purpose."""
    EXPIRE = "expire"
    """Its time is over."""
    CANCEL = "cancel"
    """Somebody takes it back."""
    REPLAY = "replay"
    """Somebody wants what did not go out to be tried anew."""
    RESEND = "resend"
    """Somebody decides that a lost one goes again, whatever became of the first."""


_S, _V = DeliveryStatus, Verb

TRANSITIONS: Mapping[tuple[DeliveryStatus, Verb], DeliveryStatus] = {
    (_S.PENDING, _V.CLAIM): _S.SENDING,
    (_S.PENDING, _V.DEFER): _S.DEFERRED,
    (_S.PENDING, _V.SUPPRESS): _S.SUPPRESSED,
    (_S.PENDING, _V.EXPIRE): _S.EXPIRED,
    (_S.PENDING, _V.CANCEL): _S.CANCELLED,
    (_S.DEFERRED, _V.PROMOTE): _S.PENDING,
    (_S.DEFERRED, _V.SUPPRESS): _S.SUPPRESSED,
    (_S.DEFERRED, _V.EXPIRE): _S.EXPIRED,
    (_S.DEFERRED, _V.CANCEL): _S.CANCELLED,
    (_S.SENDING, _V.RELEASE): _S.PENDING,
    (_S.SENDING, _V.DEFER): _S.DEFERRED,
    (_S.SENDING, _V.ACCEPT): _S.ACCEPTED,
    (_S.SENDING, _V.FAIL): _S.FAILED,
    (_S.SENDING, _V.LOSE): _S.UNKNOWN,
    (_S.FAILED, _V.REPLAY): _S.PENDING,
    (_S.EXPIRED, _V.REPLAY): _S.PENDING,
    (_S.CANCELLED, _V.REPLAY): _S.PENDING,
    (_S.UNKNOWN, _V.ACCEPT): _S.ACCEPTED,
    (_S.UNKNOWN, _V.FAIL): _S.FAILED,
    (_S.UNKNOWN, _V.RESEND): _S.PENDING,
}


def after(status: DeliveryStatus, verb: Verb) -> DeliveryStatus:
    """Where a delivery stands once *verb* happened to it.

    Raises Conflict (STATE_INVALID, with ``state`` and ``verb``) where that cannot be.
    """
    try:
        return TRANSITIONS[status, verb]
    except KeyError:
        raise Conflict(
            "STATE_INVALID", f"cannot {verb} a delivery that is {status}", state=status, verb=verb
        ) from None


class AttemptState(StrEnum):
    """What became of one try; STARTED is written before the request leaves."""

    STARTED = "started"
    ACCEPTED = "accepted"
    ACCEPTED_PARTIAL = "accepted_partial"
    REJECTED_RETRYABLE = "rejected_retryable"
    REJECTED_PERMANENT = "rejected_permanent"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class RecipientStatus(StrEnum):
    """What became of one recipient of a delivery."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
