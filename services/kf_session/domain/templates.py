"""What pushes about matches say: an operator's words for one match, and for a list of them.

A template has versions that never change, of which one acts. Its words are compiled by the suite's one engine
(``shared.text``); each form of message has its limits in bytes, which are the platform's (kf/send_msg 94677).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Final

from shared.errors import Invalid, Violation
from shared.events.kinds import Field, FieldKind
from shared.text.cutting import size
from shared.text.template import Template
from shared.values import value_class

TEXT_BYTES: Final = 2048
LINK_TITLE_BYTES: Final = 128
LINK_DESCRIPTION_BYTES: Final = 512
URL_BYTES: Final = 2048
MINIPROGRAM_TITLE_BYTES: Final = 64
MENU_BYTES: Final = 1024
"""Of a menu's head, and of its tail."""
MENU_ITEM_BYTES: Final = 128
MENU_ITEMS: Final = 10
LISTED_MOST: Final = 10
"""Matches that one message shows; those behind them are counted."""

DEFAULT: Final = "default"
"""The template that ships, and that a store without one of its own uses."""


class Msgtype(StrEnum):
    """The form of a message; the platform's ``msgtype``."""

    TEXT = "text"
    LINK = "link"
    MINIPROGRAM = "miniprogram"
    MSGMENU = "msgmenu"


FIELDS: Final[Mapping[str, Field]] = {
    name: Field(name, kind, required=False, repeated=repeated)
    for name, kind, repeated in (
        ("profile_name", FieldKind.NAME, False),
        ("intent_name", FieldKind.TEXT, False),
        ("score", FieldKind.COUNT, False),
        ("explanation", FieldKind.TEXT, False),
        ("matched_conditions", FieldKind.TEXT, True),
        ("position", FieldKind.COUNT, False),
        ("count", FieldKind.COUNT, False),
        ("line", FieldKind.TEXT, False),
    )
}
"""What a template may name: who matched, what they matched, how well in per cent, why, by which conditions, the number
that the customer answers with, how many there are, and what is said of a match in short."""

OF_THE_LIST: Final[Mapping[str, Field]] = {"count": FIELDS["count"]}
"""What may be named above and below a list."""

SAMPLE: Final[Mapping[str, object]] = {
    "profile_name": "欧阳思远（示例）",
    "intent_name": "寻找AI合作伙伴",
    "score": 85,
    "explanation": "具有AI背景，在北京，有创业经验",
    "matched_conditions": ["AI", "北京", "创业"],
    "position": 1,
    "count": 5,
    "line": "【欧阳思远（示例）】寻找AI合作伙伴 85%",
}
"""Values that a template is tried with when it is saved."""

SAMPLE_LIST: Final = 5
"""Matches that a list is tried with."""


@value_class
class TemplateSpec:
    """What one version says."""

    msgtype: Msgtype
    single: str
    """For one match: the text; the description of a link; the title of a mini program; the head of a menu."""
    line: str = ""
    """For each match of a list, and each item of a menu; empty where the form shows no list (mini programs)."""
    heading: str = ""
    """Above a list; of a mini program the title for several."""
    ending: str = ""
    """Below a list; the tail of a menu."""
    title: str = ""
    """Of a link."""
    url: str = ""
    """Of a link."""
    appid: str = ""
    pagepath: str = ""
    thumb_media_id: str = ""
    """Of a link and of a mini program."""

    def to_json(self) -> dict[str, str]:
        """As plain JSON, without what is empty."""
        return {name: str(value) for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, plain: Mapping[str, str]) -> TemplateSpec:
        """What ``to_json`` wrote."""
        words = {"single": "", **plain}
        return cls(msgtype=Msgtype(words.pop("msgtype")), **words)


@value_class
class Compiled:
    """A version taken apart, once."""

    spec: TemplateSpec
    single: Template
    line: Template | None
    heading: Template | None
    ending: Template | None
    title: Template | None


DEFAULT_SPEC: Final = TemplateSpec(
    Msgtype.TEXT,
    single="🎯 找到匹配的联系人\n\n【{profile_name}】符合您的意图【{intent_name}】\n匹配度：{score}%\n{explanation}\n\n"
    "回复“查看{position}”了解详情",
    line="{position}. 【{profile_name}】符合【{intent_name}】 匹配度：{score}%",
    heading="🎯 找到{count}位匹配的联系人\n",
    ending="\n回复“查看1”了解详情",
)
"""As the system that this one replaces had it (默认文本模板)."""

_PLACES: Final[Mapping[str, Mapping[str, Field]]] = {
    "single": FIELDS,
    "line": FIELDS,
    "heading": OF_THE_LIST,
    "ending": OF_THE_LIST,
    "title": FIELDS,
}
_NEEDED: Final[Mapping[Msgtype, tuple[str, ...]]] = {
    Msgtype.TEXT: ("line",),
    Msgtype.LINK: ("line", "title", "url", "thumb_media_id"),
    Msgtype.MINIPROGRAM: ("heading", "appid", "pagepath", "thumb_media_id"),
    Msgtype.MSGMENU: ("line", "heading"),
}
_ALLOWED: Final[Mapping[Msgtype, tuple[str, ...]]] = {
    Msgtype.TEXT: ("line", "heading", "ending"),
    Msgtype.LINK: ("line", "heading", "ending", "title", "url", "thumb_media_id"),
    Msgtype.MINIPROGRAM: ("heading", "appid", "pagepath", "thumb_media_id"),
    Msgtype.MSGMENU: ("line", "heading", "ending"),
}
_MAIN: Final[Mapping[Msgtype, int]] = {
    Msgtype.TEXT: TEXT_BYTES,
    Msgtype.LINK: LINK_DESCRIPTION_BYTES,
    Msgtype.MINIPROGRAM: MINIPROGRAM_TITLE_BYTES,
    Msgtype.MSGMENU: MENU_BYTES,
}


def main_bytes(msgtype: Msgtype) -> int:
    """The limit of a form's main text."""
    return _MAIN[msgtype]


def compile_spec(spec: TemplateSpec) -> Compiled:
    """Take *spec* apart. Raises Invalid with every objection, by the name of its field."""
    wrong = list(_shape(spec))
    made: dict[str, Template | None] = {}
    reason = "FIELD_INVALID"
    for place, fields in _PLACES.items():
        text: str = getattr(spec, place)
        made[place] = None
        if not text:
            continue
        try:
            made[place] = Template.compile(text, fields)
        except Invalid as refused:
            reason = refused.reason if refused.reason != "FIELD_INVALID" else reason
            wrong += [Violation(f"spec.{place}", one.description) for one in refused.violations]
    single = made["single"]
    if wrong or single is None:
        wrong = wrong or [Violation("spec.single", "say what a message about one match says")]
        raise Invalid(reason, f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
    return Compiled(spec, single, made["line"], made["heading"], made["ending"], made["title"])


def _shape(spec: TemplateSpec) -> list[Violation]:
    wrong = [
        Violation(f"spec.{name}", f"a template of type {spec.msgtype} needs it")
        for name in _NEEDED[spec.msgtype]
        if not getattr(spec, name).strip()
    ]
    own = ("line", "heading", "ending", "title", "url", "appid", "pagepath", "thumb_media_id")
    wrong += [
        Violation(f"spec.{name}", f"a template of type {spec.msgtype} has none; leave it empty")
        for name in own
        if getattr(spec, name) and name not in _ALLOWED[spec.msgtype]
    ]
    if not spec.single.strip():
        wrong.append(Violation("spec.single", "say what a message about one match says"))
    if spec.url and (not spec.url.startswith("https://") or size(spec.url) > URL_BYTES):
        wrong.append(Violation("spec.url", f"needs https:// and at most {URL_BYTES} bytes"))
    if spec.pagepath and ".html" not in spec.pagepath.partition("?")[0]:
        wrong.append(Violation("spec.pagepath", "needs .html before the query"))
    return wrong
