"""Words for campaigns: what an application is given, and which of its candidates may be shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from shared.values import value_class

CANDIDATES: Final = 3
"""How many are written when nobody says."""
LONGEST: Final = 300
"""Characters of one when nobody says."""
TITLE_LONGEST: Final = 30
"""Characters of a card's title: WeCom cuts those of more than 128 bytes."""


class Form(StrEnum):
    """What the words go into."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CARD = "card"
    """A title, and a short description below it."""


_FORMS: Final[Mapping[Form, str]] = {
    Form.TEXT: "纯文本：不用任何 Markdown 标记，title 留空",
    Form.MARKDOWN: "Markdown：只用加粗、引用、列表和标题，不用链接和表格，title 留空",
    Form.CARD: f"卡片：title 是标题，不超过 {TITLE_LONGEST} 字；text 是标题下的说明，不用 Markdown 标记",
}


@value_class
class Brief:
    """What somebody wants written."""

    theme: str
    audience: str
    tone: str
    banned_words: tuple[str, ...]
    candidates: int = CANDIDATES
    longest: int = LONGEST
    """Characters of a candidate, its title not among them."""
    form: Form = Form.TEXT
    language_rules: tuple[str, ...] = ()
    send_window: str = ""
    """When customers read it, in words; empty: not known."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """As a view of its own beside the facts: people's words, which enter a prompt as data."""
        return {
            "场景": "企业微信客户群群发",
            "主题": self.theme,
            "对象": self.audience or "客户群里的所有客人",
            "语气": self.tone or "亲切自然",
            "形式": _FORMS[self.form],
            "语言要求": list(self.language_rules) or ["简体中文"],
            "发送时段": self.send_window or "未定",
            "禁用词": list(self.banned_words),
            "候选数": self.candidates,
            "每条字数上限": self.longest,
        }


@value_class
class Candidate:
    """One way to say it."""

    text: str
    title: str = ""
    """Of a card."""
    angle: str = ""
    """What it begins from, for whoever chooses."""
    tokens: int = 0
    """Its share of what the request has cost."""


@value_class
class Dropped:
    """A candidate that may not be shown as one."""

    text: str
    banned_word: str
    """Empty: it is too long, or a card without a title."""
    title: str = ""
    tokens: int = 0


@value_class
class Origin:
    """What brought a result, and what that has cost."""

    app_version: str = ""
    prompt_hash: str = ""
    """Of the prompt that was answered."""
    models: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    """Charged: those two, or a whole hold where the platform told none."""


@value_class
class Copy:
    """What was written."""

    run_id: str
    candidates: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]
    origin: Origin


def written(run_id: str, brief: Brief, result: Mapping[str, Any], origin: Origin) -> Copy:
    """The candidates of a result: each once, no more and no longer than asked for, none with a banned word."""
    once: dict[tuple[str, str], Candidate] = {}
    for one in result.get("candidates", ()):
        if (said := _candidate(one, brief.form)) is not None:
            once.setdefault((said.title, said.text), said)
    fit: list[tuple[Candidate, str]] = []
    unfit: list[tuple[Candidate, str]] = []
    for said in once.values():
        banned = _banned(brief.banned_words, said)
        (fit if banned is None and _fits(brief, said) else unfit).append((said, banned or ""))
    shown, refused = fit[: brief.candidates], unfit[: brief.candidates]
    costs = iter(shares(origin.total_tokens, [len(one.title + one.text) for one, _ in (*shown, *refused)]))
    return Copy(
        run_id,
        tuple(Candidate(one.text, one.title, one.angle, next(costs)) for one, _ in shown),
        tuple(Dropped(one.text, banned, one.title, next(costs)) for one, banned in refused),
        origin,
    )


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """*total* in parts as large as their weights say, which add up to it exactly."""
    ends, passed, whole = [0], 0, sum(weights)
    for weight in weights:
        passed += weight
        ends.append(total * passed // whole)
    return [end - begin for begin, end in pairwise(ends)]


def _candidate(answer: Mapping[str, Any], form: Form) -> Candidate | None:
    """What an application wrote, whose schema says that these are texts; only a card has a title."""
    text, title, angle = (_text(answer.get(name)) for name in ("text", "title", "angle"))
    return Candidate(text, title if form is Form.CARD else "", angle) if text else None


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _fits(brief: Brief, one: Candidate) -> bool:
    titled = brief.form is not Form.CARD or 0 < len(one.title) <= TITLE_LONGEST
    return titled and len(one.text) <= brief.longest


def _banned(words: Sequence[str], one: Candidate) -> str | None:
    plain = [_plain(one.title), _plain(one.text)]
    return next((word for word in words if any(_plain(word) in said for said in plain)), None)


def _plain(text: str) -> str:
    """Without what letters of one word may differ in: width, case, blanks between."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
