"""Many messages of one kind become one: the bins in which they gather, and when each is emptied.

    window      the first one opens a bin; it is emptied when the window is over
    cool-down   the first one goes at once; what comes before the cool-down is over gathers and goes at its end

A bin is known by what gathers in it: the rule, the merge key, and to whom it goes. Whoever finds a bin open adds to it,
and a bin that was emptied is never added to again, whatever becomes of its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.errors import Invalid
from shared.values import value_class

LEAST, MOST = timedelta(seconds=1), timedelta(hours=24)
"""Bounds of a window and of a cool-down."""

LINES_MOST = 100
"""Lines a digest shows at most."""


class MergeMode(StrEnum):
    """How messages are brought together."""

    OFF = "off"
    """Each goes by itself, whatever a policy says."""
    WINDOW = "window"
    COOLDOWN = "cooldown"


@value_class
class Merging:
    """What somebody wants merged."""

    mode: MergeMode
    length: timedelta = timedelta(0)
    key: tuple[str, ...] = ()
    """Fields of the event: messages that agree in all of them are of one kind. Empty: all of the rule are."""
    line: str = ""
    """How one of them reads in the digest, as a template; empty is the rule's own words on one line."""
    top: int = 0
    """Lines the digest shows; 0 is as many as fit."""

    def check(self, field: str) -> None:
        """Raises Invalid naming the field of what cannot be."""
        if self.mode is MergeMode.OFF:
            if self.length or self.key or self.line or self.top:
                raise Invalid.field(
                    f"{field}.mode", "is off: leave the rest out, or choose window or cooldown"
                )
            return
        if not LEAST <= self.length <= MOST:
            raise Invalid.field(f"{field}.length", "must be from 1 second to 24 hours")
        if not 0 <= self.top <= LINES_MOST:
            raise Invalid.field(f"{field}.top_lines", f"must be from 0 (as many as fit) to {LINES_MOST}")
        if len(set(self.key)) < len(self.key):
            raise Invalid.field(f"{field}.key", "names a field twice")

    def to_json(self) -> dict[str, object]:
        """As plain JSON."""
        return {
            "mode": self.mode.value,
            "length": self.length.total_seconds(),
            "key": list(self.key),
            "line": self.line,
            "top": self.top,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Merging:
        """What ``to_json`` wrote."""
        return cls(
            MergeMode(plain["mode"]),
            timedelta(seconds=plain["length"]),
            tuple(plain["key"]),
            plain["line"],
            plain["top"],
        )


@value_class
class Bin:
    """Where a message gathers with its like."""

    key: str
    """What makes it the same bin; opaque."""
    due_at: datetime | None
    """When it is emptied if it has to be opened; None is at the end of *length*."""
    length: timedelta = timedelta(0)
    """Of the window or the cool-down."""
    cools: bool = False
    """Whether the first one goes at once."""


@value_class
class BinState:
    """How a bin stands."""

    digest: str | None = None
    """The delivery that gathers; None while nothing does."""
    free_at: datetime | None = None
    """Until when it cools down; None is not at all."""


class Fate(StrEnum):
    """What becomes of a message that comes to a bin."""

    GO = "go"
    """It goes at once, and the bin cools down behind it."""
    OPEN = "open"
    """It is the first of a digest."""
    JOIN = "join"
    """It is added to the digest that is open."""


def arrive(bin_: Bin, state: BinState, now: datetime) -> tuple[Fate, datetime]:
    """What becomes of a message, and until when: the bin cools, or the digest gathers."""
    if state.digest is not None:
        return Fate.JOIN, now
    if bin_.cools:
        if state.free_at is None or state.free_at <= now:
            return Fate.GO, now + bin_.length
        # No longer than it cools now: the rule may say less than it did, or the clock was put back.
        return Fate.OPEN, min(state.free_at, now + bin_.length)
    return Fate.OPEN, bin_.due_at or now + bin_.length
