"""What a push says: one of the forms that kf/send_msg takes, within the platform's limits, in bytes.

A content is kept as the very object that goes out: ``{"msgtype": T, T: {…}}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Final

from shared.errors import Invalid, Violation
from shared.values import value_class

TEXT_BYTES: Final = 2048
MENU_ITEMS: Final = 10
"""The table of errcodes says ten (95008); newer pages say fifty. Ten is right by both."""


class Form(StrEnum):
    """The platform's ``msgtype``."""

    TEXT = "text"
    IMAGE = "image"
    VOICE = "voice"
    VIDEO = "video"
    FILE = "file"
    LINK = "link"
    MINIPROGRAM = "miniprogram"
    MENU = "msgmenu"
    LOCATION = "location"
    CA_LINK = "ca_link"
    """An acquisition link."""


PICTURE: Final = "picture:"
"""Stands in place of the platform's id of a file, before the name of a picture that is kept."""

_PICTURED: Final = {Form.IMAGE: "media_id", Form.LINK: "thumb_media_id", Form.MINIPROGRAM: "thumb_media_id"}

CODE_FORMS: Final = frozenset({Form.TEXT, Form.MENU})
"""What kf/send_msg_on_event takes."""


@value_class
class _Rule:
    most: int
    needed: bool = False


_MEDIA: Final = {"media_id": _Rule(256, needed=True)}
_TEXTS: Final[Mapping[Form, Mapping[str, _Rule]]] = {
    Form.TEXT: {"content": _Rule(TEXT_BYTES, needed=True), "menu_id": _Rule(128)},
    Form.IMAGE: _MEDIA,
    Form.VOICE: _MEDIA,
    Form.VIDEO: _MEDIA,
    Form.FILE: _MEDIA,
    Form.LINK: {
        "title": _Rule(128, needed=True),
        "desc": _Rule(512),
        "url": _Rule(2048, needed=True),
        "thumb_media_id": _Rule(256, needed=True),
    },
    Form.MINIPROGRAM: {
        "appid": _Rule(32, needed=True),
        "title": _Rule(64),
        "thumb_media_id": _Rule(256, needed=True),
        "pagepath": _Rule(1024, needed=True),
    },
    Form.MENU: {"head_content": _Rule(1024), "tail_content": _Rule(1024)},
    Form.LOCATION: {"name": _Rule(1024), "address": _Rule(1024)},
    Form.CA_LINK: {"link_url": _Rule(2048, needed=True)},
}
_ITEMS: Final[Mapping[str, Mapping[str, _Rule]]] = {
    "click": {"id": _Rule(128), "content": _Rule(128, needed=True)},
    "view": {"url": _Rule(2048, needed=True), "content": _Rule(1024, needed=True)},
    "miniprogram": {
        "appid": _Rule(32, needed=True),
        "pagepath": _Rule(1024, needed=True),
        "content": _Rule(1024, needed=True),
    },
    "text": {"content": _Rule(256, needed=True)},
}
_EXTRA: Final[Mapping[Form, frozenset[str]]] = {
    Form.MENU: frozenset({"list"}),
    Form.LOCATION: frozenset({"latitude", "longitude"}),
}
_PAGE: Final = re.compile(r"[^?]+\.html(\?.*)?", re.DOTALL)


@value_class
class Content:
    """One message, checked."""

    form: Form
    body: Mapping[str, object] = field(repr=False)
    """The object of its form."""

    @classmethod
    def checked(cls, form: Form, body: Mapping[str, object], *, field: str = "content") -> Content:
        """Raises Invalid naming every field of *field* that cannot be sent, and how to put it right."""
        wrong = list(_violations(form, body, f"{field}.{form.value}"))
        if wrong:
            raise Invalid("FIELD_INVALID", f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
        return cls(form, dict(body))

    @classmethod
    def text(cls, words: str, *, field: str = "content") -> Content:
        """Plain words. Raises Invalid where they are none or too many."""
        return cls.checked(Form.TEXT, {"content": words}, field=field)

    @classmethod
    def from_json(cls, plain: Mapping[str, object], *, field: str = "content") -> Content:
        """What ``to_json`` wrote, or a caller brought. Raises Invalid as ``checked``."""
        named = str(plain.get("msgtype", ""))
        if named not in list(Form):
            raise Invalid.field(f"{field}.msgtype", "is none of " + ", ".join(Form))
        body = plain.get(named)
        if not isinstance(body, Mapping):
            raise Invalid.field(f"{field}.{named}", "must be an object")
        return cls.checked(Form(named), body, field=field)

    def to_json(self) -> dict[str, object]:
        """The part of kf/send_msg's body that says what is sent."""
        return {"msgtype": self.form.value, self.form.value: dict(self.body)}

    @property
    def words(self) -> str:
        """A text's words; empty for other forms."""
        return str(self.body.get("content", "")) if self.form is Form.TEXT else ""


def size(text: str) -> int:
    """Bytes of *text* as the platform counts them."""
    return len(text.encode("utf-8", "surrogatepass"))


def clip(text: str, most: int) -> str:
    """*text* within *most* bytes, cut between characters with an ellipsis."""
    if size(text) <= most:
        return text
    return text.encode("utf-8", "replace")[: max(0, most - 3)].decode("utf-8", "ignore") + "…"


def numbered(lines: Sequence[str], *, head: str, tail: str) -> Content:
    """The default list: a heading, numbered lines, and how to ask for more; lines are cut to leave room for all."""
    room = TEXT_BYTES - size(head) - size(tail) - 2 - sum(len(f"{n}. ") + 1 for n in range(1, len(lines) + 1))
    each = max(8, room // max(1, len(lines)))
    listed = [f"{number}. {clip(line, each)}" for number, line in enumerate(lines, 1)]
    return Content.text(clip("\n".join([head, *listed, tail]), TEXT_BYTES))


def payload(
    content: Mapping[str, object], *, msgid: str, to: str = "", open_kfid: str = "", code: str = ""
) -> dict[str, object]:
    """The body of kf/send_msg, or with a *code* of kf/send_msg_on_event."""
    whom: dict[str, object] = {"code": code} if code else {"touser": to, "open_kfid": open_kfid}
    return {**whom, "msgid": msgid, **content}


def picture_of(content: Mapping[str, object]) -> str:
    """The name of the kept picture that a content shows; empty where it shows none."""
    form = Form(str(content["msgtype"]))
    body = content[form.value]
    shown = str(body.get(_PICTURED[form], "")) if form in _PICTURED and isinstance(body, Mapping) else ""
    return shown.removeprefix(PICTURE) if shown.startswith(PICTURE) else ""


def with_picture(content: Mapping[str, object], media_id: str) -> dict[str, object]:
    """The same, with its picture by the platform's id."""
    form = Form(str(content["msgtype"]))
    body = content[form.value]
    assert isinstance(body, Mapping), "it was checked when it was admitted"
    return {**content, form.value: {**body, _PICTURED[form]: media_id}}


def _violations(form: Form, body: Mapping[str, object], path: str) -> Iterator[Violation]:
    yield from _texts(_TEXTS[form], body, path)
    known = _TEXTS[form].keys() | _EXTRA.get(form, frozenset())
    for name in sorted(body.keys() - known):
        yield Violation(f"{path}.{name}", "the platform knows no such field; leave it out")
    match form:
        case Form.LINK:
            yield from _web(body, "url", path)
        case Form.CA_LINK:
            yield from _web(body, "link_url", path)
        case Form.MINIPROGRAM:
            yield from _page(body, path)
        case Form.LOCATION:
            yield from _degrees(body, path)
        case Form.MENU:
            yield from _menu(body, path)


def _texts(rules: Mapping[str, _Rule], body: Mapping[str, object], path: str) -> Iterator[Violation]:
    for name, rule in rules.items():
        value = body.get(name, "")
        if not isinstance(value, str):
            yield Violation(f"{path}.{name}", "must be text")
        elif rule.needed and not value.strip():
            yield Violation(f"{path}.{name}", "is needed; write something")
        elif size(value) > rule.most:
            told = f"has {size(value)} bytes and may have {rule.most}; a Chinese character has 3: shorten it"
            yield Violation(f"{path}.{name}", told)


def _web(body: Mapping[str, object], name: str, path: str) -> Iterator[Violation]:
    if not str(body.get(name, "")).startswith(("https://", "http://")):
        yield Violation(f"{path}.{name}", "must begin with https://")


def _page(body: Mapping[str, object], path: str) -> Iterator[Violation]:
    if not _PAGE.fullmatch(str(body.get("pagepath", ""))):
        yield Violation(
            f"{path}.pagepath", "needs .html behind the page, before any query: pages/index.html?id=1"
        )


def _degrees(body: Mapping[str, object], path: str) -> Iterator[Violation]:
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = body.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
            yield Violation(f"{path}.{name}", f"must be a number from -{most} to {most}")


def _menu(body: Mapping[str, object], path: str) -> Iterator[Violation]:
    items = body.get("list", [])
    if not isinstance(items, list) or not items:
        yield Violation(f"{path}.list", "a menu needs an item")
        return
    if len(items) > MENU_ITEMS:
        yield Violation(f"{path}.list", f"has {len(items)} items and may have {MENU_ITEMS}; leave some out")
    for index, item in enumerate(items):
        where = f"{path}.list[{index}]"
        kind = item.get("type") if isinstance(item, Mapping) else None
        if not isinstance(kind, str) or kind not in _ITEMS or not isinstance(item.get(kind), Mapping):
            yield Violation(
                where, "must be one of click, view, miniprogram and text, with the object of its name"
            )
            continue
        yield from _texts(_ITEMS[kind], item[kind], f"{where}.{kind}")
        if kind == "view":
            yield from _web(item[kind], "url", f"{where}.view")
