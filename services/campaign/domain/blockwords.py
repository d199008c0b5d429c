"""Words that may not be said, found however they are written.

Between the characters of a word anything may stand that is no letter and no digit; width, case, marks, traditional
characters and look-alikes of other scripts make no difference. A word that has punctuation or symbols itself (``100%``)
is looked for with them, and only blanks and what cannot be seen may stand in it.

Where a script has borders between words they count: ``cat`` is in "my c-a-t" and not in "category", ``100`` not in
"1,000". Chinese has none: ``返现`` is also found across a sentence's end, since there is no telling the one from the
other, and a sentence can be written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from services.campaign.domain.folding import Folded, fold, has_signs, within_word
from shared.values import value_class

MOST: Final = 100
"""Places that one text is told of."""


@value_class
class Place:
    """Where a word stands."""

    word: str
    """As the list has it."""
    start: int
    """Of what stands there, in characters of the text."""
    end: int
    found: str
    """What stands there."""


class BlockWords:
    """A list of words, ready to be looked for."""

    def __init__(self, words: Iterable[str]) -> None:
        """Words of which nothing can be seen are left out, see ``visible``."""
        self._plain: list[tuple[str, str]] = []
        self._signed: list[tuple[str, str]] = []
        for word in dict.fromkeys(words):
            signed = has_signs(word)
            if core := fold(word, signs=signed).text:
                (self._signed if signed else self._plain).append((word, core))

    def find(self, text: str) -> Sequence[Place]:
        """Every place of every word in *text*, by place; at most the first ``MOST``. Overlapping ones are all told.

        Linear in the text for each word of the list.
        """
        found: list[Place] = []
        for words, signs in ((self._plain, False), (self._signed, True)):
            if words:
                folded = fold(text, signs=signs)
                for word, core in words:
                    found += _places(text, folded, word, core)
        return sorted(found, key=lambda one: (one.start, one.end, one.word))[:MOST]


def visible(word: str) -> bool:
    """Whether there is anything in *word* that could be found."""
    return bool(fold(word, signs=True).text)


def _places(text: str, folded: Folded, word: str, core: str) -> Iterator[Place]:
    at, told = folded.text.find(core), 0
    while at >= 0 and told < MOST:
        start, last = folded.places[at], folded.places[at + len(core) - 1]
        if not within_word(text, start, -1) and not within_word(text, last, 1):
            yield Place(word, start, last + 1, text[start : last + 1])
            told += 1
        at = folded.text.find(core, at + 1)
