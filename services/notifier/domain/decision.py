"""What was decided about one event, as a value that survives: stored beside the event, read by Explain.

Its JSON holds words as they are sent (phones masked) and no payload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.notifier.domain.content import Content
from services.notifier.domain.gates import GateNote
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from shared.values import value_class

SHAPE = 1
"""Version of the JSON; readers take what they know."""


class Verdict(StrEnum):
    """What was decided about an event as a whole."""

    PLANNED = "planned"
    NO_RULE = "no_rule"
    RULE_DISABLED = "rule_disabled"
    NO_RECIPIENT = "no_recipient"
    TEMPLATE_FAILED = "template_failed"
    CONDITION_UNMET = "condition_unmet"


class RuleResult(StrEnum):
    """What became of one rule that listens to the event."""

    PLANNED = "planned"
    """It tells at least one target."""
    DISABLED = "disabled"
    UNMET = "unmet"
    """Its condition is false for this event; ``detail`` says what it looked at."""
    NO_RECIPIENT = "no_recipient"
    """None of its roles is held by anybody."""
    FAILED = "failed"
    """Its words could not be filled; ``reason`` says why."""
    SUPPRESSED = "suppressed"
    """All its targets are told by other rules."""


@value_class
class RoleOutcome:
    """How many are meant by one role of a rule."""

    role: Role
    targets: int
    """0 is the outcome ``no_recipient``."""
    inherited: bool
    """Whether they are the default of all stores."""
    fallback: str = ""
    """Who is told instead, as ``fallback.written`` has it; empty where somebody holds it, or nobody is."""


@value_class
class RuleOutcome:
    """What one rule made of the event."""

    rule_id: str
    version: int
    name: str
    result: RuleResult
    priority: Priority
    own_setting: bool = False
    """Whether the store has a setting of its own for this rule."""
    reason: str = ""
    """Why it failed: ``template_field_missing:total``, ``template_invalid``, ``template_empty``. Where it did not: why
    some of its recipients, which ``detail`` names, are told nothing."""
    detail: str = ""
    """The same for people, where the reason does not say it all."""
    disabled_by: str = ""
    disabled_at: datetime | None = None
    disabled_until: datetime | None = None
    roles: tuple[RoleOutcome, ...] = ()


@value_class
class Merged:
    """A target that two rules or more would have told; it is told once."""

    target: Target
    role: Role
    rule_id: str
    """The rule that does not tell it."""
    into_rule_id: str
    """The rule that does."""


@value_class
class Decision:
    """What was decided about one event."""

    event_id: str
    event_type: str
    store_id: str
    rules_version: int
    """Version of the rule book that was asked."""
    outcomes: tuple[RuleOutcome, ...]
    """One for each rule that listens, the most urgent first, then by id."""
    calls: tuple[PlannedCall, ...]
    """What is to be sent, the most urgent first."""
    merged: tuple[Merged, ...]
    notes: tuple[GateNote, ...] = ()
    """What the gates found, where there is anything that may hold a message back."""

    @property
    def verdict(self) -> Verdict:
        """What it comes to. Where nothing is sent, the nearest miss says why."""
        if self.calls:
            return Verdict.PLANNED
        if not self.outcomes:
            return Verdict.NO_RULE
        results = {outcome.result for outcome in self.outcomes}
        if RuleResult.FAILED in results:
            return Verdict.TEMPLATE_FAILED
        if RuleResult.NO_RECIPIENT in results:
            return Verdict.NO_RECIPIENT
        return Verdict.CONDITION_UNMET if RuleResult.UNMET in results else Verdict.RULE_DISABLED

    def to_json(self, *, calls: bool = True) -> dict[str, object]:
        """As plain JSON; without its *calls* where they are kept elsewhere (the deliveries)."""
        plain: dict[str, object] = {
            "shape": SHAPE,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "store_id": self.store_id,
            "rules_version": self.rules_version,
            "verdict": str(self.verdict),
            "outcomes": [_outcome_json(outcome) for outcome in self.outcomes],
            "calls": [_call_json(call) for call in self.calls] if calls else [],
            "merged": [
                _target_json(one.target)
                | {"role": str(one.role), "rule_id": one.rule_id, "into_rule_id": one.into_rule_id}
                for one in self.merged
            ],
        }
        if self.notes:
            plain["notes"] = [note.to_json() for note in self.notes]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], calls: Sequence[PlannedCall] = ()) -> Decision:
        """What ``to_json`` wrote, whichever way its text was stored; with *calls* from elsewhere if it had none."""
        return cls(
            plain["event_id"],
            plain["event_type"],
            plain["store_id"],
            plain["rules_version"],
            tuple(_outcome(one) for one in plain["outcomes"]),
            tuple(_call(one) for one in plain["calls"]) or tuple(calls),
            tuple(
                Merged(_target(one), Role(one["role"]), one["rule_id"], one["into_rule_id"])
                for one in plain["merged"]
            ),
            tuple(GateNote.from_json(one) for one in plain.get("notes", ())),
        )


def _instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _outcome_json(outcome: RuleOutcome) -> dict[str, object]:
    plain: dict[str, object] = {
        "rule_id": outcome.rule_id,
        "version": outcome.version,
        "name": outcome.name,
        "result": str(outcome.result),
        "priority": outcome.priority.word,
        "roles": [_role_json(one) for one in outcome.roles],
    }
    # What says nothing is left out: this is written once for each event.
    for name in ("own_setting", "reason", "detail", "disabled_by"):
        if value := getattr(outcome, name):
            plain[name] = value
    for name in ("disabled_at", "disabled_until"):
        if (at := getattr(outcome, name)) is not None:
            plain[name] = at.isoformat()
    return plain


def _role_json(one: RoleOutcome) -> dict[str, object]:
    plain: dict[str, object] = {"role": str(one.role), "targets": one.targets, "inherited": one.inherited}
    if one.fallback:
        plain["fallback"] = one.fallback
    return plain


def _outcome(plain: Mapping[str, Any]) -> RuleOutcome:
    return RuleOutcome(
        plain["rule_id"],
        plain["version"],
        plain["name"],
        RuleResult(plain["result"]),
        Priority[plain["priority"].upper()],
        plain.get("own_setting", False),
        plain.get("reason", ""),
        plain.get("detail", ""),
        plain.get("disabled_by", ""),
        _instant(plain.get("disabled_at")),
        _instant(plain.get("disabled_until")),
        tuple(
            RoleOutcome(Role(one["role"]), one["targets"], one["inherited"], one.get("fallback", ""))
            for one in plain["roles"]
        ),
    )


def _call_json(call: PlannedCall) -> dict[str, object]:
    return {
        "address": call.address,
        "priority": call.priority.word,
        "rule_id": call.rule_id,
        "rule_version": call.rule_version,
        "content": call.content.to_json(),
        "recipients": [
            _target_json(one.target) | {"rule_id": one.rule_id, "role": one.role and str(one.role)}
            for one in call.recipients
        ],
    }


def _call(plain: Mapping[str, Any]) -> PlannedCall:
    recipients: Sequence[Mapping[str, Any]] = plain["recipients"]
    return PlannedCall(
        plain["address"],
        Priority[plain["priority"].upper()],
        Content.from_json(plain["content"]),
        tuple(
            Recipient(_target(one), one["rule_id"], Role(one["role"]) if one["role"] else None)
            for one in recipients
        ),
        plain["rule_id"],
        plain["rule_version"],
    )


def _target_json(target: Target) -> dict[str, object]:
    return {"kind": str(target.kind), "id": target.id, "account": target.account}


def _target(plain: Mapping[str, Any]) -> Target:
    return Target(TargetKind(plain["kind"]), plain["id"], plain["account"])
