"""Values from outside, made unable to mention, link or format anything.

A customer may call himself ``<@all>``; a message that shows his name must show just that. Characters with a
meaning in a channel are replaced by full-width ones that look the same, invisible ones are removed. Only
values pass through here: what an operator wrote into a template keeps its meaning.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Dialect(StrEnum):
    """What the reader's client makes of the characters of a message."""

    PLAIN = "plain"
    """App and robot ``text``: tags (``<a href>``), mentions (``<@userid>``) and bare links have a meaning."""

    MARKDOWN = "markdown"
    """Markdown of apps and robots. Also covers markdown_v2, of which the classic subset is a part."""


LINE_BREAKS = "\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What some client shows as a new line or a jump; shown as one blank in a value of one line."""

# General categories Cc and Cf (control, bidirectional, zero-width, tags) plus what is blank without being in
# them: grapheme joiner, Hangul fillers, Khmer inherent vowels, Mongolian selectors. A test compares it with
# the interpreter's own character database.
_INVISIBLE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Half a surrogate pair has no UTF-8 form; JSON can carry it all the same.
_UNENCODABLE = "\ud800-\udfff\ufffe\uffff"

_BREAKS = re.compile(f"[{LINE_BREAKS}]+")
_DROPPED = re.compile(f"[{_INVISIBLE}]")
_BROKEN = re.compile(f"[{_UNENCODABLE}]")

_PLAIN_TABLE = str.maketrans({"<": "＜", ">": "＞", "@": "＠"})
_MARKDOWN_TABLE = _PLAIN_TABLE | str.maketrans("`*_[]()~|\\#", "｀＊＿［］（）～｜＼＃")

# Two values may stand side by side, so the tail of a link's scheme is broken as well as the whole.
_SCHEME = re.compile(r":(?=//)|^/+")
_ENTITY = re.compile(r"&(?=[#A-Za-z])")
# At the head of a line these make lists, rules and underlined headings; a minus before a digit is a number.
_LINE_HEAD = re.compile(r"^(?:[-+=]+(?![0-9])|\.(?=\s)|[0-9]+\.(?=\s|$))")
_WIDE_HEAD = str.maketrans("-+=.", "－＋＝．")

# Most values hold none of the characters above: one look, and they are returned as they are.
_SUSPECT = {
    Dialect.PLAIN: re.compile(f"[<>@/&{_INVISIBLE}{_UNENCODABLE}]"),
    Dialect.MARKDOWN: re.compile(
        rf"[<>@/&`*_\[\]()~|\\#{_INVISIBLE}{_UNENCODABLE}]|^\s*(?:[-+=.]|[0-9]+\.(?:\s|$))"
    ),
}


def neutralise(value: str, dialect: Dialect) -> str:
    """The *value* as it may stand in a message of *dialect*.

    Reads the same, but holds no tag, mention, link with a scheme, markup, control, bidirectional or invisible
    character, however it is joined with other neutralised values. Each run of line breaks is one blank: no field
    of an event is declared to have lines. At most as long as *value*, in characters.
    """
    if value.isascii() and value.isalnum():
        return value
    if _SUSPECT[dialect].search(value) is None:
        return value.strip()
    value = _BREAKS.sub(" ", value)
    # Invisible characters go first: they must not separate what is looked for afterwards.
    value = _BROKEN.sub("\ufffd", _DROPPED.sub("", value)).strip()
    value = _SCHEME.sub(_wide_link, value)
    value = _ENTITY.sub("＆", value)
    if dialect is Dialect.PLAIN:
        return value.translate(_PLAIN_TABLE)
    return _LINE_HEAD.sub(_wide_head, value.translate(_MARKDOWN_TABLE))


def _wide_link(match: re.Match[str]) -> str:
    return "：" if match[0] == ":" else "／" * len(match[0])


def _wide_head(match: re.Match[str]) -> str:
    return match[0].translate(_WIDE_HEAD)
