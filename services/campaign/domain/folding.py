"""What a reader sees of a text, whatever characters write it: width, case, script and ornament make no difference.

Each character is folded by itself, never by its neighbours, so a text that was folded in parts is the folded text; and
each folded character knows which one of the text it comes from.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from opencc import OpenCC

from services.campaign.domain.lookalikes import LOOKALIKES
from shared.values import value_class

_UNSPACED_FROM: Final = "\u2e80"
"""Scripts behind it are written without spaces: their words have no borders."""
_STROKES: Final = frozenset("丶丨丿亅乀乁乛乚灬")
"""Strokes that are no words by themselves, and are strewn between characters to hide some."""
_ALIKE: Final = {char: like for like, chars in LOOKALIKES.items() for char in chars}
_SAME: Final = str.maketrans({"i": "l", "1": "l", "0": "o"})
"""Latin characters that fonts draw alike."""
_BADGES: Final = ((0x1F150, 26), (0x1F170, 26), (0x1F1E6, 26))
"""Letters on dark circles and squares, and those that flags are made of: where each begins, and how many they are."""
_NEW_FORMS: Final = OpenCC("jp2t")
_SIMPLIFIER: Final = OpenCC("t2s")
_CHARACTERS: Final = 65_536


@value_class
class Folded:
    """A folded text."""

    text: str
    places: tuple[int, ...]
    """Of each of its characters, the place of the one that it comes from."""


def fold(text: str, *, signs: bool = False) -> Folded:
    """*text* without all that may stand between the characters of a word: blanks, punctuation, symbols, marks, and what
    cannot be seen. With *signs* punctuation and symbols stay.
    """
    folded: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for one in _folded(char, signs):
            folded.append(one)
            places.append(place)
    return Folded("".join(folded), tuple(places))


def has_signs(text: str) -> bool:
    """Whether punctuation or symbols are part of *text*."""
    return fold(text, signs=True).text != fold(text).text


def within_word(text: str, place: int, step: int) -> bool:
    """Whether the word that the character at *place* is of goes on in the direction of *step*.

    Only words of letters with spaces between them have borders, and numbers; ideographs never.
    """
    mine, other = _kind(text[place]), place + step
    while mine and 0 <= other < len(text):
        if unicodedata.category(text[other])[0] not in "MC" or text[other] in "\n\r\t":
            return _kind(text[other]) == mine
        other += step
    return False


@lru_cache(maxsize=_CHARACTERS)
def _kind(char: str) -> str:
    """``letter`` or ``digit`` where words have borders, else ''."""
    if unicodedata.normalize("NFKD", char)[:1].isdecimal():
        return "digit"
    core = _folded(char, False)
    return "letter" if core and core[0] < _UNSPACED_FROM and core[0].isalpha() else ""


@lru_cache(maxsize=_CHARACTERS)
def _folded(char: str, signs: bool) -> str:
    for first, count in _BADGES:
        if first <= ord(char) < first + count:
            return chr(ord("a") + ord(char) - first).translate(_SAME)
    if char in _ALIKE:
        char = _ALIKE[char]
    # A letter may be folded to one that has a likeness of its own: twice is enough for all there are, a test tells.
    once = "".join(_core(one, signs) for one in unicodedata.normalize("NFKD", char))
    return "".join(_core(one, signs) for one in unicodedata.normalize("NFKD", once))


def _core(char: str, signs: bool) -> str:
    kind = unicodedata.category(char)[0]
    if kind in "ZCM" or char in _STROKES:
        return ""
    if kind in "PS":
        return char if signs else ""
    if char in _ALIKE:
        char = _ALIKE[char]
    elif char.isdecimal():
        char = str(unicodedata.decimal(char))
    if char >= _UNSPACED_FROM:
        char = _SIMPLIFIER.convert(_NEW_FORMS.convert(char))
    return char.casefold().translate(_SAME)
