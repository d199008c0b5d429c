"""What a step says on its day: the campaign that is drafted of it, and what an application is asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from services.campaign.domain.campaign import Attachment, AttachmentKind, Content, Spec
from services.campaign.domain.playbook import DAYS_LEFT, Card, Step, fill
from services.campaign.domain.playbook_calendar import Calendar
from shared.values import value_class

NAME_CHARS: Final = 100


@value_class
class Order:
    """What an application is asked to write."""

    theme: str
    audience: str
    max_chars: int
    rules: tuple[str, ...]


def said_on(calendar: Calendar, day: date) -> Mapping[str, str]:
    """What the texts of a step show on *day*, by name."""
    left = calendar.days_left(day)
    own = {} if left is None else {DAYS_LEFT: str(left)}
    return {**calendar.playbook.shown(calendar.values), **own}


def draft_of(calendar: Calendar, step: Step, day: date, chat_ids: Sequence[str], part: str = "") -> Spec:
    """The campaign of *step* on *day* for these groups; its text is empty where an application writes it."""
    said = said_on(calendar, day)
    name = f"{calendar.playbook.title}：{step.title} {day.month}月{day.day}日{part}"
    order = order_of(calendar, step, day)
    return Spec(
        name=name[:NAME_CHARS],
        content=Content(fill(step.text, said), _cards(calendar, step.card, said)),
        audience={"chat_ids": list(chat_ids)},
        window=calendar.window(step, day),
        confirm_within=timedelta(hours=step.confirm_hours),
        theme=order.theme if order else "",
        tone=str(step.tone.of(calendar.values)),
    )


def order_of(calendar: Calendar, step: Step, day: date) -> Order | None:
    """What is asked of an application on *day*; None where the text is fixed."""
    if step.writing is None:
        return None
    said = said_on(calendar, day)
    rules = tuple(rule for one in step.writing.rules if (rule := fill(one, said)))
    theme, audience = fill(step.writing.theme, said), fill(step.writing.audience, said)
    return Order(theme, audience, step.writing.max_chars, rules)


def _cards(calendar: Calendar, card: Card | None, said: Mapping[str, str]) -> tuple[Attachment, ...]:
    url = "" if card is None else str(card.url.of(calendar.values))
    if card is None or not url:
        return ()
    title, description = fill(card.title, said), fill(card.description, said)
    return (Attachment(AttachmentKind.LINK, title=title, url=url, description=description),)
