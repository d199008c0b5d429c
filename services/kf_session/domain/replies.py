"""What a customer's words ask of us: the details of a line, no more pushes, pushes again; or nothing of the kind."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from shared.text.cutting import clip
from shared.values import value_class

VIEW_ID: Final = "view:"
"""Begins the id of a menu item of a list: ``view:<push_id>:<position>``."""
DETAILS_ID: Final = "details:"
"""Begins the id of a menu item that names the match itself: ``details:<match_id>``."""

_OFF: Final = frozenset({"退订", "td", "取消订阅", "unsubscribe"})
_ON: Final = frozenset({"订阅", "subscribe"})
_DIGITS: Final = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_NUMBER: Final = r"(?P<number>[0-9]{1,3}|[零〇一二两三四五六七八九十]{1,3})"
_VIEW: Final = re.compile(rf"查看第?{_NUMBER}[条个位]?")
_BARE: Final = re.compile(_NUMBER)
_ENDING: Final = "。.!！?？,，、~～ "


class Command(StrEnum):
    """What is asked."""

    VIEW = "view"
    """The details of one line of the list that was shown last."""
    VIEW_BARE = "view_bare"
    """A number alone: the same, if a list is what it can be about."""
    VIEW_LINE = "view_line"
    """The details of one line of the list that the menu belongs to."""
    VIEW_MATCH = "view_match"
    """The details of the match that the menu names."""
    UNSUBSCRIBE = "unsubscribe"
    SUBSCRIBE = "subscribe"


@value_class
class Asked:
    """A command and what it is about."""

    command: Command
    position: int = 0
    """Of the line, from 1."""
    ref: str = ""
    """The push or the match that a menu names."""


def read(text: str, menu_id: str = "") -> Asked | None:
    """What a message asks for; None for any other text. A menu that was tapped counts before its words."""
    if menu_id and (tapped := _tapped(menu_id)) is not None:
        return tapped
    said = "".join(unicodedata.normalize("NFKC", text).split()).strip(_ENDING).casefold()
    if said in _OFF:
        return Asked(Command.UNSUBSCRIBE)
    if said in _ON:
        return Asked(Command.SUBSCRIBE)
    if viewed := _VIEW.fullmatch(said):
        return _about(Command.VIEW, viewed["number"])
    if bare := _BARE.fullmatch(said):
        return _about(Command.VIEW_BARE, bare["number"])
    return None


def _tapped(menu_id: str) -> Asked | None:
    if menu_id.startswith(DETAILS_ID):
        return Asked(Command.VIEW_MATCH, ref=menu_id.removeprefix(DETAILS_ID))
    push_id, colon, position = menu_id.removeprefix(VIEW_ID).rpartition(":")
    if menu_id.startswith(VIEW_ID) and colon and re.fullmatch("[1-9][0-9]{0,2}", position, re.ASCII):
        return Asked(Command.VIEW_LINE, int(position), push_id)
    return None


def _about(command: Command, written: str) -> Asked | None:
    number = int(written) if written.isascii() else _chinese(written)
    return None if number is None else Asked(command, number)


def _chinese(written: str) -> int | None:
    """A number up to 99 as people write it; None for what is none, such as 十十."""
    tens, ten, ones = written.partition("十")
    if not ten:
        return _DIGITS.get(written) if len(written) == 1 else None
    if len(tens) > 1 or len(ones) > 1 or "十" in ones:
        return None
    return (_DIGITS[tens] if tens else 1) * 10 + (_DIGITS[ones] if ones else 0)


def no_such_line(asked: int, count: int) -> str:
    """The answer to a number that the list does not have."""
    if count == 0:
        return "目前没有可以查看的匹配结果；有新的匹配时会通知您。"
    known = "“查看1”" if count == 1 else f"“查看1”到“查看{count}”"
    return f"上一份列表里没有第{asked}条，请回复{known}。"


def either(details: Sequence[str]) -> str:
    """What is said of a line, of the newest list first, where more than one may be the last that the customer saw."""
    if len(details) == 1:
        return details[0]
    newest, before = (clip(one, _EITHER_BYTES) for one in details)
    return f"{newest}\n\n如果您看到的是再前一份列表，这一条是：\n{before}"


_EITHER_BYTES: Final = 980
"""Of each of two: both fit into one text."""

UNSUBSCRIBED: Final = "已为您退订匹配推送，今后不再主动发送。如需恢复，请回复“订阅”。"
SUBSCRIBED: Final = "已为您恢复匹配推送。如需停止，请回复“退订”。"
