"""Playbooks as files: one TOML document each, named as the playbook is; to add one is to add a file.

``docs/playbooks.md`` tells what may stand in it. Whatever is wrong is named by file and field, when the service starts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from services.campaign.domain import audience
from services.campaign.domain.campaign import TEXT_BYTES
from services.campaign.domain.playbook import (
    DAYS_LEFT,
    Anchor,
    Card,
    Playbook,
    Ref,
    Step,
    Writing,
    alone,
    conditioned,
    places,
)
from services.campaign.domain.playbook_parameters import RANGES, Kind, Parameter, Value, value_of
from services.campaign.playbook_fields import Fields
from shared.errors import Invalid
from shared.text.cutting import size

PRESETS: Final = Path(__file__).parent / "presets" / "playbooks"
MOST_STEPS: Final = 20
MOST_PARAMETERS: Final = 40
LONGEST: Final = 366
"""Days that groups are looked for."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_SAMPLE_DAY: Final = date(2026, 3, 2)
_SAMPLES: Final[Mapping[Kind, Value]] = {
    Kind.TEXT: "词",
    Kind.DATE: _SAMPLE_DAY,
    Kind.TIME: time(10),
    Kind.LINK: "https://example.com",
    Kind.TONE: "",
    Kind.WORDS: ("词",),
}


def load(folder: Path = PRESETS) -> Mapping[str, Playbook]:
    """Every playbook there is, by name. Raises Invalid naming file and field."""
    return {path.stem: _of_file(path) for path in sorted(folder.glob("*.toml"))}


def playbook_of(name: str, document: Mapping[str, Any], source: str = "") -> Playbook:
    """The playbook that *document* is. Raises Invalid naming *source* and the field."""
    return _Reading(Fields(document, source or name), name).playbook()


def _of_file(path: Path) -> Playbook:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid.field(path.name, f"is no TOML: {error}") from None
    return playbook_of(path.stem, document, path.name)


class _Reading:
    """One reading."""

    def __init__(self, top: Fields, name: str) -> None:
        self._top, self._name = top, name
        self._known: dict[str, Parameter] = {}
        self._event = ""

    def playbook(self) -> Playbook:
        top = self._top
        if _NAME.fullmatch(self._name) is None:
            raise top.wrong("", "is named by lower-case letters, digits and _, such as welcome.toml")
        parameters = tuple(
            self._parameter(one) for one in top.each("parameters", MOST_PARAMETERS, default=())
        )
        self._event = top.text("event", most=40, default="")
        if self._event and self._kind(self._event) is not Kind.DATE:
            raise top.wrong("event", "names a parameter of kind date")
        draft, steps = top.table("draft"), list[Step]()
        for one in top.each("steps", MOST_STEPS):
            steps.append(self._step(one, [step.name for step in steps]))
        days = self._ref(top, "days", Kind.NUMBER, default=0)
        if days.value == 0 and any(step.anchor.repeated for step in steps):
            raise top.wrong("days", "is needed where a step comes back every day: for how many days it does")
        self._bound(top, "days", days, 0, LONGEST)
        found = Playbook(
            name=self._name,
            title=top.text("title", most=20),
            summary=top.text("summary", most=300),
            parameters=parameters,
            event=self._event,
            days=days,
            draft_days_before=draft.number("days_before", 0, 14),
            draft_at=self._ref(draft, "at", Kind.TIME),
            steps=tuple(steps),
            document=top.document,
        )
        draft.closed()
        top.closed()
        self._timely(found)
        return found

    def _timely(self, found: Playbook) -> None:
        """The hours by which it goes where nobody says otherwise are in order."""
        times = [one for one in found.parameters if one.kind is Kind.TIME]
        if all(one.default for one in times):
            try:
                found.check({one.name: value_of(one, one.default, _SAMPLE_DAY) for one in times})
            except Invalid as refusal:
                wrong = refusal.violations[0]
                raise self._top.wrong(wrong.field, wrong.description) from None

    def _parameter(self, one: Fields) -> Parameter:
        name = one.text("name", most=40)
        if _NAME.fullmatch(name) is None:
            raise one.wrong("name", "has lower-case letters, digits and _")
        if name in self._known or name == DAYS_LEFT:
            raise one.wrong("name", f"{name} is there twice; give one another name")
        kind = Kind(one.choice("kind", [kind.value for kind in Kind]))
        least, most = one.bounds("range", *RANGES[kind]) if kind in RANGES else (0, 0)
        default, optional = one.text("default", most=2048, default=""), one.truth("optional")
        title, told = one.text("title", most=20), one.text("help", most=200)
        found = Parameter(name, kind, title, told, default, not optional and not default, least, most)
        if optional and kind in (Kind.NUMBER, Kind.DATE, Kind.TIME):
            raise one.wrong("optional", f"goes without kind {kind.value}; give it a default")
        if default and kind is not Kind.DATE:
            try:
                value_of(found, default, _SAMPLE_DAY)
            except Invalid as refusal:
                raise one.wrong("default", refusal.violations[0].description) from None
        elif default:
            raise one.wrong("default", "a date has none: it would be over one day")
        one.closed()
        self._known[name] = found
        return found

    def _step(self, one: Fields, before: Collection[str]) -> Step:
        name = one.text("name", most=40)
        if _NAME.fullmatch(name) is None or name in before:
            raise one.wrong("name", "has lower-case letters, digits and _, and is no other step's")
        day, link = one.table("day"), one.table("link", default={})
        anchor = Anchor(day.choice("from", [anchor.value for anchor in Anchor]))
        after = day.text("step", most=40) if anchor is Anchor.STEP else ""
        if after and after not in before:
            raise day.wrong("step", f"{after} is no step before this one")
        if anchor is Anchor.EVENT and not self._event:
            raise day.wrong("from", "there is no event: name the parameter of its day, event = …")
        writing = self._writing(one.table("write", default={}))
        text = one.text("text", most=TEXT_BYTES, default="").strip()
        if bool(text) == (writing is not None):
            raise one.wrong("text", "is there, or write is: one of the two")
        if size(text) > TEXT_BYTES:
            raise one.wrong("text", f"has {size(text):,} bytes in UTF-8; at most {TEXT_BYTES:,}")
        self._shows(one, "text", text)
        found = Step(
            name=name,
            title=one.text("title", most=40),
            anchor=anchor,
            offset=self._offset(day, anchor),
            late=self._late(day) if anchor is Anchor.CREATED else Ref(0),
            after=after,
            weekdays=self._weekdays(day, anchor),
            where=self._where(one),
            hours=self._hours(one),
            open_days=one.number("open_days", 1, 14, default=1),
            confirm_hours=one.number("confirm_hours", 1, 720, default=24),
            text=text,
            writing=writing,
            card=self._card(link) if link.document else None,
            tone=self._ref(one, "tone", Kind.TONE, default=""),
        )
        for table in (day, link, one):
            table.closed()
        return found

    def _offset(self, day: Fields, anchor: Anchor) -> Ref:
        least = {Anchor.EVENT: -365, Anchor.SILENT: 1, Anchor.STEP: 1}.get(anchor, 0)
        found = self._ref(day, "offset", Kind.NUMBER)
        self._bound(day, "offset", found, least, audience.MOST_DAYS)
        return found

    def _late(self, day: Fields) -> Ref:
        found = self._ref(day, "late", Kind.NUMBER, default=0)
        self._bound(day, "late", found, 0, LONGEST)
        return found

    def _weekdays(self, day: Fields, anchor: Anchor) -> frozenset[int]:
        found = day.numbers("weekdays", 1, 7)
        if found and not anchor.repeated:
            raise day.wrong("weekdays", f"goes without from {anchor.value}, which has one day")
        return frozenset(number - 1 for number in found)

    def _writing(self, one: Fields) -> Writing | None:
        if not one.document:
            return None
        rules = one.texts("rules", 10, 200)
        found = Writing(
            theme=one.text("theme", most=800),
            audience=one.text("audience", most=300, default=""),
            max_chars=one.number("max_chars", 10, 1000, default=120),
            rules=rules,
        )
        for key, said in (("theme", found.theme), ("audience", found.audience), ("rules", "\n".join(rules))):
            self._shows(one, key, said)
        one.closed()
        return found

    def _card(self, one: Fields) -> Card:
        title = one.text("title", most=40)
        description = one.text("description", most=120, default="")
        self._shows(one, "title", title)
        self._shows(one, "description", description)
        return Card(title, self._ref(one, "url", Kind.LINK), description)

    def _hours(self, one: Fields) -> tuple[Ref, Ref]:
        told = one.listed("hours", 2, 2)
        start, end = (self._of(one, f"hours[{at}]", said, Kind.TIME) for at, said in enumerate(told))
        if isinstance(start.value, time) and isinstance(end.value, time) and end.value <= start.value:
            raise one.wrong("hours", "end before they begin")
        return start, end

    def _where(self, one: Fields) -> Mapping[str, Any]:
        """A condition, looked at with the least and the most that its parameters can be."""
        where = one.table("where", default={}).document
        for field, name in _named(where):
            if name not in self._known:
                raise one.wrong(f"where{field}", f"there is no parameter {name}")
        for most in (False, True):
            samples = {name: _sample(known, most=most) for name, known in self._known.items()}
            try:
                if where:
                    audience.read({"where": conditioned(where, samples)}, "filter")
            except Invalid as refusal:
                wrong = refusal.violations[0]
                raise one.wrong(wrong.field.removeprefix("filter."), wrong.description) from None
        return where

    def _shows(self, one: Fields, key: str, template: str) -> None:
        for name in places(template):
            if name not in self._known and not (name == DAYS_LEFT and self._event):
                raise one.wrong(key, f"shows {{{name}}}, which is no parameter")

    def _ref(self, one: Fields, key: str, kind: Kind, *, default: object = None) -> Ref:
        return self._of(one, key, one.any(key, default), kind)

    def _of(self, one: Fields, key: str, said: object, kind: Kind) -> Ref:
        name = alone(said)
        if name:
            if self._kind(name) is not kind:
                raise one.wrong(key, f"{{{name}}} is no parameter of kind {kind.value}")
            return Ref(name=name)
        if kind is Kind.NUMBER:
            if isinstance(said, bool) or not isinstance(said, int):
                raise one.wrong(key, "is a whole number, or a parameter of kind number in braces")
            return Ref(said)
        if not isinstance(said, str):
            raise one.wrong(key, f"is written in quotes, or a parameter of kind {kind.value} in braces")
        least, most = RANGES.get(kind, (0, 0))
        try:
            plain = Parameter(key, kind, "", "", "", needed=kind is Kind.TIME, least=least, most=most)
            return Ref(value_of(plain, said, _SAMPLE_DAY))
        except Invalid as refusal:
            raise one.wrong(key, refusal.violations[0].description) from None

    def _bound(self, one: Fields, key: str, ref: Ref, least: int, most: int) -> None:
        known = self._known.get(ref.name)
        low, high = (ref.value, ref.value) if known is None else (known.least, known.most)
        if not (isinstance(low, int) and isinstance(high, int) and least <= low <= high <= most):
            raise one.wrong(key, f"lies from {least:,} to {most:,}, whatever is said")

    def _kind(self, name: str) -> Kind | None:
        return self._known[name].kind if name in self._known else None


def _sample(parameter: Parameter, *, most: bool) -> Value:
    if parameter.kind is Kind.NUMBER:
        return parameter.most if most else parameter.least
    return _SAMPLES[parameter.kind]


def _named(where: object, field: str = "") -> list[tuple[str, str]]:
    """The parameters in a condition, each with where it stands."""
    if isinstance(where, Mapping):
        return [found for key, one in where.items() for found in _named(one, f"{field}.{key}")]
    if isinstance(where, list):
        return [found for at, one in enumerate(where) for found in _named(one, f"{field}[{at}]")]
    name = alone(where)
    return [(field, name)] if name else []
