"""What a customer did after a push, and what may be said of such counts."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.errors import Invalid
from shared.values import value_class

WINDOW: Final = timedelta(hours=24)
"""How long after a push what a customer does counts as its effect, where no setting says otherwise."""

TICK: Final = timedelta(seconds=1)
"""The platform tells whole seconds: what it says happened so much before a push may have happened after it."""

CONFIDENCE: Final = 0.95
_Z: Final = 1.959963984540054

DEFAULT_PERIOD: Final = timedelta(days=7)
LONGEST_PERIOD: Final = timedelta(days=93)
MOST_ROWS: Final = 1000

PUSH_SCENE: Final = "push:"
"""A scene parameter that begins with it names the push that a customer came by."""
ITEM_SCENE: Final = "item:"
"""The same by a match that the push lists."""


class Kind(StrEnum):
    """What a customer did."""

    REPLY = "reply"
    """They wrote; it is counted for the last push before."""
    MENU_CLICK = "menu_click"
    """They tapped an item of the push's menu."""
    LINK_CLICK = "link_click"
    """They opened its link, as whoever serves that page told us."""
    MINIPROGRAM_ENTER = "miniprogram_enter"
    """They came back to the chat from what it led to, or entered its mini program, as that told us."""
    UNSUBSCRIBED = "unsubscribed"
    """They asked for no more."""


class Group(StrEnum):
    """What figures are told apart by."""

    TEMPLATE = "template_id"
    VERSION = "template_version"
    VARIANT = "variant"
    INTENT = "intent_id"
    PURPOSE = "purpose"
    STORE = "store_id"


@value_class
class Rate:
    """A share of what was sent, and between which it lies, 95 times of 100 (Wilson's score interval)."""

    value: float
    low: float
    high: float


def rate(count: int, of: int) -> Rate | None:
    """*count* of *of*; None of nothing."""
    if of == 0:
        return None
    share = count / of
    spread = _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / of / 4) / (1 + spread)
    return Rate(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def period(start_at: datetime | None, end_at: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The period asked for; the last week where nothing is said. Raises Invalid for one that is none, or too long."""
    end = end_at or now
    start = start_at or end - DEFAULT_PERIOD
    if start >= end:
        raise Invalid.field("start_time", f"must be before the end of the period, {end.isoformat()}")
    if end - start > LONGEST_PERIOD:
        raise Invalid.field("start_time", f"must be at most {LONGEST_PERIOD.days} days before the end")
    return start, end


def named_in(scene_param: str) -> tuple[str, str]:
    """The push and the match that a scene parameter names; each empty where it names none."""
    for prefix in (PUSH_SCENE, ITEM_SCENE):
        if scene_param.startswith(prefix):
            ident = scene_param.removeprefix(prefix)[:64]
            return (ident, "") if prefix == PUSH_SCENE else ("", ident)
    return "", ""
