"""Whether words that a model wrote may go to a customer: nothing in them that the facts do not say.

Only what can be told without a model: links, numbers, names where a text shows that it is one (in quotes, before a title,
behind 叫 or 姓, in Latin letters). The name of whom it is about must be there, and so must the words that a customer can
answer with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from services.kf_session.domain.matching.lines import TEXT_BYTES

COMMANDS: Final = ("查看", "退订")
"""Any words may offer these to answer with; those of a model must where the template does."""

_LINK: Final = re.compile(
    r"://|www\.|<\s*/?\s*[a-z]|\]\(|@|[a-z0-9-]+\.(?:com|cn|net|org|io|me|cc|top|xyz|shop|vip|link|app|info|co)(?![a-z])"
)
_NUMBER: Final = re.compile(r"\d+(?:[.,:/-]\d+)*")
_LATIN: Final = re.compile(r"[a-z][a-z0-9+#.'-]*")
_NUMERAL: Final = "〇零一二三四五六七八九十百千万亿两"
_SAID: Final = re.compile(
    rf"[{_NUMERAL}]{{2,}}|[{_NUMERAL}半](?=年|岁|元|块|折|倍|成|月|天|日|小时|公里|米|家|人|次|名)"
    rf"|(?:百分之|第)[{_NUMERAL}]+"
)
_QUOTED: Final = re.compile(r"[“「『【《\"]([^”」』】》\"]+)[”」』】》\"]")
_TITLED: Final = re.compile(
    r"[\u4e00-\u9fff](?=先生|女士|小姐|老师|师傅|总监|总裁|总经理|经理|老板|医生|律师|教授|同学|博士)"
)
_NAMED: Final = re.compile(r"(?:名叫|叫做|叫作|名为|姓)([\u4e00-\u9fff]{1,3})")


def objection(text: str, facts: Mapping[str, Any], template: str, name: str) -> str:
    """Why *text* may not go in place of the *template*'s words, as a stable word; empty where it may.

    *name* is of whom it is about, *facts* all that may be said.
    """
    if not text.strip() or len(text.encode()) > TEXT_BYTES:
        return "too_long" if text.strip() else "empty"
    if not all(char.isprintable() or char == "\n" for char in text):
        return "unprintable"
    said, known = _fold(text), _fold("\n".join([*_texts(facts), template, *COMMANDS]))
    if _LINK.search(said):
        return "link"
    if set(_NUMBER.findall(said)) - set(_NUMBER.findall(known)) or _unknown(_SAID.finditer(said), known):
        return "number_not_in_facts"
    if set(_LATIN.findall(said)) - set(_LATIN.findall(known)):
        return "name_not_in_facts"
    for quoted in _QUOTED.finditer(said):
        if quoted[1].strip() not in known:
            return "name_not_in_facts"
    titled = (said[found.start() : found.end() + 2] for found in _TITLED.finditer(said))
    if any(one not in known for one in titled) or any(one[1] not in known for one in _NAMED.finditer(said)):
        return "name_not_in_facts"
    if _fold(name) not in said:
        return "name_missing"
    if any(word in template and word not in text for word in COMMANDS):
        return "command_missing"
    return ""


def _unknown(found: Any, known: str) -> bool:
    return any(one[0] not in known for one in found)


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
