"""Lines brought within a limit of bytes: the longest are cut, at the border of a character, and never a short one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.text.cutting import clip, size

LEAST: Final = 24
"""Bytes that a cut line keeps, the … included; where there is no room for that, lines are left out."""


def fit(lines: Sequence[str], limit: int) -> list[str]:
    """*lines* so that joined by line breaks they have at most *limit* bytes; left out from the end at last."""
    kept = list(lines)
    while kept:
        room = limit - (len(kept) - 1)
        widest = _width([size(line) for line in kept], room)
        if widest >= LEAST or sum(map(size, kept)) <= room:
            return [clip(line, widest) if size(line) > widest else line for line in kept]
        if len(kept) == 1:
            return [clip(kept[0], limit)] if limit >= 3 else []
        kept.pop()
    return kept


def fit_between(heading: str, lines: Sequence[str], ending: str, limit: int) -> str:
    """A list between its heading and its ending, of which the list gives way first."""
    frame = [part for part in (heading, ending) if part]
    spent = sum(size(part) + 1 for part in frame)
    if lines and spent + LEAST <= limit:
        lines = fit(lines, limit - spent)
    parts = [heading] if heading else []
    parts += lines
    if ending:
        parts.append(ending)
    text = "\n".join(parts)
    if size(text) <= limit:
        return text
    return "\n".join(fit(text.split("\n"), limit))


def _width(sizes: Sequence[int], room: int) -> int:
    """The widest that lines may be, so that together they have *room*: shorter ones give what they do not need."""
    left = room
    for at, one in enumerate(ordered := sorted(sizes)):
        share = left // (len(ordered) - at)
        if one > share:
            return max(share, 0)
        left -= one
    return max(sizes, default=0)
