"""The one message that many have become: how many, from when to when, and the first lines of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.notifier.domain.content import Content, Format, room
from services.notifier.domain.routing import Channel
from shared.text.cutting import clip, size
from shared.values import value_class

LINE_BYTES = 240
"""Bytes of one line; a longer one ends in ``…``."""

LINES_KEPT = 200
"""Lines that are read for a digest: more than any channel has room for."""


@value_class
class Heading:
    """What a digest is called and how it is laid out; stored with the delivery that gathers."""

    title: str
    format: Format
    zone: str
    """On whose clocks its times are."""
    top: int = 0
    """Lines it shows; 0 is as many as fit."""
    named: bool = False
    """Whether each line says which rule it is of."""

    def to_json(self) -> dict[str, object]:
        """As plain JSON."""
        return {
            "title": self.title,
            "format": self.format.value,
            "zone": self.zone,
            "top": self.top,
            "named": self.named,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Heading:
        """What ``to_json`` wrote."""
        return cls(plain["title"], Format(plain["format"]), plain["zone"], plain["top"], plain["named"])


@value_class
class Gathered:
    """What came together."""

    count: int
    """At least 1."""
    first_at: datetime
    last_at: datetime
    lines: Sequence[str]
    """The first of them in order; fewer than *count* where there are many."""


def line_of(text: str) -> str:
    """*text* on one line of a digest."""
    return clip(" ".join(text.split()), LINE_BYTES)


def digest(heading: Heading, gathered: Gathered, channel: Channel) -> Content:
    """The message; with as many lines as fit, and how many are left out."""
    head = f"{line_of(heading.title)}：共 {gathered.count} 条（{_span(gathered, ZoneInfo(heading.zone))}）"
    if heading.format.is_markdown:
        head = f"**{head}**"
    lines = list(gathered.lines[: heading.top or None])
    left = room(channel, heading.format) - size(head)
    shown: list[str] = []
    for number, line in enumerate(lines, start=1):
        words = f"{number}. {line}"
        rest = gathered.count - number
        # The note that says how many are left out must still find room behind this line.
        needed = size(words) + 1 + (size(_rest(rest)) + 1 if rest else 0)
        if needed > left:
            break
        left -= size(words) + 1
        shown.append(words)
    if len(shown) < gathered.count:
        shown.append(_rest(gathered.count - len(shown)))
    return Content(heading.format, "\n".join([head, *shown]))


def _rest(count: int) -> str:
    return f"…另有 {count} 条"


def _span(gathered: Gathered, zone: ZoneInfo) -> str:
    first, last = gathered.first_at.astimezone(zone), gathered.last_at.astimezone(zone)
    if first.date() == last.date():
        return f"{first:%H:%M:%S}" if first == last else f"{first:%H:%M:%S}–{last:%H:%M:%S}"
    return f"{first:%m-%d %H:%M}–{last:%m-%d %H:%M}"
