"""One event, all rules: who is told what, and why the others are not.

Nothing here raises for what an event holds. A rule that cannot speak is an outcome; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo

from services.notifier.domain.condition import Condition, Unanswerable
from services.notifier.domain.content import Content
from services.notifier.domain.decision import Decision, Merged, RoleOutcome, RuleOutcome, RuleResult
from services.notifier.domain.planning import Assignment, Recipient, plan
from services.notifier.domain.routing import Bindings, resolve
from services.notifier.domain.rules import Entry, Rule, RuleBook
from services.notifier.domain.template import MissingPolicy
from shared.events.kinds import Event

_Taken = dict[tuple[str, str, str], Assignment]


def decide(event: Event, book: RuleBook, bindings: Bindings, *, zone: tzinfo, now: datetime) -> Decision:
    """What *event* causes at *now*; *zone* is that of its store, on whose clocks its times are shown.

    Each distinct target is told once: by the most urgent rule, then the one whose id comes first. What it would
    also have been told is recorded as merged into that.
    """
    taken: _Taken = {}
    merged: list[Merged] = []
    outcomes = tuple(
        _consider(entry, event, bindings, zone, now, taken, merged)
        for entry in book.entries(event.type, event.store_id)
    )
    return Decision(
        event.id, event.type, event.store_id, book.version, outcomes, plan(taken.values()), tuple(merged)
    )


def _consider(
    entry: Entry,
    event: Event,
    bindings: Bindings,
    zone: tzinfo,
    now: datetime,
    taken: _Taken,
    merged: list[Merged],
) -> RuleOutcome:
    rule = entry.rule
    if not rule.acts(now):
        return _outcome(rule, RuleResult.DISABLED)
    if entry.condition is not None:
        try:
            if not entry.condition.holds(event.data, event.store_id):
                return _outcome(rule, RuleResult.UNMET, detail=_unmet(entry.condition, event))
        except Unanswerable as error:
            return _outcome(rule, RuleResult.FAILED, "condition_failed", str(error))
    resolved = [(role, resolve(role, event.store_id, bindings)) for role in rule.roles]
    roles = tuple(RoleOutcome(role, len(found.targets), found.inherited) for role, found in resolved)
    if not any(one.targets for one in roles):
        return _outcome(rule, RuleResult.NO_RECIPIENT, roles=roles)
    content = _words(entry, event, zone)
    if not isinstance(content, Content):
        reason, detail = content
        return _outcome(rule, RuleResult.FAILED, reason, detail, roles)
    recipients = [Recipient(target, rule.id, role) for role, found in resolved for target in found.targets]
    told = _take(rule, content, recipients, taken, merged)
    return _outcome(rule, RuleResult.PLANNED if told else RuleResult.SUPPRESSED, roles=roles)


def _unmet(condition: Condition, event: Event) -> str:
    facts = condition.facts(event.data)
    return f"{condition.text} [{facts}]" if facts else condition.text


def _words(entry: Entry, event: Event, zone: tzinfo) -> Content | tuple[str, str]:
    """What the rule says, or the reason and detail of why it cannot."""
    rule = entry.rule
    if entry.template is None:
        return "template_invalid", entry.problem
    rendered = entry.template.render(event.data, zone, rule.format.dialect, rule.missing)
    if rendered.missing and rule.missing is MissingPolicy.FAIL:
        return f"template_field_missing:{','.join(dict.fromkeys(rendered.missing))}", ""
    if not rendered.text.strip():
        return "template_empty", ""
    return Content(rule.format, rendered.text)


def _take(
    rule: Rule, content: Content, recipients: Iterable[Recipient], taken: _Taken, merged: list[Merged]
) -> bool:
    """Give *rule* the targets nobody has taken yet; whether it got any."""
    told = False
    for one in recipients:
        earlier = taken.setdefault(one.target.key, Assignment(one, content, rule.priority, rule.version))
        if earlier.recipient is one:
            told = True
        elif earlier.recipient.rule_id != rule.id and one.role is not None:
            merged.append(Merged(one.target, one.role, rule.id, earlier.recipient.rule_id))
    return told


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
