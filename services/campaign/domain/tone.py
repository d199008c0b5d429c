"""How a brand sounds, for people and applications that write."""

from __future__ import annotations

from typing import Any

from services.campaign.domain.blockwords import visible
from shared.errors import Invalid
from shared.values import value_class


@value_class
class Tone:
    """A profile; many campaigns may name it."""

    name: str
    description: str
    preferred_words: tuple[str, ...] = ()
    banned_words: tuple[str, ...] = ()
    """No campaign in this tone holds one of them."""
    language_rules: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain JSON, but for its name."""
        return {
            "description": self.description,
            "preferred_words": list(self.preferred_words),
            "banned_words": list(self.banned_words),
            "language_rules": list(self.language_rules),
        }

    @classmethod
    def read(cls, name: str, document: dict[str, Any]) -> Tone:
        """A profile from its ``document``."""
        lists = ("preferred_words", "banned_words", "language_rules")
        return cls(name, document["description"], *(tuple(document[one]) for one in lists))

    def said(self) -> str:
        """In words, for an application."""
        liked = f"\n常用词：{'、'.join(self.preferred_words)}" if self.preferred_words else ""
        return self.description + liked


def check_words(words: tuple[str, ...], field: str) -> None:
    """Raises Invalid, naming the word of *field* of which nothing can be seen."""
    for at, word in enumerate(words):
        if not visible(word):
            raise Invalid.field(f"{field}[{at}]", "has no character that could be found")
