"""How a session moves between the platform's states, told by what came in."""

from __future__ import annotations

from datetime import datetime

from services.kf_session.domain.message import Origin
from services.kf_session.domain.reading import Item
from services.kf_session.domain.window import SessionState, is_open, window_end
from shared.values import value_class

BLOCKING = 10
"""The fail_type that says that the customer refused us."""


@value_class
class Hands:
    """In whose hands a session is."""

    state: SessionState
    servicer_userid: str = ""


@value_class
class Change:
    """A move, and what is announced of it."""

    hands: Hands
    word: str
    """accepted, transferred or ended; empty where nobody needs to hear."""


def moved(before: Hands, item: Item) -> Change | None:
    """What *item* makes of a session; None where it leaves it as it is."""
    said = item.inbound
    if said.origin is Origin.CUSTOMER:
        ended = before.state is SessionState.ENDED
        return Change(Hands(SessionState.UNTREATED), "") if ended else None
    if said.origin is Origin.SERVICER:
        now = Hands(SessionState.HUMAN, said.servicer_userid or before.servicer_userid)
        return (
            Change(now, "accepted" if before.state is not SessionState.HUMAN else "")
            if now != before
            else None
        )
    if item.event_type == "session_status_change":
        return _by_event(item)
    return None


def _by_event(item: Item) -> Change | None:
    change, servicer = item.number("change_type"), item.text("new_servicer_userid")
    if change in (1, 4):
        return Change(Hands(SessionState.HUMAN, servicer), "accepted")
    if change == 2:
        return Change(Hands(SessionState.HUMAN, servicer), "transferred")
    if change == 3:
        return Change(Hands(SessionState.ENDED), "ended")
    return None


def next_change(
    customer_at: datetime | None, code_ends_at: datetime | None, now: datetime
) -> datetime | None:
    """The next instant at which something changes by itself: a code runs out, or the window; None for nothing."""
    ends = [code_ends_at, window_end(customer_at) if is_open(customer_at, now) else None]
    return min((at for at in ends if at is not None and at > now), default=None)
