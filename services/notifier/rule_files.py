"""Rules as files: a TOML document with a table for each rule, whose name is the rule's id.

["big-order"]
event_type = "order.created"      # without it, the table's name
name = "大单提醒"
roles = ["manager"]
condition = "total >= 1000.0"
template = "大单 {order_number}：¥{total}"
merging = { mode = "window", length = "60s", line = "{order_number} ¥{total}" }
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from services.notifier.domain import fallback
from services.notifier.domain.content import Format
from services.notifier.domain.escalation import Escalation, parse_after, spell_after
from services.notifier.domain.routing import Role
from services.notifier.domain.rules import Priority, Rule, check
from services.notifier.merging_files import read_merging, write_merging
from services.notifier.toml_tables import Table, load, together
from shared.errors import Invalid
from shared.events.identity import check_store, check_type
from shared.events.kinds import EventType, Field, FieldKind
from shared.text.template import MissingPolicy

KEYS = (
    "event_type", "name", "priority", "roles", "person_field", "condition", "stores", "format", "missing", "escalation", "template",
    "variables", "merging", "fallback",
)  # fmt: skip
"""What a rule's table may say, in the order in which it is written."""

NAME_MOST = 100
"""Bytes a rule's name may have."""

_IDENT = re.compile(r"[0-9A-Za-z._-]{1,128}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TESTS = "an example and its words are a case of a test file (reach rules test)"


def parse_rules(document: str, types: Mapping[str, EventType]) -> tuple[Rule, ...]:
    """The rules of *document*, not numbered yet, each checked as it would be before it is stored.

    Raises Invalid naming table, key and remedy of everything that is wrong.
    """
    tables = load(document)
    if not tables.plain:
        raise Invalid("FIELD_INVALID", 'has no rule; a rule is a table with its id: ["big-order"]')
    loose = next((key for key, value in tables.plain.items() if not isinstance(value, dict)), None)
    if loose is not None:
        raise tables.wrong(
            loose, 'stands outside a rule; put it under a line with the rule\'s id: ["big-order"]'
        )
    return tuple(
        tables.each(lambda rule_id, table: _rule(rule_id, Table(table.plain, f"[{_key(rule_id)}]"), types))
    )


def _rule(rule_id: str, table: Table, types: Mapping[str, EventType]) -> Rule:
    if not _IDENT.fullmatch(rule_id):
        raise Invalid.field(table.place, "a rule's id has 1 to 128 letters, digits and . _ -")
    # [order.created] without quotes is the table created inside order.
    hints = {
        key: f'a name with a point stands in quotes: ["{rule_id}.{key}"]'
        for key, value in table.plain.items()
        if isinstance(value, dict)
    }
    hints |= {"example": _TESTS, "says": _TESTS, "id": "the table's name is the id"}
    table.only(KEYS, hints)
    name = table.text("name")
    if not name.strip() or len(name.encode()) > NAME_MOST:
        raise table.wrong("name", f"must have 1 to {NAME_MOST} bytes")
    rule = Rule(
        id=rule_id,
        version=0,
        event_type=table.text("event_type", rule_id),
        name=name,
        priority=table.choice("priority", Priority, Priority.NORMAL),
        roles=tuple(table.member("roles", role, Role) for role in table.texts("roles", [])),
        template=table.text("template"),
        format=table.choice("format", (Format.TEXT, Format.MARKDOWN), Format.TEXT),
        missing=table.choice("missing", MissingPolicy, MissingPolicy.FAIL),
        condition=table.text("condition", "").strip(),
        stores=tuple(sorted(set(table.texts("stores", [])))),
        variables=_variables(table.table("variables")),
        merging=read_merging(table.table("merging")) if "merging" in table.plain else None,
        fallback=_fallback(table) if "fallback" in table.plain else None,
        escalation=_escalation(table.table("escalation")),
        person_field=table.text("person_field", ""),
    )
    try:
        check_type(rule.event_type)
    except Invalid as refusal:
        raise table.wrong("event_type", refusal.violations[0].description) from None
    try:
        for store in rule.stores:
            check_store(store)
    except Invalid as refusal:
        raise table.wrong("stores", refusal.violations[0].description) from None
    try:
        check(rule, types)
    except Invalid as refusal:
        wrong = [table.wrong(one.field.replace(".", " "), one.description) for one in refusal.violations]
        raise together(wrong) from None
    return rule


def _fallback(table: Table) -> tuple[fallback.Step, ...]:
    """``fallback = ["robot:bar", "manager"]``; an empty list is nobody, which is not the same as no line."""
    try:
        return tuple(fallback.read(one) for one in table.texts("fallback"))
    except Invalid as refusal:
        if refusal.violations[0].field.startswith(table.place):
            raise
        raise table.wrong("fallback", refusal.violations[0].description) from None


def _escalation(table: Table) -> Escalation | None:
    if not table.plain:
        return None
    table.only(("after",), {})
    try:
        return Escalation(parse_after(table.text("after")))
    except Invalid as refusal:
        raise table.wrong("after", refusal.violations[0].description) from None


def _variables(table: Table) -> tuple[Field, ...]:
    found = []
    for name in table.plain:
        if not _VARIABLE.fullmatch(name):
            raise table.wrong(name, "a field's name has 1 to 64 letters, digits and _")
        found.append(Field(name, table.choice(name, FieldKind), required=False))
    return tuple(found)


def write_rule(rule: Rule) -> str:
    """The table of *rule*; ``parse_rules`` reads the same rule from it."""
    plain = rule.to_json()
    plain["variables"] = {one.name: one.kind.value.lower() for one in rule.variables}
    plain["merging"] = {} if rule.merging is None else write_merging(rule.merging)
    plain["escalation"] = rule.escalation and {"after": spell_after(rule.escalation.after)}
    lines = [f"[{_key(rule.id)}]"]
    lines += [f"{key} = {_value(plain[key])}" for key in KEYS if plain.get(key)]
    if rule.fallback == ():
        lines.append("fallback = []")
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, int):
        return str(value)
    return _text(str(value))


def _text(text: str) -> str:
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"  # conditions are full of quotes, which TOML takes literally between these
    if "\n" not in text:
        return _quoted(text)
    # Line by line as it is read; the first line end after the quotes is not part of the text.
    return '"""\n' + "\n".join(_quoted(line)[1:-1] for line in text.split("\n")) + '"""'


def _quoted(text: str) -> str:
    """*text* as a TOML string: JSON's, but for the one control character that JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
