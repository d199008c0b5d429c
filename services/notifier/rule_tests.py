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

A case may have several events, each at its time; ``rule_test_times`` reads them, and what is to go out when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.notifier.domain.decision import Decision, RuleOutcome, RuleResult, Verdict
from services.notifier.domain.policy import Policies, Policy
from services.notifier.domain.routing import Bindings, Role, Target, TargetKind
from services.notifier.domain.rules import Rule, RuleBook
from services.notifier.domain.simulation import Course, simulate
from services.notifier.policy_files import read_policy
from services.notifier.rule_test_times import (
    Happens,
    Wish,
    kept_words,
    listed,
    made,
    meets,
    of_rule,
    read_events,
    read_instant,
    read_sends,
    read_target,
    read_targets,
    sent_words,
    words_of,
)
from services.notifier.toml_tables import Table, load
from shared.errors import Invalid
from shared.events.canonical import Unreadable
from shared.events.kinds import EventType
from shared.values import value_class

STORE, ZONE = "s1", "Asia/Shanghai"
"""Where a case happens, and on whose clocks its times are shown, unless it says otherwise."""

NOON = datetime(2026, 2, 20, 4, 0, tzinfo=UTC)
"""When a case happens that does not say: the same answer every day."""

VERDICTS = (*(verdict.value for verdict in Verdict), RuleResult.SUPPRESSED.value)
"""What a case may expect; the last of a single rule only."""

_KEYS = ("rules", "presets", "zone", "holders", "policies", "case")
_CASE_KEYS = (
    "name", "event", "data", "store", "at", "off", "rule", "verdict", "to", "text", "contains", "says",
    "events", "sends",
)  # fmt: skip
_WISHES = ("rule", "verdict", "to", "text", "contains", "says", "sends")
_EMPTY_TOO = ("to", "text", "sends")


@value_class
class Case:
    """What happens, and what is expected of it."""

    name: str
    happens: tuple[Happens, ...]
    """At least one event."""
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
    says: Mapping[Target, str] = field(default_factory=dict)
    """The words for single recipients, for templates that show something of them."""
    sends: tuple[Wish, ...] | None = None
    """The calls that are made, and no other; None expects nothing."""


@value_class
class Suite:
    """A test file, read."""

    rules: tuple[str, ...]
    """Files with rules, as the test file names them."""
    presets: bool
    zone: ZoneInfo
    bindings: Bindings
    cases: tuple[Case, ...]
    policies: tuple[Policy, ...] = ()


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
    """What each rule that heard an event made of it."""
    course: tuple[str, ...] = ()
    """What was held, dropped, gathered and sent, in order; empty where all there is went at once."""


def parse_suite(document: str) -> Suite:
    """The test file of those words. Raises Invalid naming the place and the fix."""
    table = load(document)
    table.only(_KEYS)
    cases = tuple(_case(one) for one in table.tables("case"))
    if not cases:
        raise Invalid("FIELD_INVALID", "tests nothing: a case stands under [[case]]")
    zone = _zone(table)
    names = [case.name for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise table.wrong("case", f"{twice!r} stands twice; give each a name of its own")
    return Suite(
        tuple(table.texts("rules", [])),
        table.flag("presets", default=True),
        zone,
        _bindings(table),
        cases,
        tuple(read_policy(one, zone, read_targets) for one in table.tables("policies")),
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
    return {("", Role(role)): read_targets(holders, role) for role in holders.plain}


def _case(table: Table) -> Case:
    name = table.text("name")
    table = Table(table.plain, f"{table.place} ({name})")
    table.only(_CASE_KEYS)
    if not any(table.plain.get(key) or (key in _EMPTY_TOO and key in table.plain) for key in _WISHES):
        # Keys behind [case.data] belong to the data: easily done, and then nothing would be tested.
        raise table.wrong(
            "", f"expects nothing; say {', '.join(_WISHES)}, before [case.data] if there is one"
        )
    rule, to = table.text("rule", ""), read_targets(table, "to") if "to" in table.plain else None
    happens = read_events(table, STORE, NOON)
    sends = read_sends(table, read_instant(table, NOON)) if "sends" in table.plain else None
    if len(happens) > 1 and "verdict" in table.plain:
        raise table.wrong("verdict", "is that of one event; with several say sends")
    speaks = bool(rule) and to != () and sends is None and len(happens) == 1
    return Case(
        name,
        happens,
        tuple(table.texts("off", [])),
        rule,
        # A rule that is named and not said to be silent is expected to speak.
        _verdict(table, rule) or (Verdict.PLANNED.value if speaks else ""),
        to,
        table.text("text") if "text" in table.plain else None,
        tuple(table.texts("contains", [])),
        _says(table.table("says")) if "says" in table.plain else {},
        sends,
    )


def _says(table: Table) -> Mapping[Target, str]:
    return {read_target(table, written, written): table.text(written) for written in table.plain}


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
    policies = Policies(suite.policies, suite.zone)
    outcomes = []
    for case in suite.cases:
        if case.off not in books:
            switched = [replace(rule, enabled=rule.id not in case.off) for rule in listed]
            books[case.off] = RuleBook(switched, types)
        outcomes.append(_run(case, books[case.off], suite, policies))
    return outcomes


def _run(case: Case, book: RuleBook, suite: Suite, policies: Policies) -> Outcome:
    try:
        events = made(case.happens)
    except Unreadable as refusal:
        return Outcome(case, (Difference("event", "an event that can be taken", refusal.message),), ())
    course = simulate(events, book, suite.bindings, policies, zone=suite.zone)
    why = list[str]()
    for decision in course.decisions:
        event = f"{decision.event_id}: " if len(course.decisions) > 1 else ""
        why += [f"{event}{_why(one)}" for one in decision.outcomes]
    told = [kept_words(one, suite.zone) for one in course.kept]
    if told or len(events) > 1:
        told += [sent_words(one, suite.zone) for one in course.sent]
    return Outcome(case, tuple(_differences(case, course, suite.zone)), tuple(why), tuple(sorted(told)))


def _differences(case: Case, course: Course, zone: ZoneInfo) -> Iterable[Difference]:
    verdict = _came_to(course.decisions[0], case.rule)
    if case.verdict and case.verdict != verdict:
        yield Difference("verdict", case.verdict, verdict)
    # Rules that say the same share a call, so it is the recipient that tells the rule.
    sent = [one for one in (of_rule(each, case.rule) for each in course.sent) if one is not None]
    told = [target for one in sent for target in one.call.targets]
    texts = dict.fromkeys(words_of(one) for one in sent)
    if case.to is not None and {one.key for one in case.to} != {one.key for one in told}:
        yield Difference("to", listed(case.to), listed(told))
    said = "\n— and —\n".join(texts) or "nothing"
    if case.text is not None and list(texts) != [case.text]:
        yield Difference("text", case.text, said)
    for piece in case.contains:
        if not texts or not all(piece in text for text in texts):
            yield Difference("contains", piece, said)
    heard = {target.key: words_of(one) for one in sent for target in one.call.targets}
    for target, words in case.says.items():
        if heard.get(target.key) != words:
            yield Difference(f"says {target}", words, heard.get(target.key, "nothing"))
    if case.sends is not None and not meets(case.sends, sent):
        wanted = "\n".join(one.words(zone) for one in case.sends) or "nothing"
        yield Difference("sends", wanted, "\n".join(sent_words(one, zone) for one in sent) or "nothing")


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


def _why(outcome: RuleOutcome) -> str:
    more = " ".join(part for part in (outcome.reason, outcome.detail) if part)
    return f"{outcome.rule_id} {outcome.result}" + (f": {more}" if more else "")
