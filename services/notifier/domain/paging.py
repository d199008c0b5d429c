"""A long text as numbered pages that each fit one message and arrive readable.

A page ends at a block's border where one is near, else at a line's, and inside a line only where the line is
longer than a page; never inside a character, and never inside a link, mention or span that fits a page. A
fence that a page ends in is closed there and reopened on the next; a table's head is repeated. Nothing but
blank lines at the edges of a page is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from shared.text.cutting import head, size
from shared.values import value_class

LEAST = 256
"""The smallest limit in bytes that leaves room for words beside a page's own marks."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)")
_CELL = re.compile(r":?-+:?")
_HEADING = re.compile(r"#{1,6} ")

# How well a page may end before a line: never if it can be helped, anywhere, gladly.
_POOR, _FAIR, _GOOD = -1, 0, 1


@value_class
class Page:
    """One page of a text."""

    text: str
    """As it is sent: title and number, what is reopened, the body, what is closed."""
    body: str
    """Its part of the original."""
    number: int
    """From 1."""
    total: int


@dataclass(slots=True)
class _Line:
    text: str
    opens: tuple[str, ...] = ()
    """What a page that starts here must repeat first."""
    closes: str = ""
    """What a page that ends before this line must close with."""
    border: int = _FAIR
    """How well a page may end before this line."""
    continues: bool = False
    """Whether it is the rest of a line that was longer than a page."""

    @property
    def size(self) -> int:
        return size(self.text)


def paginate(text: str, limit: int, *, markdown: bool, title: str = "") -> list[Page]:
    """*text* as pages of at most *limit* bytes each, in order.

    Several pages are headed by *title* and ``(1/n)``, a single one by the title alone. With *markdown*, fences
    and tables are carried over. Raises ValueError for a *limit* that leaves less than ``LEAST`` bytes beside the
    title; callers limit titles to far less.
    """
    heading = f"{title}\n" if title else ""
    if size(heading) + size(text) <= limit:
        return [Page(heading + text, text, 1, 1)]
    for digits in range(1, 7):
        room = limit - size(f"{title} ({'9' * digits}/{'9' * digits})\n")
        if room < LEAST:
            raise ValueError(f"{limit} bytes are too few for a page")
        chunks = list(_chunks(_lines(text, markdown, room), room))
        if len(chunks) < 10**digits:
            return [_page(title, chunk, number, len(chunks)) for number, chunk in enumerate(chunks, 1)]
    raise ValueError("more than a million pages")


def _page(title: str, chunk: tuple[str, str], number: int, total: int) -> Page:
    body, dressed = chunk
    heading = f"{title} ({number}/{total})".lstrip() if total > 1 else title
    return Page(f"{heading}\n{dressed}" if heading else dressed, body, number, total)


def _lines(text: str, markdown: bool, room: int) -> list[_Line]:
    plain = text.replace("\r\n", "\n").split("\n")
    lines = [_Line(words) for words in plain]
    if markdown:
        _mark_fences(lines, room)
        _mark_tables(lines, room)
    for before, line in pairwise(lines):
        if line.border is not _FAIR or line.closes:
            continue
        if markdown and _HEADING.match(before.text):
            line.border = _POOR
        elif not before.text.strip() or (markdown and _HEADING.match(line.text)):
            line.border = _GOOD
    return lines


def _mark_fences(lines: list[_Line], room: int) -> None:
    """Say of the lines inside a fence how it is closed and reopened."""
    fence = opening = ""
    for index, line in enumerate(lines):
        match = _FENCE.fullmatch(line.text)
        if fence:
            ends = match is not None and match[1].startswith(fence) and not match[2].strip()
            # A page that would begin with the closing fence shows an empty box.
            first = lines[index - 1].text == opening
            line.opens, line.closes = (opening,), fence
            line.border = _POOR if ends or first else _FAIR
            if ends:
                fence = ""
        elif match is not None:
            fence = match[1][:16]
            opening = line.text if line.size <= room // 4 else fence


def _mark_tables(lines: list[_Line], room: int) -> None:
    """Say of a table's rows which head they need."""
    repeated: tuple[str, ...] | None = None
    for index in range(1, len(lines)):
        above, line = lines[index - 1], lines[index]
        if line.closes or "|" not in line.text:
            repeated = None
        elif repeated is not None:
            line.opens = repeated
        elif "|" in above.text and not above.closes and _is_rule(line.text):
            line.border = _POOR
            repeated = (above.text, line.text) if above.size + line.size < room // 2 else ()


def _is_rule(line: str) -> bool:
    """Whether *line* is what stands between a table's head and its rows."""
    return all(_CELL.fullmatch(cell.strip()) for cell in line.strip().strip("|").split("|"))


def _chunks(lines: list[_Line], room: int) -> Iterator[tuple[str, str]]:
    """The bodies of the pages, each bare and with what it repeats and closes."""
    at = 0
    while at < len(lines):
        end = _end(lines, at, room)
        if end == at:
            lines[at : at + 1] = _split(lines[at], room)
            continue
        body = _joined(lines[at:end])
        if body.strip():
            closes = lines[end].closes if end < len(lines) else ""
            dressed = "\n".join([*lines[at].opens, body.strip("\n"), *([closes] if closes else [])])
            yield body, dressed
        at = end


def _joined(lines: Sequence[_Line]) -> str:
    first, *rest = lines
    return first.text + "".join(line.text if line.continues else "\n" + line.text for line in rest)


def _end(lines: Sequence[_Line], at: int, room: int) -> int:
    """Where the page that starts at line *at* best ends; *at* itself where not even one line fits."""
    used = sum(size(line) + 1 for line in lines[at].opens)
    best: tuple[int, int] | None = None  # border, line
    nearest = at
    for end in range(at + 1, len(lines) + 1):
        used += lines[end - 1].size + 1
        if used - 1 > room:
            break
        if end == len(lines):
            return end
        following = lines[end]
        if used + size(following.closes) > room:
            continue  # the fence may end within this page all the same
        nearest = end
        if used >= room // 2 or (best is None and following.border is not _POOR):
            candidate = (following.border if used >= room // 2 else _POOR, end)
            best = candidate if best is None or candidate >= best else best
    return nearest if best is None else best[1]


def _split(line: _Line, room: int) -> list[_Line]:
    """A line longer than a page, in two: what fits, and the rest."""
    own = sum(size(opened) + 1 for opened in line.opens) + size(line.closes) + 1
    start = head(line.text, room - own)
    rest = line.text[len(start) :]
    return [replace(line, text=start), replace(line, text=rest, border=_FAIR, continues=True)]
