"""Words for campaigns: what an application is given, and which of its candidates may be shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from shared.values import value_class

CANDIDATES: Final = 3
"""How many are written when nobody says."""
LONGEST: Final = 300
"""Characters of one when nobody says."""


@value_class
class Brief:
    """What somebody wants written."""

    theme: str
    audience: str
    tone: str
    banned_words: tuple[str, ...]
    candidates: int = CANDIDATES
    longest: int = LONGEST
    """Characters of a candidate."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """As a view of its own beside the facts: people's words, which enter a prompt as data."""
        return {
            "主题": self.theme,
            "对象": self.audience or "客户群里的所有客人",
            "语气": self.tone or "亲切自然",
            "禁用词": list(self.banned_words),
            "候选数": self.candidates,
            "每条字数上限": self.longest,
        }


@value_class
class Dropped:
    """A candidate that may not be shown as one."""

    text: str
    banned_word: str
    """Empty: it is too long."""


@value_class
class Copy:
    """What was written."""

    run_id: str
    candidates: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def written(run_id: str, brief: Brief, result: Mapping[str, Any]) -> Copy:
    """The candidates of a result: each once, no more and no longer than asked for, none with a banned word."""
    texts = (_text(one) for one in result.get("candidates", ()))
    fit: list[str] = []
    dropped: list[Dropped] = []
    for text in dict.fromkeys(filter(None, texts)):
        plain = _plain(text)
        banned = next((word for word in brief.banned_words if _plain(word) in plain), None)
        if banned is None and len(text) <= brief.longest:
            fit.append(text)
        else:
            dropped.append(Dropped(text, banned or ""))
    return Copy(run_id, tuple(fit[: brief.candidates]), tuple(dropped[: brief.candidates]))


def _text(candidate: object) -> str:
    text = candidate.get("text") if isinstance(candidate, Mapping) else candidate
    return text.strip() if isinstance(text, str) else ""


def _plain(text: str) -> str:
    """Without what letters of one word may differ in: width, case, blanks between."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
