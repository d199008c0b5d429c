"""What an event opens, and whom the next level is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from services.notifier.domain.content import Content, Format
from services.notifier.domain.decision import Decision, RuleResult
from services.notifier.domain.escalation import Level
from services.notifier.domain.planning import Assignment, PlannedCall, Recipient, plan
from services.notifier.domain.routing import Bindings, Channel, Role, Target, resolve
from services.notifier.domain.rules import Entry, Priority, Rule
from shared.values import value_class

Key = tuple[str, str, str]
"""``Target.key``."""


@value_class
class Opening:
    """An escalation that an event opens."""

    rule_id: str
    rule_version: int
    title: str
    """The rule's name."""
    words: str
    roles: tuple[Role, ...]
    after: timedelta


@value_class
class Climb:
    """One step up."""

    level: Level
    calls: tuple[PlannedCall, ...]
    """At least one."""

    @property
    def told(self) -> tuple[Target, ...]:
        """Who hears of it now."""
        return tuple(target for call in self.calls for target in call.targets)


def openings(entries: Iterable[Entry], decision: Decision) -> Iterator[Opening]:
    """What *decision* opens: one for each rule that escalates and tells somebody itself."""
    by_rule: dict[str, PlannedCall] = {}
    for call in decision.calls:
        for one in call.recipients:  # rules that say the same share a call
            by_rule.setdefault(one.rule_id, call)
    planned = {one.rule_id for one in decision.outcomes if one.result is RuleResult.PLANNED}
    for entry in entries:
        rule = entry.rule
        if rule.escalation is None or rule.id not in planned or rule.id not in by_rule:
            continue
        words = by_rule[rule.id].content.text
        yield Opening(rule.id, rule.version, rule.name, words, rule.roles, rule.escalation.after)


def spoken(rule: Rule, content: Content, target: Target, *, cards: bool) -> Content:
    """What *rule* sends to *target*: with buttons where it wants an answer and the target can press one."""
    if rule.escalation is None or not cards or target.channel is Channel.ROBOT:
        return content
    return Content(Format.TEMPLATE_CARD, content.text, rule.name)


def climb(
    opening: Opening,
    level: Level,
    store_id: str,
    holders: Bindings,
    deputies: Bindings,
    told: Collection[Key],
    *,
    cards: bool,
) -> Climb | None:
    """The next level above *level* in which somebody is left who was not *told*; None where there is none."""
    for at in range(level + 1, len(Level)):
        assignments = [
            Assignment(
                Recipient(target, opening.rule_id, role),
                _content(opening, target, cards),
                Priority.URGENT,
                opening.rule_version,
            )
            for target, role in _found(opening, Level(at), store_id, holders, deputies).items()
            if target.key not in told
        ]
        if assignments:
            return Climb(Level(at), plan(assignments))
    return None


def _found(
    opening: Opening, level: Level, store_id: str, holders: Bindings, deputies: Bindings
) -> Mapping[Target, Role]:
    """Everybody of one level, once, with the role they are told for."""
    roles: Sequence[Role] = (Role.MANAGER,) if level is Level.MANAGER else opening.roles
    bindings = holders if level is Level.MANAGER else deputies
    found: dict[Key, tuple[Target, Role]] = {}
    for role in roles:
        for target in resolve(role, store_id, bindings).targets:
            found.setdefault(target.key, (target, role))
    return dict(found.values())


def _content(opening: Opening, target: Target, cards: bool) -> Content:
    if cards and target.channel is Channel.APP:
        return Content(Format.TEMPLATE_CARD, opening.words, opening.title)
    return Content(Format.TEXT, opening.words)
