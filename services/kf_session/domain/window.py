"""The window in which a customer may be written to, and the states of a session."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

WINDOW: Final = timedelta(hours=48)
"""How long after the customer's last message, by the platform's clock."""

CREDITS: Final = 5
"""How many messages may go out in it."""

CLOSING: Final = timedelta(seconds=30)
"""So much before its end nothing begins any more: a call takes its time, and clocks differ."""


class SessionState(IntEnum):
    """The platform's states of a session."""

    UNTREATED = 0
    """The customer wrote and nobody has answered."""
    ASSISTANT = 1
    """The API answers."""
    POOL = 2
    """It waits for a servicer."""
    HUMAN = 3
    """A servicer answers."""
    ENDED = 4
    """It is over, or has not begun."""

    @property
    def ours(self) -> bool:
        """Whether a message may be sent through the API."""
        return self in (SessionState.UNTREATED, SessionState.ASSISTANT)


def window_end(customer_at: datetime | None) -> datetime | None:
    """When the window closes; None where the customer never wrote."""
    return None if customer_at is None else customer_at + WINDOW


def is_open(customer_at: datetime | None, now: datetime) -> bool:
    """Whether a message may begin to be sent."""
    end = window_end(customer_at)
    return end is not None and now < end - CLOSING
