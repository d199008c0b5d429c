"""Rule tests as files: events in, deliveries out, decided as in service, without a server and on a clock of their own.

rules = ["big-order.toml"]            # beside the presets; presets = false leaves those out

[holders]                             # without it each role is held by a user of its name
manager = ["user:zhangsan"]

[[case]]
name = "a big order is told to the manager"
event = "order.created"
data = { order_number = "A1", table_number = "V01", total = 1280, order_time = "2026-02-20T12:30:00" }
rule = "big-order"                    # look at what this rule does; without it at the event as a whole
to = ["user:zhangsan"]
contains = ["1280.00"]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.notifier.domain.content import room
from services.notifier.domain.cutting import clip
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision, RuleOutcome, RuleResult, Verdict
from services.notifier.domain.routing import Bindings, Role, Target, TargetKind
from services.notifier.domain.rules import Rule, RuleBook
from services.notifier.toml_tables import Table, as_json, load
from shared.errors import Invalid
from shared.events.canonical import Unreadable
from shared.events.envelope import make_event
from shared.events.identity import check_store, check_type
from shared.events.kinds import Event, EventType, parse_instant
from shared.values import value_class

STORE, ZONE = "s1", "Asia/Shanghai"
"""Where a case happens, and on whose clocks its times are shown, unless it says otherwise."""

NOON = datetime(2026, 2, 20, 4, 0, tzinfo=UTC)
"""When a case happens that does not say: the same answer every day."""

VERDICTS = (*(verdict.value for verdict in Verdict), RuleResult.SUPPRESSED.value)
"""What a case may expect; the last of a single rule only."""

_KEYS = ("rules", "presets", "zone", "holders", "case")
_CASE_KEYS = (
    "name", "event", "data", "store", "at", "off", "rule", "verdict", "to", "text", "contains",
)  # fmt: skip
_WISHES = ("rule", "verdict", "to", "text", "contains")
_EMPTY_TOO = ("to", "text")


@value_class
class Case:
    """One event, and what is expected of it."""

    name: str
    event_type: str
    data: Mapping[str, object]
    store_id: str
    at: datetime
    off: tuple[str, ...]
    """Rules that are switched off."""
    rule: str
    """The rule that is looked at; empty for the event as a whole."""
    verdict: str
    """Empty expects none."""
    to: tuple[Target, ...] | None
    """Who is told, in any order, and nobody else; None expects nothing."""
    text: str | None
    """The words of every message, without what the channel adds."""
    contains: tuple[str, ...]
    """What every message says somewhere."""


@value_class
class Suite:
    """A test file, read."""

    rules: tuple[str, ...]
    """Files with rules, as the test file names them."""
    presets: bool
    zone: ZoneInfo
    bindings: Bindings
    cases: tuple[Case, ...]


@value_class
class Difference:
    """One expectation that was not met."""

    what: str
    """The expectation's key in the test file."""
    expected: str
    actual: str


@value_class
class Outcome:
    """What became of one case."""

    case: Case
    differences: tuple[Difference, ...]
    """None when it passed."""
    why: tuple[str, ...]
    """What each rule that heard the event made of it."""


def parse_suite(document: str) -> Suite:
    """The test file of those words. Raises Invalid naming the place and the fix."""
    table = load(document)
    table.only(_KEYS)
    cases = tuple(_case(one) for one in table.tables("case"))
    if not cases:
        raise Invalid("FIELD_INVALID", "tests nothing: a case stands under [[case]]")
    names = [case.name for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise table.wrong("case", f"{twice!r} stands twice; give each a name of its own")
    return Suite(
        tuple(table.texts("rules", [])),
        table.flag("presets", default=True),
        _zone(table),
        _bindings(table),
        cases,
    )


def _zone(table: Table) -> ZoneInfo:
    try:
        return ZoneInfo(table.text("zone", ZONE))
    except (KeyError, ValueError, OSError):
        raise table.wrong("zone", f"must be an IANA time zone, such as {ZONE}") from None


def _bindings(table: Table) -> Bindings:
    if "holders" not in table.plain:
        return {("", role): (Target.checked(TargetKind.USER, role.value),) for role in Role}
    holders = table.table("holders")
    holders.only([role.value for role in Role])
    return {("", Role(role)): _targets(holders, role) for role in holders.plain}


def _targets(table: Table, key: str) -> tuple[Target, ...]:
    found = []
    for written in table.texts(key):
        kind, _, ident = written.partition(":")
        try:
            found.append(Target.checked(TargetKind(kind), ident))
        except Invalid as refusal:
            raise table.wrong(key, f"{written}: {refusal.violations[0].description}") from None
        except ValueError:
            kinds = ", ".join(f"{one.value}:…" for one in TargetKind)
            raise table.wrong(key, f"{written!r} does not say what it is; write {kinds}") from None
    return tuple(found)


def _case(table: Table) -> Case:
    name = table.text("name")
    table = Table(table.plain, f"{table.place} ({name})")
    table.only(_CASE_KEYS)
    if not any(table.plain.get(key) or (key in _EMPTY_TOO and key in table.plain) for key in _WISHES):
        # Keys behind [case.data] belong to the data: easily done, and then nothing would be tested.
        raise table.wrong(
            "", f"expects nothing; say {', '.join(_WISHES)}, before [case.data] if there is one"
        )
    rule, to = table.text("rule", ""), _targets(table, "to") if "to" in table.plain else None
    data = as_json(table.table("data").plain)
    assert isinstance(data, dict)
    return Case(
        name,
        _checked(table, "event", table.text("event")),
        data,
        _checked(table, "store", table.text("store", STORE)),
        _at(table),
        tuple(table.texts("off", [])),
        rule,
        # A rule that is named and not said to be silent is expected to speak.
        _verdict(table, rule) or (Verdict.PLANNED.value if rule and to != () else ""),
        to,
        table.text("text") if "text" in table.plain else None,
        tuple(table.texts("contains", [])),
    )


def _checked(table: Table, key: str, value: str) -> str:
    try:
        return check_type(value) if key == "event" else check_store(value)
    except Invalid as refusal:
        raise table.wrong(key, refusal.violations[0].description) from None


def _at(table: Table) -> datetime:
    if "at" not in table.plain:
        return NOON
    try:
        return parse_instant(str(as_json(table.plain["at"])))
    except ValueError:
        raise table.wrong("at", "must be an instant with a zone, such as 2026-02-20T12:30:00+08:00") from None


def _verdict(table: Table, rule: str) -> str:
    found = table.text("verdict", "")
    if "verdict" in table.plain and found not in VERDICTS:
        raise table.wrong("verdict", f"must be one of {', '.join(VERDICTS)}, not {found!r}")
    if found == RuleResult.SUPPRESSED and not rule:
        raise table.wrong("verdict", "is that of one rule; name it with rule")
    return found


def together(suite: Suite, presets: Iterable[Rule], files: Mapping[str, Sequence[Rule]]) -> list[Rule]:
    """The rules that a suite is run with: a file's take the place of presets of the same id.

    Raises Invalid where two files have the same rule, or a case names one that there is not.
    """
    rules = {rule.id: rule for rule in presets} if suite.presets else {}
    origin: dict[str, str] = {}
    for name, found in files.items():
        for rule in found:
            if rule.id in origin:
                raise Invalid.field(
                    "rules", f"{rule.id} is in {origin[rule.id]} and in {name}; leave one out"
                )
            origin[rule.id], rules[rule.id] = name, rule
    for number, case in enumerate(suite.cases, start=1):
        for key, named in (("rule", [case.rule] if case.rule else []), ("off", case.off)):
            if unknown := [one for one in named if one not in rules]:
                raise Invalid.field(
                    f"case {number} ({case.name}) {key}",
                    f"no rule is called {unknown[0]}; there are {', '.join(sorted(rules)) or 'none'}",
                )
    return list(rules.values())


def run_suite(suite: Suite, rules: Iterable[Rule], types: Mapping[str, EventType]) -> list[Outcome]:
    """What becomes of every case of *suite* under *rules*."""
    listed, books = list(rules), dict[tuple[str, ...], RuleBook]()
    outcomes = []
    for case in suite.cases:
        if case.off not in books:
            switched = [replace(rule, enabled=rule.id not in case.off) for rule in listed]
            books[case.off] = RuleBook(switched, types)
        outcomes.append(_run(case, books[case.off], suite))
    return outcomes


def _run(case: Case, book: RuleBook, suite: Suite) -> Outcome:
    try:
        event = _event(case)
    except Unreadable as refusal:
        return Outcome(case, (Difference("event", "an event that can be taken", refusal.message),), ())
    decision = decide(event, book, suite.bindings, zone=suite.zone, now=case.at)
    return Outcome(case, tuple(_differences(case, decision)), tuple(_why(one) for one in decision.outcomes))


def _event(case: Case) -> Event:
    return make_event(case.event_type, case.data, id="test", store_id=case.store_id, now=case.at)


def _differences(case: Case, decision: Decision) -> Iterable[Difference]:
    verdict = _came_to(decision, case.rule)
    if case.verdict and case.verdict != verdict:
        yield Difference("verdict", case.verdict, verdict)
    told: list[Target] = []
    texts: dict[str, None] = {}
    for call in decision.calls:
        # Rules that say the same share a call, so it is the recipient that tells the rule.
        meant = [one.target for one in call.recipients if case.rule in ("", one.rule_id)]
        told += meant
        if meant:
            texts[clip(call.content.text, room(call.channel, call.content.format))] = None
    if case.to is not None and {one.key for one in case.to} != {one.key for one in told}:
        yield Difference("to", _listed(case.to), _listed(told))
    said = "\n— and —\n".join(texts) or "nothing"
    if case.text is not None and list(texts) != [case.text]:
        yield Difference("text", case.text, said)
    for piece in case.contains:
        if not texts or not all(piece in text for text in texts):
            yield Difference("contains", piece, said)


def _came_to(decision: Decision, rule_id: str) -> str:
    if not rule_id:
        return decision.verdict.value
    outcome = next((one for one in decision.outcomes if one.rule_id == rule_id), None)
    if outcome is None:
        return Verdict.NO_RULE.value
    if outcome.result is RuleResult.SUPPRESSED:
        return RuleResult.SUPPRESSED.value
    calls = decision.calls if outcome.result is RuleResult.PLANNED else ()
    return replace(decision, outcomes=(outcome,), calls=calls).verdict.value


def _listed(targets: Iterable[Target]) -> str:
    return ", ".join(sorted(str(target) for target in targets)) or "nobody"


def _why(outcome: RuleOutcome) -> str:
    more = " ".join(part for part in (outcome.reason, outcome.detail) if part)
    return f"{outcome.rule_id} {outcome.result}" + (f": {more}" if more else "")
