"""Operators' wishes: when this happens, tell those, in these words.

A ``RuleBook`` holds all of them with their templates taken apart, so that an event only looks them up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from services.notifier.domain import fallback as chains
from services.notifier.domain.condition import Condition
from services.notifier.domain.content import Format
from services.notifier.domain.escalation import Escalation
from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.routing import Role
from shared.errors import Invalid
from shared.events.kinds import EventType, Field, FieldKind
from shared.text.template import MissingPolicy, Template
from shared.values import value_class


class Priority(IntEnum):
    """How urgent a message is; the smaller the sooner."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @property
    def word(self) -> str:
        """``urgent``, ``high``, ``normal`` or ``low``."""
        return self.name.lower()


@value_class
class Rule:
    """One wish, as it acts in one store or in all."""

    id: str
    """Opaque; a preset's is the event type it is for."""
    version: int
    """Counts published changes, from 1."""
    event_type: str
    name: str
    """What people call it: 新订单提醒."""
    priority: Priority
    roles: tuple[Role, ...]
    """Who is told, in order; may be empty where the event names a person."""
    template: str
    format: Format = Format.TEXT
    missing: MissingPolicy = MissingPolicy.FAIL
    """What to do when the event leaves out a field that the template shows."""
    condition: str = ""
    """When it acts, as ``domain.condition`` has it; empty is always."""
    stores: tuple[str, ...] = ()
    """The stores it acts in; empty is all."""
    variables: tuple[Field, ...] = ()
    """What a type that the contract does not know is declared to carry; empty for one that it knows."""
    merging: Merging | None = None
    """How its messages are brought together; None leaves it to the policies."""
    fallback: tuple[chains.Step, ...] | None = None
    """Whom to tell instead, in order; None leaves it to ``domain.fallback``, empty is nobody."""
    enabled: bool = True
    disabled_until: datetime | None = None
    """When a muted rule wakes by itself; None where it is enabled or muted without end."""
    disabled_by: str = ""
    disabled_at: datetime | None = None
    person_field: str = ""
    """The event's field with the userid of a person who is told as well; empty: none."""
    escalation: Escalation | None = None
    """Until when somebody must have answered; None where nobody has to."""
    store_id: str = ""
    """The store whose own setting this is; empty is every store without one."""
    preset: bool = False

    def fields(self, types: Mapping[str, EventType]) -> Mapping[str, Field]:
        """What its words and its condition may name: the contract's fields, or those it declares itself."""
        known = types.get(self.event_type)
        return known.by_name if known is not None else {one.name: one for one in self.variables}

    def to_json(self) -> dict[str, object]:
        """What an operator decides about it, as plain JSON; its id, version and switch are kept beside it."""
        plain: dict[str, object] = {
            "event_type": self.event_type,
            "name": self.name,
            "priority": self.priority.word,
            "roles": [role.value for role in self.roles],
            "template": self.template,
            "format": self.format.value,
            "missing": self.missing.value,
            "condition": self.condition,
            "stores": list(self.stores),
            "escalation": self.escalation and self.escalation.to_json(),
            "variables": [
                {"name": one.name, "kind": one.kind.value, "required": one.required} for one in self.variables
            ],
        }
        if self.merging is not None:
            plain["merging"] = self.merging.to_json()
        if self.person_field:
            plain["person_field"] = self.person_field
        if self.fallback is not None:
            plain["fallback"] = [chains.written(step) for step in self.fallback]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, id: str, version: int, preset: bool) -> Rule:  # noqa: A002
        """What ``to_json`` wrote."""
        return cls(
            id=id,
            version=version,
            event_type=plain["event_type"],
            name=plain["name"],
            priority=Priority[plain["priority"].upper()],
            roles=tuple(Role(role) for role in plain["roles"]),
            template=plain["template"],
            format=Format(plain["format"]),
            missing=MissingPolicy(plain["missing"]),
            condition=plain["condition"],
            stores=tuple(plain["stores"]),
            variables=tuple(
                Field(one["name"], FieldKind(one["kind"]), one["required"]) for one in plain["variables"]
            ),
            merging=Merging.from_json(plain["merging"]) if "merging" in plain else None,
            fallback=_steps(plain.get("fallback")),
            person_field=plain.get("person_field", ""),
            escalation=Escalation.from_json(plain.get("escalation")),
            preset=preset,
        )

    @property
    def instead(self) -> tuple[chains.Step, ...]:
        """Whom to tell instead, in order."""
        return chains.chain(self.fallback, self.roles)

    def acts(self, now: datetime) -> bool:
        """Whether it is enabled at *now*, or its mute is over."""
        return self.enabled or (self.disabled_until is not None and self.disabled_until <= now)


def _steps(plain: list[str] | None) -> tuple[chains.Step, ...] | None:
    return None if plain is None else tuple(chains.read(one) for one in plain)


_OWN = "notifier."
"""What the notifier announces itself: a rule for it would speak of its own messages without end."""


@value_class
class Entry:
    """A rule with its template taken apart, or with what is wrong with it."""

    rule: Rule
    template: Template | None
    condition: Condition | None = None
    line: Template | None = None
    """How an event reads in a digest; None is the template on one line."""
    problem: str = ""
    """Why it cannot speak: the contract changed under a stored rule."""


class RuleBook:
    """All rules of one version, by the event type and the store they act for.

    A rule whose words no longer fit the contract stays in the book with its problem, so that the others go on
    and the event can say why it was not told.
    """

    def __init__(self, rules: Iterable[Rule], types: Mapping[str, EventType], *, version: int = 0) -> None:
        self.version = version
        self._entries: dict[str, list[Entry]] = {}
        self._escalating: set[str] = set()
        compiled: dict[tuple[str, int], Entry] = {}
        for rule in sorted(rules, key=lambda rule: (rule.priority, rule.id, rule.store_id)):
            words = (rule.id, rule.version)
            if words not in compiled:
                compiled[words] = _compile(rule, types)
            entry = replace(compiled[words], rule=rule)
            self._entries.setdefault(rule.event_type, []).append(entry)
            if rule.escalation is not None:
                self._escalating.add(rule.event_type)

    def escalates(self, event_type: str) -> bool:
        """Whether any rule that listens to *event_type* wants an answer; asked of every event, so it costs nothing."""
        return event_type in self._escalating

    def entries(self, event_type: str, store_id: str) -> list[Entry]:
        """The rules that listen to *event_type* as they act in the store, the most urgent first, then by id.

        A store's own setting of a rule takes the place of the one for all stores.
        """
        listening = self._entries.get(event_type, [])
        own = {entry.rule.id for entry in listening if entry.rule.store_id == store_id} if store_id else set()
        return [
            entry
            for entry in listening
            if (not entry.rule.stores or store_id in entry.rule.stores)
            and (entry.rule.store_id == store_id or (not entry.rule.store_id and entry.rule.id not in own))
        ]

    def everything(self) -> list[Entry]:
        """Every rule, as it acts for all stores and as single stores have it, by event type."""
        return [entry for listening in self._entries.values() for entry in listening]


def _compile(rule: Rule, types: Mapping[str, EventType]) -> Entry:
    fields = rule.fields(types)
    try:
        condition = Condition(rule.condition, fields) if rule.condition else None
        own_line = rule.merging.line if rule.merging is not None else ""
        line = Template.compile(own_line, fields) if own_line else None
        return Entry(rule, Template.compile(rule.template, fields), condition, line)
    except Invalid as refusal:
        return Entry(rule, None, problem=refusal.message)


def check(rule: Rule, types: Mapping[str, EventType]) -> Template:
    """The template of *rule*, if it may be stored. Raises Invalid naming everything that is wrong at once."""
    refusals = [Invalid.field(*objection) for objection in _objections(rule, types.get(rule.event_type))]
    fields = rule.fields(types)
    refusals += [Invalid.field(*objection) for objection in _person_objections(rule, fields)]
    template: Template | None = None
    try:
        template = Template.compile(rule.template, fields)
        if rule.escalation is not None and template.personal:
            # The levels above are told the same words.
            raise Invalid.field(
                "template", "a rule that escalates speaks to nobody by name; leave out {to.…}"
            )
    except Invalid as refusal:
        refusals.append(refusal)
    try:
        if rule.condition:
            Condition(rule.condition, fields)
    except Invalid as refusal:
        refusals.append(refusal)
    try:
        _check_merging(rule, fields)
    except Invalid as refusal:
        refusals.append(refusal)
    if template is not None and not refusals:
        return template
    if len(refusals) == 1:
        raise refusals[0]
    violations = [one for refusal in refusals for one in refusal.violations]
    raise Invalid("FIELD_INVALID", "; ".join(refusal.message for refusal in refusals), violations=violations)


def _check_merging(rule: Rule, fields: Mapping[str, Field]) -> None:
    merging = rule.merging
    if merging is None:
        return
    merging.check("merging")
    if rule.priority is Priority.URGENT and merging.mode is not MergeMode.OFF:
        raise Invalid.field(
            "merging", "an urgent rule is never merged; choose another priority, or leave it out"
        )
    for name in merging.key:
        if name not in fields:
            raise Invalid.field(
                "merging.key", f"the event has no field {name}; it has {', '.join(sorted(fields))}"
            )
    if merging.line:
        try:
            if Template.compile(merging.line, fields).personal:
                raise Invalid.field("template", "a digest speaks to nobody by name; leave out {to.…}")
        except Invalid as refusal:
            raise Invalid.field("merging.line", refusal.message, reason=refusal.reason) from refusal


def _objections(rule: Rule, known: EventType | None) -> Iterator[tuple[str, str]]:
    if known is not None and known.name.startswith(_OWN):
        yield "event_type", "is announced of what rules have sent; rules hear of nothing else's"
    if known is not None and rule.variables:
        yield "variables", f"the contract says what {rule.event_type} carries; leave them out"
    if len({one.name for one in rule.variables}) < len(rule.variables):
        yield "variables", "a name stands twice; name each once"
    if len(set(rule.roles)) < len(rule.roles) or not (rule.roles or rule.person_field):
        yield "roles", "name at least one, and none twice"
    if wrong := chains.objection(rule.fallback or ()):
        yield "fallback", wrong
    if rule.format not in (Format.TEXT, Format.MARKDOWN):
        yield "format", "a rule's words are text or markdown"
    if rule.escalation is not None:
        urgent, plain_text = rule.priority is Priority.URGENT, rule.format is Format.TEXT
        yield from rule.escalation.objections(urgent=urgent, plain_text=plain_text)


def _person_objections(rule: Rule, fields: Mapping[str, Field]) -> Iterator[tuple[str, str]]:
    if not rule.person_field:
        return
    named = fields.get(rule.person_field)
    if named is None or named.kind is not FieldKind.USERID or named.repeated:
        persons = [one.name for one in fields.values() if one.kind is FieldKind.USERID and not one.repeated]
        yield "person_field", f"is no userid of the event; it has {', '.join(sorted(persons)) or 'none'}"
    if rule.escalation is not None:
        yield "person_field", "a rule that escalates tells roles; leave one of the two out"


@value_class
class Preset:
    """A rule that ships with Reach, and an event that shows what it says."""

    rule: Rule
    example: Mapping[str, object]
    """Data of such an event."""
    says: str
    """The words it gives for the example, on the clocks of Asia/Shanghai."""


def parse_presets(document: str, types: Mapping[str, EventType]) -> tuple[Preset, ...]:
    """The presets of a TOML document: a table for each event type.

    Raises Invalid (FIELD_INVALID or TEMPLATE_UNSAFE) naming the preset that is wrong.
    """
    tables: dict[str, dict[str, object]] = tomllib.loads(document)
    return tuple(_preset(event_type, table, types) for event_type, table in tables.items())


def _preset(event_type: str, table: Mapping[str, object], types: Mapping[str, EventType]) -> Preset:
    try:
        rule = Rule(
            id=event_type,
            version=1,
            event_type=event_type,
            name=str(table["name"]),
            priority=Priority[str(table["priority"]).upper()],
            roles=tuple(Role(str(role)) for role in _list(table["roles"])) if "roles" in table else (),
            person_field=str(table.get("person_field", "")),
            condition=str(table.get("condition", "")),
            template=str(table["template"]),
            format=Format(str(table.get("format", Format.TEXT))),
            missing=MissingPolicy(str(table.get("missing", MissingPolicy.FAIL))),
            preset=True,
        )
        check(rule, types)
        return Preset(rule, _table(table["example"]), str(table["says"]))
    except (KeyError, ValueError) as error:
        raise Invalid.field(event_type, f"{error} is missing or not known") from error
    except Invalid as refusal:
        raise Invalid.field(event_type, refusal.message, reason=refusal.reason) from refusal


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of roles")
    return value


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("an example")
    return value
