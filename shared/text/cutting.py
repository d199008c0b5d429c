"""Text measured and cut in bytes of UTF-8, the way WeCom counts.

A cut never falls inside a character, and in what people read it never falls inside a link, a mention or a
coloured span either, as long as that fits at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ELLIPSIS = "…"

# What stays together: links, mentions, coloured and linked spans, tags, inline code, bold; else one character
# with the marks, joiners and variation selectors that belong to it.
_ATOM = re.compile(
    r"!?\[[^\[\]\n]*\]\([^()\n]*\)"
    r"|<font\b[^<>\n]*>[^<>\n]*</font>"
    r"|<a\b[^<>\n]*>[^<>\n]*</a>"
    r"|<[@/A-Za-z][^<>\n]*>"
    r"|`[^`\n]+`"
    r"|\*\*[^*\n]+\*\*"
    r"|(?:\u200d?[\s\S][\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]*(?:(?=\u200d)\u200d[\s\S])*)"
)


def size(text: str) -> int:
    """Bytes of *text* in UTF-8; half a surrogate pair counts as the three bytes of its replacement."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def atoms(text: str) -> Iterator[str]:
    """The pieces of *text* that a cut should leave whole; joined they are *text*."""
    for match in _ATOM.finditer(text):
        yield match[0]


def head(text: str, limit: int) -> str:
    """The longest start of *text* within *limit* bytes that ends between atoms.

    Where even the first atom is longer than *limit*, as many of its characters as fit.
    """
    if size(text) <= limit:
        return text
    taken: list[str] = []
    room = limit
    # What does not fit in characters cannot fit in bytes: a long text is not walked to its end.
    for atom in atoms(text[: 4 * limit + 1]):
        room -= size(atom)
        if room < 0:
            break
        taken.append(atom)
    return "".join(taken) or _characters(text, limit)


def _characters(text: str, limit: int) -> str:
    # "ignore" drops the character that the limit cuts through.
    return text.encode("utf-8", "surrogatepass")[: max(limit, 0)].decode("utf-8", "ignore")


def clip(text: str, limit: int) -> str:
    """*text* within *limit* bytes; a longer one ends in ``…``, at the end of a line where one is near.

    *limit* is at least 3, the size of ``…``.
    """
    if size(text) <= limit:
        return text
    kept = head(text, limit - size(ELLIPSIS))
    border = kept.rfind("\n")
    # A line border is worth giving up a quarter of the room for.
    if border >= 0 and size(kept[:border]) >= limit * 3 // 4:
        kept = kept[:border]
    return kept.rstrip() + ELLIPSIS
