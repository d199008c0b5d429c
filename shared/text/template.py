"""An operator's words with the event's values in them: ``订单号：{order_number}``.

A template is stored text that anybody with the right to write rules may change, so it can do one thing
only: name a declared field, with at most one filter of a fixed list. It is taken apart once, when it is
saved or loaded; a value is inserted once and never looked at again.

    text := ( literal | "{{" | "}}" | "{" [ "to." ] name [ "|" filter [ ":" argument ] ] "}" )*

What begins with ``to.`` is the recipient's (the notifier's ``domain.personal``) and has to be among the data that it is filled with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import tzinfo
from enum import StrEnum

from shared.events.kinds import Field, FieldKind
from shared.text import present
from shared.text.filters import FILTERS, Reshape
from shared.text.neutral import Dialect, neutralise
from shared.text.parsing import RECIPIENT, Variable, field_named, parse
from shared.text.present import Presenter
from shared.values import value_class

UNIT_FIELD = "unit"
"""The field that says what an event's quantities are counted in (份, kg)."""

_UNIT_MOST = 16
_MENTION = re.compile(r"<@([^<>\s]+)>")


class MissingPolicy(StrEnum):
    """What a template does about a field that the event leaves out."""

    FAIL = "fail"
    """Say nothing rather than something incomplete."""

    PLACEHOLDER = "placeholder"
    """Show ``—`` in its place."""

    OMIT_LINE = "omit_line"
    """Leave out the line it stands in."""


@value_class
class Rendered:
    """A template with an event's values in it."""

    text: str
    """The words. Where values were missing they show ``—`` or lack the line, as the policy has it."""

    missing: tuple[str, ...]
    """Fields that had neither a value nor a default, in the order of the template."""


@value_class
class Placeholder:
    """One ``{…}``, ready to be filled."""

    name: str
    presenter: Presenter
    reshape: Reshape | None
    fallback: str | None
    """What the template itself shows for a missing value; None leaves it to the policy."""
    with_unit: bool

    def fill(self, data: Mapping[str, object], zone: tzinfo, dialect: Dialect) -> str | None:
        """The value as it may stand in the message; None when there is none."""
        value = data.get(self.name)
        if present.is_missing(value):
            return self.fallback
        words = self.presenter(value, zone)
        if self.with_unit:
            words += _unit(data, zone)
        if self.reshape is not None:
            words = self.reshape(words)
        # A value made of invisible characters only would leave a gap that looks like a defect.
        return neutralise(words, dialect) or present.MISSING_MARK


def _unit(data: Mapping[str, object], zone: tzinfo) -> str:
    unit = data.get(UNIT_FIELD)
    return "" if present.is_missing(unit) else present.text(unit, zone).strip()[:_UNIT_MOST]


@value_class
class Template:
    """Words with placeholders, checked against the fields of one event type."""

    text: str
    """As it was written."""

    lines: tuple[tuple[str | Placeholder, ...], ...]
    variables: frozenset[str]
    """Names of the fields it shows."""

    mentions: tuple[str, ...]
    """Who it mentions by ``<@userid>`` in its own words; values cannot add to them."""
    personal: frozenset[str] = frozenset()
    """What it shows of its recipient (``to.name``); empty when all are told the same."""

    @classmethod
    def compile(cls, text: str, fields: Mapping[str, Field]) -> Template:
        """Check *text* against the *fields* its event declares, and take it apart.

        Raises Invalid for the field ``template``: TEMPLATE_UNSAFE where it uses anything but declared fields
        and known filters, or lets a value decide on a mention or a link; FIELD_INVALID where it is too long,
        empty or unbalanced. Every violation names the place and what to write instead.
        """
        parsed = parse(text, fields)
        named = frozenset(part.name for line in parsed for part in line if isinstance(part, Variable))
        personal = frozenset(name for name in named if name.startswith(RECIPIENT))
        variables = named - personal
        own_unit = UNIT_FIELD in fields and UNIT_FIELD not in variables
        lines = tuple(
            tuple(part if isinstance(part, str) else _placeholder(part, fields, own_unit) for part in line)
            for line in parsed
        )
        literal = "".join(part for line in parsed for part in line if isinstance(part, str))
        return cls(text, lines, variables, tuple(dict.fromkeys(_MENTION.findall(literal))), personal)

    def render(
        self, data: Mapping[str, object], zone: tzinfo, dialect: Dialect, missing: MissingPolicy
    ) -> Rendered:
        """The words for one event. Never raises, whatever *data* holds; its size is bounded by the template's."""
        absent: list[str] = []
        lines: list[str] = []
        for line in self.lines:
            words: list[str] = []
            complete = True
            for part in line:
                if isinstance(part, str):
                    words.append(part)
                    continue
                value = part.fill(data, zone, dialect)
                if value is None:
                    complete = False
                    absent.append(part.name)
                    value = present.MISSING_MARK
                words.append(value)
            if complete or missing is not MissingPolicy.OMIT_LINE:
                lines.append("".join(words))
        return Rendered("\n".join(lines), tuple(absent))


def _placeholder(variable: Variable, fields: Mapping[str, Field], own_unit: bool) -> Placeholder:
    field = field_named(variable.name, fields)
    assert field is not None, "the parser has objected to what nobody declares"
    chosen = FILTERS.get(variable.filter)
    presenter = present.PRESENTERS[field.kind]
    reshape = None
    if chosen is not None:
        if chosen.presenter is not None and field.kind is not FieldKind.PHONE:
            presenter = chosen.presenter
        if chosen.reshape is not None:
            reshape = chosen.reshape(variable.argument)
    return Placeholder(
        name=variable.name,
        presenter=present.listed(presenter) if field.repeated else presenter,
        reshape=reshape,
        fallback=variable.argument if variable.filter == "default" else None,
        # A template that places the unit itself, or asks for another form, gets the bare number.
        with_unit=own_unit and field.kind is FieldKind.QUANTITY and presenter is present.quantity,
    )
