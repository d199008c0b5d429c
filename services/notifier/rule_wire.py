"""Between rules and their messages in the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reach.notifier.v1 import rule_pb2

from services.notifier.domain import fallback
from services.notifier.domain.content import Format
from services.notifier.domain.escalation import Escalation
from services.notifier.domain.routing import Role
from services.notifier.domain.rules import Priority, Rule
from services.notifier.policy_wire import from_merging, to_merging
from services.notifier.store.rulebook import RuleVersion
from services.notifier.usecases.rules import Saved
from services.notifier.wire import FORMAT, PRIORITY, from_target, role_named, to_target
from shared.events.identity import check_store
from shared.events.kinds import Field, FieldKind
from shared.rpc.fields import EnumMap, from_duration, to_duration, to_timestamp
from shared.text.template import MissingPolicy

MISSING: EnumMap[MissingPolicy] = EnumMap(
    rule_pb2.MissingPolicy,
    {policy: rule_pb2.MissingPolicy.Value(f"MISSING_POLICY_{policy.name}") for policy in MissingPolicy},
)
_KIND: EnumMap[FieldKind] = EnumMap(
    rule_pb2.VariableKind,
    {kind: rule_pb2.VariableKind.Value(f"VARIABLE_KIND_{kind.name}") for kind in FieldKind},
)


def to_rule(rule: Rule, now: datetime) -> rule_pb2.Rule:
    """A rule as it stands at *now*."""
    acts = rule.acts(now)
    wire = rule_pb2.Rule(
        rule_id=rule.id,
        version=rule.version,
        event_type=rule.event_type,
        display_name=rule.name,
        enabled=acts,
        disabled_by="" if acts else rule.disabled_by,
        priority=PRIORITY.to_wire(rule.priority),
        roles=[role.value for role in rule.roles],
        format=FORMAT.to_wire(rule.format),
        template=rule.template,
        preset=rule.preset,
        condition=rule.condition,
        stores=rule.stores,
        person_field=rule.person_field,
        missing=MISSING.to_wire(rule.missing),
        variables=[rule_pb2.Variable(name=one.name, kind=_KIND.to_wire(one.kind)) for one in rule.variables],
    )
    if rule.merging is not None:
        wire.merging.CopyFrom(to_merging(rule.merging))
    if rule.fallback is not None:
        wire.fallback.CopyFrom(to_fallback(rule.fallback))
    if rule.escalation is not None:
        wire.escalation.after.CopyFrom(to_duration(rule.escalation.after))
    if not acts and rule.disabled_at is not None:
        wire.disabled_time.CopyFrom(to_timestamp(rule.disabled_at))
    if not acts and rule.disabled_until is not None:
        wire.disabled_until_time.CopyFrom(to_timestamp(rule.disabled_until))
    return wire


def from_spec(rule_id: str, spec: rule_pb2.RuleSpec) -> Rule:
    """The rule that *spec* describes, not numbered yet. Raises Invalid naming the field."""
    return Rule(
        id=rule_id,
        version=0,
        event_type=spec.event_type,
        name=spec.display_name,
        priority=PRIORITY.to_domain_or(spec.priority, Priority.NORMAL, "spec.priority"),
        roles=tuple(role_named(name, f"spec.roles[{at}]") for at, name in enumerate(spec.roles)),
        template=spec.template,
        format=FORMAT.to_domain_or(spec.format, Format.TEXT, "spec.format"),
        missing=MISSING.to_domain_or(spec.missing, MissingPolicy.FAIL, "spec.missing"),
        condition=spec.condition.strip(),
        stores=tuple(sorted({check_store(store) for store in spec.stores})),
        variables=tuple(
            Field(one.name, _KIND.to_domain(one.kind, f"spec.variables[{at}].kind"), required=False)
            for at, one in enumerate(spec.variables)
        ),
        merging=from_merging(spec.merging, "spec.merging") if spec.HasField("merging") else None,
        escalation=Escalation(from_duration(spec.escalation.after, "spec.escalation.after"))
        if spec.HasField("escalation")
        else None,
        fallback=_steps(spec.fallback) if spec.HasField("fallback") else None,
        person_field=spec.person_field,
    )


def to_fallback(steps: Sequence[fallback.Step]) -> rule_pb2.Fallback:
    """The steps of a chain."""
    return rule_pb2.Fallback(
        steps=[
            rule_pb2.FallbackStep(role=one.value)
            if isinstance(one, Role)
            else rule_pb2.FallbackStep(target=to_target(one))
            for one in steps
        ]
    )


def _steps(wire: rule_pb2.Fallback) -> tuple[fallback.Step, ...]:
    return tuple(
        role_named(one.role, f"spec.fallback.steps[{at}].role")
        if one.HasField("role")
        else from_target(one.target, f"spec.fallback.steps[{at}].target")
        for at, one in enumerate(wire.steps)
    )


def to_check(saved: Saved) -> rule_pb2.RuleCheck:
    """How a rule's words come out."""
    return rule_pb2.RuleCheck(example_text=saved.example, byte_count=saved.bytes, byte_limit=saved.limit)


def to_version(one: RuleVersion, acting: int, now: datetime) -> rule_pb2.RuleVersion:
    """One version; *acting* is the number of that which acts."""
    return rule_pb2.RuleVersion(
        rule=to_rule(one.rule, now),
        published=one.rule.version == acting,
        comment=one.comment,
        create_time=to_timestamp(one.created_at),
        created_by=one.created_by,
    )
