"""How words are compared: folded, and never across the borders of a word where a script has any.

Chinese has no borders to go by. Its texts are cut into single characters and overlapping pairs, so that nothing is
missed that a dictionary does not know, and the same text is cut alike for ever (docs/adr/0022).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from opencc import OpenCC

_SPACES: Final = re.compile(r"\s+")
_UNSPACED: Final = (
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),  # ideographs, compatibility
    (0x20000, 0x3FFFF),  # ideographs, further extensions
)
_SIMPLIFIER: Final = OpenCC("t2s")
_CHARACTERS: Final = 65_536


@lru_cache(maxsize=1024)  # each condition of an intent looks at the same texts
def fold(text: str) -> str:
    """*text* as it is compared: width, case, spaces and traditional characters make no difference.

    Each character is simplified by itself, never by its neighbours: a text then holds a word exactly when the folded
    text holds the folded word.
    """
    wide = unicodedata.normalize("NFKC", text).casefold()
    return _SPACES.sub(" ", "".join(map(_simplified, unicodedata.normalize("NFKC", wide)))).strip()


@lru_cache(maxsize=_CHARACTERS)
def _simplified(char: str) -> str:
    return _SIMPLIFIER.convert(char) if _unspaced(char) else char


def _unspaced(char: str) -> bool:
    """Whether *char* is of a script that is written without spaces."""
    code = ord(char)
    return any(first <= code <= last for first, last in _UNSPACED)


def _of_word(char: str) -> bool:
    """Whether *char* is part of a word that has borders."""
    return (char.isalnum() or unicodedata.category(char)[0] == "M" or char == "_") and not _unspaced(char)


def mentions(text: str, word: str) -> bool:
    """Whether *text* has *word* in it, both folded: "ai" is in "懂ai的人" and not in "said"."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        starts = at == 0 or not (_of_word(word[0]) and _of_word(text[at - 1]))
        ends = end == len(text) or not (_of_word(word[-1]) and _of_word(text[end]))
        if starts and ends:
            return True
        at = text.find(word, at + 1)
    return False


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """The runs of characters with and without word borders: (whether without, the run)."""
    kind: bool | None = None
    start = 0
    for at, char in enumerate(text):
        now = True if _unspaced(char) else False if _of_word(char) else None
        if now is not kind:
            if kind is not None:
                yield kind, text[start:at]
            kind, start = now, at
    if kind is not None:
        yield kind, text[start:]


def terms(text: str) -> frozenset[str]:
    """Everything a folded text can be found by: whole words, single ideographs, pairs of them."""
    found: set[str] = set()
    for unspaced, run in _runs(text):
        if unspaced:
            found.update(f"g:{char}" for char in run)
            found.update(f"g:{run[at : at + 2]}" for at in range(len(run) - 1))
        else:
            found.add(f"w:{run}")
    return frozenset(found)


def anchor(word: str) -> str | None:
    """The rarest-looking of the terms that every text which mentions *word* (folded) has; None: it has none.

    A whole word before a pair of ideographs before a single one; among equals the longest, then the first.
    """
    best: str | None = None
    weight = 0
    for unspaced, run in _runs(word):
        term = f"g:{run[:2]}" if unspaced else f"w:{run}"
        heft = min(len(run), 2) if unspaced else len(run)
        if heft > weight:
            best, weight = term, heft
    return best
