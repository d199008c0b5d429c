"""Clues of a member (维客线索): what a result says, and what its set changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.values import value_class

MANUAL: Final = "manual"
"""The source of what a person wrote; no application replaces it."""
BASIC: Final = "客户基础"
"""The category of a clue that names none."""
BY_TRIGGER: Final = "by_trigger"
"""An app that consolidates clues of several sources replaces those of the source that its run was started by."""
_SOURCES: Final = {"note.created": "ai_note"}
_USUAL: Final = "ai_consumption"


@value_class
class Clue:
    """What one clue says."""

    category: str
    emoji: str
    summary: str
    detail: str
    providers: str

    @property
    def shown(self) -> str:
        """As people are shown it."""
        return f"{self.emoji} {self.summary}".strip()


@value_class
class Change:
    """From one set to the next."""

    added: tuple[Clue, ...]
    removed: tuple[Clue, ...]


def clue(plain: Mapping[str, Any]) -> Clue | None:
    """A clue of a result; None where it says nothing. Whatever else it names, such as a member, counts for nothing."""
    summary = _words(plain.get("summary"))
    if not summary:
        return None
    return Clue(
        category=_words(plain.get("category")) or BASIC,
        emoji=_words(plain.get("emoji")),
        summary=summary,
        detail=_words(plain.get("detail")),
        providers=_words(plain.get("providers")),
    )


def clues_of(result: Mapping[str, Any]) -> tuple[Clue, ...]:
    """The clues of a result, each once."""
    listed = result.get("clues")
    if not isinstance(listed, list):
        return ()
    found = (clue(one) for one in listed if isinstance(one, Mapping))
    return tuple(dict.fromkeys(one for one in found if one is not None))


def change(before: Iterable[Clue], after: Sequence[Clue]) -> Change:
    """What replacing *before* with *after* changes. An empty *after* changes nothing: it is no news, not bad news."""
    if not after:
        return Change((), ())
    had = dict.fromkeys(before)
    wanted = dict.fromkeys(after)
    return Change(
        added=tuple(one for one in wanted if one not in had),
        removed=tuple(one for one in had if one not in wanted),
    )


def source_of(named: str, triggered_by: str) -> str:
    """Under which source an app that names *named* keeps its clues."""
    return _SOURCES.get(triggered_by, _USUAL) if named == BY_TRIGGER else named


def _words(value: object) -> str:
    if isinstance(value, list):
        return "、".join(filter(None, map(_words, value)))
    return value.strip() if isinstance(value, str) else ""
