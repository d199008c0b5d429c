"""What a customer reads of matches where no template says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.kf_session.domain.matching.scoring import percent
from services.kf_session.domain.push import Item

TEXT_BYTES: Final = 2048
"""The platform's limit of a text."""
_LINE_NAME: Final = 40
"""Characters of a name in a line."""


def line(profile_name: str, intent_name: str, score: float) -> str:
    """What the list says of a match."""
    return f"【{_short(profile_name)}】符合您的意图【{_short(intent_name)}】 匹配度：{percent(score)}"


def details(profile_name: str, intent_name: str, score: float, explanation: str) -> str:
    """What 查看 answers with."""
    return clipped(f"{line(profile_name, intent_name, score)}\n{explanation}")


def listing(items: Sequence[Item]) -> str:
    """The list itself, numbered from 1, with how to ask for more."""
    head = "🎯 找到匹配的联系人" if len(items) == 1 else f"🎯 为您找到{len(items)}位匹配的联系人"
    rows = [items[0].line] if len(items) == 1 else [f"{at}. {one.line}" for at, one in enumerate(items, 1)]
    foot = "回复“查看1”了解详情，回复“退订”不再接收"
    rest = clipped("\n".join(rows), TEXT_BYTES - len(head.encode()) - len(foot.encode()) - 4)
    return f"{head}\n\n{rest}\n\n{foot}"


def clipped(text: str, most: int = TEXT_BYTES) -> str:
    """*text* in *most* bytes, cut between characters and with a mark where it was."""
    raw = text.encode()
    return text if len(raw) <= most else raw[: most - 3].decode(errors="ignore") + "…"


def text_message(text: str) -> dict[str, object]:
    """A text as kf/send_msg takes it."""
    return {"msgtype": "text", "text": {"content": text}}


def _short(name: str) -> str:
    return name if len(name) <= _LINE_NAME else name[: _LINE_NAME - 1] + "…"
