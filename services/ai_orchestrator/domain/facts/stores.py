"""What a store's figures are cut into: areas of its floor, and stretches of time."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from shared.values import value_class

ALL: Final = "all"
"""The area that is the whole store."""

TIME_DIMENSIONS: Final[Mapping[str, str]] = {
    "this_month": "本月",
    "last_month": "上月",
    "this_week": "本周",
    "last_week": "上周",
    "this_quarter": "本季度",
    "last_quarter": "上季度",
    "last_3_months": "最近三个整月（不含本月）",
    "last_6_months": "最近六个整月（不含本月）",
}
"""What a figure may be of, and what people call it."""


@value_class
class Area:
    """A part of a store's floor."""

    key: str
    title: str
    """In Chinese, for people."""
    names: tuple[str, ...] = ()
    """What tills call it besides its key and its title."""
    within: str = ""
    """The key of the area whose figures contain this one's; empty is none but the whole store."""


AREAS: Final = (
    Area("hall", "大厅", ("台球大厅", "大厅区")),
    Area("hallA", "A区", ("大厅A区", "大厅A", "A"), "hall"),
    Area("hallB", "B区", ("大厅B区", "大厅B", "B"), "hall"),
    Area("hallC", "C区", ("大厅C区", "大厅C", "C"), "hall"),
    Area("vip", "VIP包厢", ("台球包厢", "包厢", "贵宾厅")),
    Area("snooker", "斯诺克区", ("斯诺克", "斯诺克厅")),
    Area("mahjong", "麻将房", ("麻将", "棋牌室", "棋牌")),
    Area("ktv", "KTV包房", ("团建房", "K歌房", "KTV包厢")),
)
"""The areas of a store that says nothing of its own, beside ``all``."""


@value_class
class Store:
    """How one store is looked at."""

    store_id: str
    zone: ZoneInfo
    name: str | None = None
    areas: tuple[Area, ...] = AREAS
    time_dimensions: tuple[str, ...] = tuple(TIME_DIMENSIONS)
    active: bool = True

    def title(self, key: str) -> str:
        """What people call the area *key*."""
        return "全店" if key == ALL else next((one.title for one in self.areas if one.key == key), key)

    def spoken(self, key: str) -> frozenset[str] | None:
        """What tills call the area *key* and those within it, folded; None where it is the whole store."""
        if key == ALL:
            return None
        parts = _family(self.areas, key)
        return frozenset(
            fold(name) for one in self.areas if one.key in parts for name in (one.key, one.title, *one.names)
        )


def _family(areas: Sequence[Area], key: str) -> set[str]:
    """*key* and every area within it, however deep."""
    found = {key}
    while more := {one.key for one in areas if one.within in found} - found:
        found |= more
    return found


def fold(name: str) -> str:
    """The name of an area without what writers differ in: width, case, blanks."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
