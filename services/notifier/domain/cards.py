"""The words on a card with buttons, within the platform's limits, which count characters here (message/send 90236)."""

from __future__ import annotations

from typing import Final

from services.notifier.domain.escalation import BUTTONS, Action
from shared.text.cutting import ELLIPSIS, atoms

TITLE_CHARACTERS: Final = 36
TEXT_CHARACTERS: Final = 160
BUTTON_CHARACTERS: Final = 10

CLIPPED: Final = f"{ELLIPSIS}（已截断）"
"""Ends words that were too long for a card: whoever acts on them must know that there is more."""

_DONE: Final = {Action.ACKNOWLEDGE: "已确认", Action.IN_PROGRESS: "处理中"}


def clip_characters(text: str, most: int, end: str = ELLIPSIS) -> str:
    """*text* within *most* characters; a longer one ends in *end*, never inside a character people see as one."""
    if len(text) <= most:
        return text
    kept: list[str] = []
    room = most - len(end)
    for atom in atoms(text[: most + 1]):
        room -= len(atom)
        if room < 0:
            break
        kept.append(atom)
    return "".join(kept).rstrip() + end


def card_text(words: str, reference: str) -> str:
    """The main text of a card: *words* as far as they fit, and the delivery's *reference* on a line of its own."""
    return f"{clip_characters(words, TEXT_CHARACTERS - len(reference) - 1, CLIPPED)}\n{reference}"


def card(title: str, text: str, task_id: str) -> dict[str, object]:
    """The ``template_card`` of a message; *task_id* is what a press of its buttons names."""
    return {
        "card_type": "button_interaction",
        "main_title": {"title": clip_characters(title, TITLE_CHARACTERS)},
        "sub_title_text": text,
        "task_id": task_id,
        "button_list": [
            {"text": words, "style": style, "key": action.value}
            for (action, words), style in zip(BUTTONS.items(), (1, 2, 3), strict=True)
        ],
    }


def answered(name: str, action: Action) -> str:
    """What the buttons become once *name* has answered: ``张三 已确认``."""
    done = _DONE[action]
    return f"{clip_characters(name, BUTTON_CHARACTERS - len(done) - 1)} {done}"
