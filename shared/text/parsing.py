"""A template's text taken apart, with every objection to it named by place and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from shared.errors import Invalid, Violation
from shared.events.kinds import Field, FieldKind
from shared.text.filters import problem
from shared.text.present import PRESENTERS
from shared.values import value_class

TEMPLATE_MOST = 8 * 1024
"""Bytes of UTF-8 a template may have."""

VARIABLES_MOST = 64
"""Placeholders a template may have; with the limit of a value, it bounds what one event can make it say."""

RECIPIENT = "to."
"""Begins the name of what is the recipient's and not the event's: ``{to.name}``."""

NAME_CHARACTERS = 32
"""Characters that the name of a recipient's attribute may have."""

UNSAFE = "TEMPLATE_UNSAFE"
FIELD_INVALID = "FIELD_INVALID"


@value_class
class Variable:
    """One ``{name|filter:argument}`` as written; filter and argument are empty when there are none."""

    name: str
    filter: str
    argument: str
    at: int
    """Where its brace opens, in characters from 0."""


Part = str | Variable


@value_class
class _Objection:
    reason: str
    at: int
    words: str


_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{NAME_CHARACTERS - 1}}}", re.ASCII)
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
_VARIABLE = re.compile(r"((?:to\.)?[A-Za-z_][A-Za-z0-9_]*)(?:\|([a-z_]+)(?::([^|\n]*))?)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# Where a value would decide who is mentioned or where a link leads. \0 marks a placeholder.
_TRAPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"<(?:\0|[@/A-Za-z][^<>\n]*\0)"),
        "a value inside <…> could decide on a mention or a link; place it outside, or write ＜",
    ),
    (
        re.compile(r"@\w*\0"),
        "a value right after @ could become a mention; put a blank between them, or write ＠",
    ),
    (
        re.compile(r"\]\([^)\n]*\0"),
        "a value inside a link's address could lead anywhere; place it in the link's text",
    ),
    (
        re.compile(r"://[^\s/\0]*\0"),
        "a value must not be part of a link's host; write the host out",
    ),
)


def is_name(name: str) -> bool:
    """Whether *name* may be an attribute's: lower-case letters, digits and _, not beginning with a digit."""
    return _NAME.fullmatch(name) is not None


def parse(text: str, fields: Mapping[str, Field]) -> list[list[Part]]:
    """The lines of *text*, each as literals and variables in order.

    Raises Invalid with every objection at once; see ``Template.compile``.
    """
    text = text.replace("\r\n", "\n")
    objections = list(_whole(text))
    parts: list[Part] = []
    if not objections:
        parts = _parts(text, fields, objections)
        objections.extend(_joints(parts))
    if objections:
        raise _refusal(text, objections)
    return _lines(parts)


def _whole(text: str) -> Iterator[_Objection]:
    if not text.strip():
        yield _Objection(FIELD_INVALID, 0, "the template is empty; write what the message shall say")
    # surrogatepass: a lone surrogate is objected to below, it must not break the counting.
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEMPLATE_MOST:
        yield _Objection(
            FIELD_INVALID, 0, f"the template has {size} bytes, {TEMPLATE_MOST} are allowed; shorten it"
        )
    if control := _CONTROL.search(text):
        yield _Objection(
            FIELD_INVALID, control.start(), f"character U+{ord(control[0]):04X} cannot be shown; remove it"
        )


def _parts(text: str, fields: Mapping[str, Field], objections: list[_Objection]) -> list[Part]:
    parts: list[Part] = []
    literal: list[str] = []
    position = count = 0
    for token in _TOKEN.finditer(text):
        literal.append(text[position : token.start()])
        position = token.end()
        if token[0] in ("{{", "}}"):
            literal.append(token[0][0])
            continue
        found = _variable(token, fields)
        if isinstance(found, _Objection):
            objections.append(found)
            continue
        parts += ("".join(literal), found)
        literal.clear()
        count += 1
    parts.append("".join([*literal, text[position:]]))
    if count > VARIABLES_MOST:
        objections.append(
            _Objection(FIELD_INVALID, 0, f"{count} placeholders; {VARIABLES_MOST} are allowed, remove some")
        )
    return [part for part in parts if part != ""]


def _variable(token: re.Match[str], fields: Mapping[str, Field]) -> Variable | _Objection:
    at, inner = token.start(), token[0][1:-1]
    if token[0] in ("{", "}"):
        return _Objection(FIELD_INVALID, at, _unbalanced(token))
    match = _VARIABLE.fullmatch(inner)
    if match is None:
        return _Objection(UNSAFE, at, _syntax(inner))
    name, chosen, argument = match[1], match[2] or "", match[3]
    if name.startswith(RECIPIENT) and not is_name(name.removeprefix(RECIPIENT)):
        return _Objection(UNSAFE, at, _NO_ATTRIBUTE)
    field = field_named(name, fields)
    if field is None:
        return _Objection(UNSAFE, at, _undeclared(name, fields))
    if field.kind not in PRESENTERS:
        return _Objection(UNSAFE, at, f"{name} has parts of its own and cannot be shown as one; leave it out")
    wrong = problem(chosen, argument, field.kind) if chosen else None
    if wrong is not None:
        return _Objection(UNSAFE, at, wrong)
    return Variable(name, chosen, argument or "", at)


_NO_ATTRIBUTE = "an attribute has up to 32 of a-z, 0-9 and _, and no digit first; write {to.name}"


def field_named(name: str, fields: Mapping[str, Field]) -> Field | None:
    """The field that a placeholder shows; nobody declares those of a recipient, which are texts."""
    if name.startswith(RECIPIENT):
        return Field(name, FieldKind.TEXT, required=False)
    return fields.get(name)


def _unbalanced(token: re.Match[str]) -> str:
    if token[0] == "}":
        return "'}' closes nothing; write }} for the character itself"
    rest = token.string[token.end() :].partition("}")
    if rest[1] and "{" in rest[0]:
        return "a placeholder inside a placeholder is not possible; name one field between one pair of braces"
    return "'{' is never closed; close it, or write {{ for the character itself"


def _syntax(inner: str) -> str:
    bare = inner.strip()
    if not bare:
        return "the braces are empty; write a field's name between them, or {{ }} for the characters"
    if bare.count("|") > 1:
        return "one filter is allowed for a placeholder; leave out the others"
    name = re.split(r"[^A-Za-z0-9_]", bare, maxsplit=1)[0] or "field"
    head = bare.partition("|")[0]
    if head.startswith(RECIPIENT):
        return _NO_ATTRIBUTE
    for sign, meaning in (
        (".", "attributes"),
        ("[", "items by index"),
        ("!", "conversions"),
        (":", "formats"),
    ):
        if sign in head:
            return f"{meaning} cannot be reached from a template; write {{{name}}} or {{{name}|filter}}"
    return f"'{inner[:40]}' is not a placeholder; write {{{name}}} or {{{name}|filter}}, without blanks"


def _undeclared(name: str, fields: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(name, fields, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(fields)) or 'no fields'}"
    return f"the event has no field {name!r}; {remedy}"


def _joints(parts: list[Part]) -> Iterator[_Objection]:
    flat = "".join(part if isinstance(part, str) else "\0" for part in parts)
    variables = [part for part in parts if isinstance(part, Variable)]
    for pattern, words in _TRAPS:
        for match in pattern.finditer(flat):
            index = flat.count("\0", 0, match.end()) - 1
            yield _Objection(UNSAFE, variables[index].at, words)


def _lines(parts: list[Part]) -> list[list[Part]]:
    lines: list[list[Part]] = [[]]
    for part in parts:
        if isinstance(part, Variable):
            lines[-1].append(part)
            continue
        head, *rest = part.split("\n")
        if head:
            lines[-1].append(head)
        lines.extend([words] if words else [] for words in rest)
    return lines


def _refusal(text: str, objections: list[_Objection]) -> Invalid:
    objections.sort(key=lambda objection: objection.at)
    reason = UNSAFE if any(o.reason == UNSAFE for o in objections) else FIELD_INVALID
    violations = [Violation("template", f"{_place(text, o.at)}: {o.words}") for o in objections]
    return Invalid(reason, f"template: {violations[0].description}", violations=violations)


def _place(text: str, at: int) -> str:
    before = text[:at]
    return f"line {before.count(chr(10)) + 1}, column {at - before.rfind(chr(10))}"
