"""Matches put into a template's words: the content of one message, within the platform's limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

from services.kf_session.domain.fitting import fit, fit_between
from services.kf_session.domain.push import Item
from services.kf_session.domain.templates import (
    FIELDS,
    LINK_TITLE_BYTES,
    LISTED_MOST,
    MENU_BYTES,
    MENU_ITEM_BYTES,
    SAMPLE,
    SAMPLE_LIST,
    Compiled,
    Msgtype,
    TemplateSpec,
    compile_spec,
    main_bytes,
)
from shared.errors import Invalid, Violation
from shared.text.cutting import clip, size
from shared.text.neutral import Dialect, neutralise
from shared.text.template import MissingPolicy, Template
from shared.values import value_class

MENU_ID: Final = "details:"
"""What the id of a menu item begins with; the id of the match follows."""

ITEM_MARK: Final = "{item}"
"""In the address of a card: the id of the match; ``item:<id>`` as scene parameter tells that somebody came by it."""

_MENU_ID_BYTES: Final = 64


@value_class
class Rendered:
    """The content of a message, and what made it."""

    content: Mapping[str, object] = field(repr=False)
    """``{"msgtype": …, <msgtype>: {…}}``, within the limits of kf/send_msg."""
    template_id: str | None = None
    template_version: int | None = None
    variant: str | None = None
    """Of the experiment that the customer takes part in."""


Renderer = Callable[[Any, str, Sequence[Item]], Awaitable[Rendered]]
"""From the connection of a transaction, a store and the matches to what is sent."""


@value_class
class Finding:
    """Something that would not come out as it was written."""

    field: str
    words: str


def render(template: Compiled, items: Sequence[Item]) -> dict[str, object]:
    """The content for *items*, of which there is at least one. Never over a limit, whatever they hold."""
    if not items:
        raise ValueError("nothing to tell of")
    spec = template.spec
    body = _BODIES[spec.msgtype](template, items)
    return {"msgtype": str(spec.msgtype), str(spec.msgtype): body}


def lint(spec: TemplateSpec) -> tuple[Compiled, list[Finding]]:
    """The template taken apart, and what of it is cut even with ordinary values. Raises Invalid where it is none."""
    template = compile_spec(spec)
    found: list[Finding] = []
    limit = main_bytes(spec.msgtype)
    one = _say(template.single, SAMPLE)
    if size(one) > limit:
        found.append(Finding("spec.single", f"has {size(one)} bytes with sample values, {limit} are allowed"))
    if template.title is not None and (has := size(_say(template.title, SAMPLE))) > LINK_TITLE_BYTES:
        found.append(
            Finding("spec.title", f"has {has} bytes with sample values, {LINK_TITLE_BYTES} are allowed")
        )
    if spec.msgtype is Msgtype.MSGMENU:
        found += _lint_menu(template)
    else:
        whole = size(_whole_list(template, samples(SAMPLE_LIST)))
        if whole > limit:
            found.append(
                Finding(
                    "spec.line" if template.line else "spec.heading",
                    f"a list of {SAMPLE_LIST} has {whole} bytes with sample values, {limit} are allowed",
                )
            )
    return template, found


def checked(spec: TemplateSpec) -> Compiled:
    """The template, fit to be saved. Raises Invalid with every objection."""
    template, found = lint(spec)
    if found:
        wrong = [Violation(one.field, one.words) for one in found]
        raise Invalid("FIELD_INVALID", f"{found[0].field}: {found[0].words}", violations=wrong)
    return template


def samples(count: int) -> list[Item]:
    """Matches made up, to try a template with."""
    return [
        Item(f"sample-{at}", str(SAMPLE["line"]), "", score=0.85, facts=SAMPLE) for at in range(1, count + 1)
    ]


def _lint_menu(template: Compiled) -> list[Finding]:
    found = []
    for name, part in (("heading", template.heading), ("ending", template.ending)):
        if part is not None and (has := size(_say(part, SAMPLE))) > MENU_BYTES:
            found.append(Finding(f"spec.{name}", f"has {has} bytes, {MENU_BYTES} are allowed"))
    has = max(size(line) for line in _lines(template, samples(SAMPLE_LIST)))
    if has > MENU_ITEM_BYTES:
        found.append(
            Finding(
                "spec.line", f"a menu item has {has} bytes with sample values, {MENU_ITEM_BYTES} are allowed"
            )
        )
    return found


def _say(template: Template, values: Mapping[str, object]) -> str:
    return template.render(values, UTC, Dialect.PLAIN, MissingPolicy.OMIT_LINE).text


def _values(item: Item, position: int, count: int) -> dict[str, object]:
    known = {name: value for name, value in item.facts.items() if name in FIELDS}
    if item.score is not None:
        known["score"] = round(item.score * 100)
    return known | {"position": position, "count": count, "line": item.line}


def _lines(template: Compiled, items: Sequence[Item]) -> list[str]:
    return [_line(template.line, item, at, len(items)) for at, item in enumerate(items[:LISTED_MOST], 1)]


def _line(template: Template | None, item: Item, position: int, count: int) -> str:
    values = _values(item, position, count)
    # An item that was read back has its line and no facts: half a line of the template would say less.
    if template is not None and all(name in values for name in template.variables):
        said = " ".join(_say(template, values).split("\n")).strip()
        if said:
            return said
    return f"{position}. {neutralise(item.line, Dialect.PLAIN)}"


def _frame(template: Template | None, count: int) -> str:
    return "" if template is None else _say(template, {"count": count})


def _one(template: Compiled, items: Sequence[Item]) -> str | None:
    """What is said of a single match; None where there are several, or where too little is known of the one."""
    if len(items) != 1:
        return None
    values = _values(items[0], 1, 1)
    wanted = {"profile_name", "intent_name"} & template.single.variables
    return _say(template.single, values) if wanted <= values.keys() else None


def _whole_list(template: Compiled, items: Sequence[Item]) -> str:
    parts = [
        _frame(template.heading, len(items)),
        *_lines(template, items),
        _frame(template.ending, len(items)),
    ]
    return "\n".join(part for part in parts if part) if template.line else parts[0]


def _main(template: Compiled, items: Sequence[Item]) -> str:
    limit = main_bytes(template.spec.msgtype)
    one = _one(template, items)
    if one is not None:
        return "\n".join(fit(one.split("\n"), limit))
    heading, ending = _frame(template.heading, len(items)), _frame(template.ending, len(items))
    return fit_between(heading, _lines(template, items), ending, limit)


def _text(template: Compiled, items: Sequence[Item]) -> dict[str, object]:
    return {"content": _main(template, items)}


def _link(template: Compiled, items: Sequence[Item]) -> dict[str, object]:
    assert template.title is not None, "checked when it was saved"
    title = _say(template.title, _values(items[0], 1, len(items)))
    return {
        "title": clip(" ".join(title.split()) or "查看详情", LINK_TITLE_BYTES),
        "desc": _main(template, items),
        "url": _leading(template.spec.url, items),
        "thumb_media_id": template.spec.thumb_media_id,
    }


def _miniprogram(template: Compiled, items: Sequence[Item]) -> dict[str, object]:
    one = _one(template, items)
    title = _frame(template.heading, len(items)) if one is None else one
    return {
        "appid": template.spec.appid,
        "title": clip(" ".join(title.split()), main_bytes(Msgtype.MINIPROGRAM)),
        "thumb_media_id": template.spec.thumb_media_id,
        "pagepath": _leading(template.spec.pagepath, items),
    }


def _leading(address: str, items: Sequence[Item]) -> str:
    """Where a card leads; ``{item}`` in it is the first match, so that who comes by it can say so."""
    return address.replace(ITEM_MARK, quote(items[0].item_id, safe=""))


def _menu(template: Compiled, items: Sequence[Item]) -> dict[str, object]:
    one = _one(template, items)
    head = _frame(template.heading, len(items)) if one is None else one
    body: dict[str, object] = {
        "head_content": "\n".join(fit(head.split("\n"), MENU_BYTES)),
        "list": [
            {"type": "click", "click": {"id": menu_id(item.item_id), "content": clip(line, MENU_ITEM_BYTES)}}
            for item, line in zip(items, _lines(template, items), strict=False)
        ],
    }
    if ending := _frame(template.ending, len(items)):
        body["tail_content"] = "\n".join(fit(ending.split("\n"), MENU_BYTES))
    return body


def menu_id(item_id: str) -> str:
    """What the platform sends back when a customer taps the menu item of a match."""
    return clip(MENU_ID + item_id, _MENU_ID_BYTES)


_BODIES: Final[Mapping[Msgtype, Callable[[Compiled, Sequence[Item]], dict[str, object]]]] = {
    Msgtype.TEXT: _text,
    Msgtype.LINK: _link,
    Msgtype.MINIPROGRAM: _miniprogram,
    Msgtype.MSGMENU: _menu,
}
