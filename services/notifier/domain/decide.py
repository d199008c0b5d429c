"""One event, all rules: who is told what, and why the others are not.

Nothing here raises for what an event holds. A rule that cannot speak is an outcome; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from services.notifier.domain import fallback
from services.notifier.domain.climbing import spoken
from services.notifier.domain.condition import Condition, Unanswerable
from services.notifier.domain.content import Content
from services.notifier.domain.decision import Decision, Merged, RoleOutcome, RuleOutcome, RuleResult
from services.notifier.domain.digest import line_of
from services.notifier.domain.gates import OPEN, GateNote, Message, gathered, judge
from services.notifier.domain.personal import Said, address
from services.notifier.domain.planning import Assignment, Recipient, plan
from services.notifier.domain.policy import NO_POLICIES, Policies
from services.notifier.domain.routing import EVERYONE, Bindings, Target, TargetKind, resolve
from services.notifier.domain.rules import Entry, Rule, RuleBook
from shared.errors import Invalid
from shared.events.kinds import Event
from shared.text.template import MissingPolicy

_Taken = dict[tuple[str, str, str], Assignment]


@dataclass(slots=True)
class _Deciding:
    """What is being decided about one event."""

    event: Event
    bindings: Bindings
    policies: Policies
    zone: tzinfo
    now: datetime
    cards: bool
    taken: _Taken = field(default_factory=dict)
    merged: list[Merged] = field(default_factory=list)
    notes: list[GateNote] = field(default_factory=list)


def decide(
    event: Event,
    book: RuleBook,
    bindings: Bindings,
    *,
    zone: tzinfo,
    now: datetime,
    policies: Policies = NO_POLICIES,
    cards: bool = True,
) -> Decision:
    """What *event* causes at *now*; *zone* is that of its store, on whose clocks its times are shown.

    *cards*: whether somebody would hear the buttons of a card.

    Each distinct target is told once: by the most urgent rule, then the one whose id comes first. What it would
    also have been told is recorded as merged into that. Then the gates say when it may go.
    """
    deciding = _Deciding(event, bindings, policies, zone, now, cards)
    outcomes = tuple(_consider(entry, deciding) for entry in book.entries(event.type, event.store_id))
    return Decision(
        event.id,
        event.type,
        event.store_id,
        book.version,
        outcomes,
        plan(deciding.taken.values()),
        tuple(deciding.merged),
        gathered(deciding.notes) if deciding.notes else (),
    )


def _consider(entry: Entry, deciding: _Deciding) -> RuleOutcome:
    rule, event = entry.rule, deciding.event
    if not rule.acts(deciding.now):
        return _outcome(rule, RuleResult.DISABLED)
    if entry.condition is not None:
        try:
            if not entry.condition.holds(event.data, event.store_id):
                return _outcome(rule, RuleResult.UNMET, detail=_unmet(entry.condition, event))
        except Unanswerable as error:
            return _outcome(rule, RuleResult.FAILED, "condition_failed", str(error))
    resolved = [(role, resolve(role, event.store_id, deciding.bindings)) for role in rule.roles]
    roles = tuple(RoleOutcome(role, len(found.targets), found.inherited) for role, found in resolved)
    instead = None
    if not all(one.targets for one in roles):
        # Whoever it is may be told already: what the empty role was to hear is heard.
        instead = next(fallback.held(rule.instead, event.store_id, deciding.bindings), None)
    person = _person(rule, event)
    if instead is not None:
        step = fallback.written(instead.step)
        roles = tuple(one if one.targets else replace(one, fallback=step) for one in roles)
    elif person is None and not any(one.targets for one in roles):
        return _outcome(rule, RuleResult.NO_RECIPIENT, detail=rule.person_field, roles=roles)
    recipients = [Recipient(target, rule.id, role) for role, found in resolved for target in found.targets]
    if instead is not None:
        held_by = instead.role or next(one.role for one in roles if not one.targets)
        recipients += [Recipient(target, rule.id, held_by) for target in instead.targets]
    if person is not None:
        recipients.insert(0, Recipient(person, rule.id))
    if entry.template is not None and entry.template.personal:
        return _tell_each(entry, roles, recipients, deciding)
    content = _words(entry, event.data, deciding.zone)
    if not isinstance(content, Content):
        reason, detail = content
        return _outcome(rule, RuleResult.FAILED, reason, detail, roles)
    told = _take(entry, content, recipients, deciding)
    return _outcome(rule, RuleResult.PLANNED if told else RuleResult.SUPPRESSED, roles=roles)


def _person(rule: Rule, event: Event) -> Target | None:
    """Whom the event itself names; None where it names nobody whom WeCom could know, or everybody."""
    try:
        named = Target.checked(TargetKind.USER, str(event.data.get(rule.person_field, "")))
    except Invalid:
        return None
    return None if named.id.lower() == EVERYONE else named


def _unmet(condition: Condition, event: Event) -> str:
    facts = condition.facts(event.data)
    return f"{condition.text} [{facts}]" if facts else condition.text


def _tell_each(
    entry: Entry, roles: tuple[RoleOutcome, ...], recipients: Sequence[Recipient], deciding: _Deciding
) -> RuleOutcome:
    """Where the words show something of the recipient: those for whom they cannot be filled are told nothing."""
    assert entry.template is not None
    found = address(
        entry.template, deciding.event.data, recipients, lambda data: _words(entry, data, deciding.zone)
    )
    if not found.told:
        return _outcome(entry.rule, RuleResult.FAILED, found.reason, found.detail, roles)
    told = [_take(entry, content, [one], deciding) for one, content in found.told]
    result = RuleResult.PLANNED if any(told) else RuleResult.SUPPRESSED
    return _outcome(entry.rule, result, found.reason, found.detail, roles)


def _words(entry: Entry, data: Mapping[str, object], zone: tzinfo) -> Said:
    """What the rule says, or the reason and detail of why it cannot."""
    rule = entry.rule
    if entry.template is None:
        return "template_invalid", entry.problem
    rendered = entry.template.render(data, zone, rule.format.dialect, rule.missing)
    if rendered.missing and rule.missing is MissingPolicy.FAIL:
        return f"template_field_missing:{','.join(dict.fromkeys(rendered.missing))}", ""
    if not rendered.text.strip():
        return "template_empty", ""
    return Content(rule.format, rendered.text)


def _take(entry: Entry, content: Content, recipients: Iterable[Recipient], deciding: _Deciding) -> bool:
    """Give the rule the targets nobody has taken yet; whether it got any."""
    rule, told = entry.rule, False
    # Nearly always there is no gate at all; then nothing is asked.
    message = None
    if rule.merging is not None or not deciding.policies.empty:
        message = _message(entry, content, deciding)
    for one in recipients:
        key = one.target.key
        earlier = deciding.taken.get(key)
        if earlier is None:
            passage = OPEN
            if message is not None:
                passage, notes = judge(message, one.target, one.role, deciding.policies, deciding.now)
                deciding.notes += notes
            said = spoken(rule, content, one.target, cards=deciding.cards)
            deciding.taken[key] = Assignment(one, said, rule.priority, rule.version, passage)
            told = True
        elif earlier.recipient.rule_id != rule.id and one.role is not None:
            deciding.merged.append(Merged(one.target, one.role, rule.id, earlier.recipient.rule_id))
    return told


def _message(entry: Entry, content: Content, deciding: _Deciding) -> Message:
    rule, data = entry.rule, deciding.event.data
    line = content.text
    if entry.line is not None:
        dialect = rule.format.dialect
        line = entry.line.render(data, deciding.zone, dialect, MissingPolicy.PLACEHOLDER).text
    fields = rule.merging.key if rule.merging is not None else ()
    return Message(
        deciding.event.store_id,
        rule.priority,
        rule.format,
        rule.id,
        rule.name,
        rule.merging,
        tuple(repr(data.get(name)) for name in fields),
        line_of(line),
    )


def _outcome(
    rule: Rule,
    result: RuleResult,
    reason: str = "",
    detail: str = "",
    roles: tuple[RoleOutcome, ...] = (),
) -> RuleOutcome:
    disabled = result is RuleResult.DISABLED
    return RuleOutcome(
        rule.id,
        rule.version,
        rule.name,
        result,
        rule.priority,
        bool(rule.store_id),
        reason,
        detail,
        rule.disabled_by if disabled else "",
        rule.disabled_at if disabled else None,
        rule.disabled_until if disabled else None,
        roles,
    )
