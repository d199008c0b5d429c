"""What happens in a rule test and what goes out when: events at times, and the calls that are expected of them.

[[case]]
name = "two in a minute are one message"
event = "member.points_changed"          # what an event leaves out, the case says for all
at = "2026-02-20T12:00:00+08:00"
events = [{ data = { … } }, { at = "+30s", data = { … } }]
sends = [{ at = "+60s", to = ["user:lili"], contains = ["共 2 条"] }]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from services.notifier.domain.attributes import split
from services.notifier.domain.content import room
from services.notifier.domain.gates import Way
from services.notifier.domain.routing import Target, TargetKind
from services.notifier.domain.simulation import Kept, Sent
from services.notifier.merging_files import span
from services.notifier.toml_tables import Table, as_json
from shared.errors import Invalid
from shared.events.envelope import make_event
from shared.events.identity import check_store, check_type
from shared.events.kinds import Event, parse_instant
from shared.text.cutting import clip
from shared.values import value_class

_EVENT_KEYS = ("event", "at", "data", "store", "id")
_SEND_KEYS = ("at", "to", "text", "contains")
_AFTER = re.compile(r"\+.+")
_WAYS = {Way.HOLD: "held", Way.DROP: "dropped", Way.GATHER: "gathered"}


@value_class
class Happens:
    """One event of a case."""

    event_type: str
    data: Mapping[str, object]
    store_id: str
    at: datetime
    id: str = ""
    """Empty is one of its own; the same twice is a copy."""


@value_class
class Wish:
    """One call that is expected."""

    at: datetime
    to: tuple[Target, ...] | None
    text: str | None
    contains: tuple[str, ...]

    def met(self, sent: Sent) -> bool:
        """Whether *sent* is it."""
        said = words_of(sent)
        return (
            self.at == sent.at
            and (self.to is None or {one.key for one in self.to} == {one.key for one in sent.call.targets})
            and self.text in (None, said)
            and all(piece in said for piece in self.contains)
        )

    def words(self, zone: ZoneInfo) -> str:
        """On a line of a failed test."""
        who = "somebody" if self.to is None else listed(self.to)
        pieces = [repr(one) for one in (*self.contains, *([] if self.text is None else [self.text]))]
        return f"{_clock(self.at, zone)} to {who}" + (f": {', '.join(pieces)}" if pieces else "")


def read_events(table: Table, store: str, noon: datetime) -> tuple[Happens, ...]:
    """The events of a case, or the one that it is itself. Raises Invalid with place and fix."""
    if "events" not in table.plain:
        return (_event(table, Table({}, table.place), "", store, noon),)
    found = []
    for one in table.tables("events"):
        place = Table(one.plain, f"{table.place} {one.place}")
        place.only(_EVENT_KEYS)
        found.append(_event(place, table, place.text("id", ""), store, read_instant(table, noon)))
    if not found:
        raise table.wrong("events", "is empty; name one, or leave it out and say event and data")
    return tuple(found)


def _event(table: Table, case: Table, ident: str, store: str, base: datetime) -> Happens:
    event_type = table.text("event", case.text("event", "") or None)
    data = as_json({**case.table("data").plain, **table.table("data").plain})
    assert isinstance(data, dict)
    return Happens(
        _checked(table, "event", event_type),
        data,
        _checked(table, "store", table.text("store", case.text("store", store))),
        read_instant(table, base),
        ident,
    )


def read_sends(table: Table, base: datetime) -> tuple[Wish, ...]:
    """The calls that a case expects; *base* is when it begins. Raises Invalid with place and fix."""
    found = []
    for number, each in enumerate(table.tables("sends"), start=1):
        one = Table(each.plain, f"{table.place} sends {number}")
        one.only(_SEND_KEYS)
        if "at" not in one.plain:
            raise one.wrong("at", "is missing: when it goes, such as +60s or 2026-02-20T12:01:00+08:00")
        found.append(
            Wish(
                read_instant(one, base),
                read_targets(one, "to") if "to" in one.plain else None,
                one.text("text") if "text" in one.plain else None,
                tuple(one.texts("contains", [])),
            )
        )
    return tuple(found)


def read_instant(table: Table, base: datetime) -> datetime:
    """The ``at`` of *table*, or so long after *base*; *base* where it says nothing. Raises Invalid."""
    written = str(as_json(table.plain.get("at", "+")))
    if written == "+":
        return base
    if _AFTER.fullmatch(written):
        return base + span(Table({"at": written[1:]}, table.place), "at")
    try:
        return parse_instant(written)
    except ValueError:
        example = "2026-02-20T12:30:00+08:00"
        raise table.wrong("at", f"must be an instant with a zone, such as {example}, or +90s") from None


def read_targets(table: Table, key: str) -> tuple[Target, ...]:
    """The addresses of *key*, each with its kind: ``user:zhangsan``. Raises Invalid with place and fix."""
    return tuple(read_target(table, key, written) for written in table.texts(key))


def read_target(table: Table, key: str, written: str) -> Target:
    """The address that *written*, found at *key*, means: ``user:zhang[name=张三]``. Raises Invalid."""
    kind, _, ident = written.partition(":")
    try:
        name, attributes = split(ident, field=key)
        return Target.checked(TargetKind(kind), name, attributes=attributes)
    except Invalid as refusal:
        raise table.wrong(key, f"{written}: {refusal.violations[0].description}") from None
    except ValueError:
        kinds = ", ".join(f"{one.value}:…" for one in TargetKind)
        raise table.wrong(key, f"{written!r} does not say what it is; write {kinds}") from None


def _checked(table: Table, key: str, value: str) -> str:
    try:
        return check_type(value) if key == "event" else check_store(value)
    except Invalid as refusal:
        raise table.wrong(key, refusal.violations[0].description) from None


def made(happens: Sequence[Happens]) -> list[Event]:
    """The events, each recorded at its time. Raises Unreadable for one that does not fit its type."""
    return [
        make_event(
            one.event_type, one.data, id=one.id or f"event {number}", store_id=one.store_id, now=one.at
        )
        for number, one in enumerate(happens, start=1)
    ]


def of_rule(sent: Sent, rule_id: str) -> Sent | None:
    """*sent* for those whom the rule tells; empty is any rule. None where it tells nobody."""
    meant = tuple(one for one in sent.call.recipients if rule_id in ("", one.rule_id))
    return replace(sent, call=replace(sent.call, recipients=meant)) if meant else None


def meets(wishes: Sequence[Wish], sent: Sequence[Sent]) -> bool:
    """Whether each wish has a call of its own, and each call a wish."""
    if len(wishes) != len(sent):
        return False
    taken: dict[int, int] = {}

    def place(wish: int, tried: set[int]) -> bool:
        for number, one in enumerate(sent):
            if number not in tried and wishes[wish].met(one):
                tried.add(number)
                if number not in taken or place(taken[number], tried):
                    taken[number] = wish
                    return True
        return False

    return all(place(wish, set()) for wish in range(len(wishes)))


def words_of(sent: Sent) -> str:
    """Its words as they are sent, without what the channel adds."""
    content = sent.call.content
    return clip(content.text, room(sent.call.channel, content.format))


def listed(targets: Iterable[Target]) -> str:
    """Addresses in a failed test."""
    return ", ".join(sorted(str(target) for target in targets)) or "nobody"


def sent_words(sent: Sent, zone: ZoneInfo) -> str:
    """A call on a line of a failed test."""
    return (
        f"{_clock(sent.at, zone)} to {listed(sent.call.targets)}: {' / '.join(words_of(sent).splitlines())}"
    )


def kept_words(kept: Kept, zone: ZoneInfo) -> str:
    """What was held, dropped or gathered, on a line of a failed test."""
    until = f" until {_clock(kept.until, zone)}" if kept.until is not None else ""
    what = f"{kept.event_id} {_WAYS[kept.way]} by {kept.reason}{until}"
    return f"{_clock(kept.at, zone)} {what}, for {listed(kept.targets)}"


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
