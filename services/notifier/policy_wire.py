"""Between policies and their messages in the contract."""

from __future__ import annotations

from datetime import timedelta

from reach.notifier.v1 import policy_pb2

from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.policy import EVERYBODY, Budget, Excess, Policy, subject_of
from services.notifier.domain.routing import DEFAULT_ACCOUNT, Role, Target, TargetKind
from services.notifier.store.rulebook import PolicyRow
from services.notifier.wire import from_target, role_named, to_target
from shared.quiet import QuietHours, QuietMode, Window
from shared.rpc.fields import EnumMap, from_duration, to_duration, to_timestamp

_QUIET: EnumMap[QuietMode] = EnumMap(
    policy_pb2.QuietMode,
    {mode: policy_pb2.QuietMode.Value(f"QUIET_MODE_{mode.name}") for mode in QuietMode},
)
_EXCESS: EnumMap[Excess] = EnumMap(
    policy_pb2.Excess, {one: policy_pb2.Excess.Value(f"EXCESS_{one.name}") for one in Excess}
)
_MERGE: EnumMap[MergeMode] = EnumMap(
    policy_pb2.MergeMode,
    {mode: policy_pb2.MergeMode.Value(f"MERGE_MODE_{mode.name}") for mode in MergeMode},
)


def from_subject(wire: policy_pb2.PolicySubject) -> Role | Target | None:
    """Whom a policy is for; None is everybody. Raises Invalid."""
    match wire.WhichOneof("who"):
        case "role":
            return role_named(wire.role, "subject.role")
        case "target":
            return from_target(wire.target, "subject.target")
        case _:
            return None


def kept_under(who: Role | Target | None) -> str:
    """What the policy for *who* is kept under."""
    return EVERYBODY if who is None else subject_of(who)


def _to_subject(subject: str) -> policy_pb2.PolicySubject:
    if subject == EVERYBODY:
        return policy_pb2.PolicySubject()
    kind, _, rest = subject.partition(":")
    if kind == "role":
        return policy_pb2.PolicySubject(role=rest)
    if kind == TargetKind.ROBOT:
        return policy_pb2.PolicySubject(target=to_target(Target(TargetKind.ROBOT, rest)))
    ident, _, account = rest.rpartition("@")
    return policy_pb2.PolicySubject(
        target=to_target(Target(TargetKind(kind), ident, account or DEFAULT_ACCOUNT))
    )


def from_policy(store_id: str, subject: str, wire: policy_pb2.Policy) -> Policy:
    """The policy that *wire* describes, not checked as a whole yet. Raises Invalid naming the field."""
    return Policy(
        store_id,
        subject,
        wire.time_zone or None,
        _from_quiet(wire.quiet_hours) if wire.HasField("quiet_hours") else None,
        _from_budgets(wire.budgets) if wire.HasField("budgets") else None,
        from_merging(wire.merging, "policy.merging") if wire.HasField("merging") else None,
    )


def _from_quiet(wire: policy_pb2.QuietHours) -> QuietHours:
    windows = tuple(
        Window.read(
            one.start,
            one.end,
            frozenset(day - 1 for day in one.weekdays),
            field=f"policy.quiet_hours.windows[{at}]",
        )
        for at, one in enumerate(wire.windows)
    )
    return QuietHours(windows, _QUIET.to_domain_or(wire.mode, QuietMode.HOLD, "policy.quiet_hours.mode"))


def _from_budgets(wire: policy_pb2.Budgets) -> tuple[Budget, ...]:
    return tuple(
        Budget(
            one.max_messages,
            from_duration(one.period, f"policy.budgets.budgets[{at}].period")
            if one.HasField("period")
            else None,
            _EXCESS.to_domain_or(one.excess, Excess.HOLD, f"policy.budgets.budgets[{at}].excess"),
        )
        for at, one in enumerate(wire.budgets)
    )


def from_merging(wire: policy_pb2.Merging, field: str) -> Merging:
    """What *wire* wants merged, not checked as a whole yet. Raises Invalid."""
    length = from_duration(wire.length, f"{field}.length") if wire.HasField("length") else timedelta(0)
    mode = _MERGE.to_domain(wire.mode, f"{field}.mode")
    return Merging(mode, length, tuple(wire.key), wire.line, wire.top_lines)


def to_merging(merging: Merging) -> policy_pb2.Merging:
    """How messages are brought together."""
    wire = policy_pb2.Merging(
        mode=_MERGE.to_wire(merging.mode), key=merging.key, line=merging.line, top_lines=merging.top
    )
    if merging.length:
        wire.length.CopyFrom(to_duration(merging.length))
    return wire


def to_stored(row: PolicyRow) -> policy_pb2.StoredPolicy:
    """A policy as it was set."""
    policy = row.policy
    wire = policy_pb2.StoredPolicy(
        store_id=policy.store_id, subject=_to_subject(policy.subject), updated_by=row.updated_by
    )
    wire.update_time.CopyFrom(to_timestamp(row.updated_at))
    if not policy.empty:
        wire.policy.CopyFrom(to_policy(policy))
    return wire


def to_policy(policy: Policy) -> policy_pb2.Policy:
    """What a policy says."""
    wire = policy_pb2.Policy(time_zone=policy.zone or "")
    if policy.quiet is not None:
        wire.quiet_hours.CopyFrom(
            policy_pb2.QuietHours(
                windows=[
                    policy_pb2.QuietWindow(
                        start=f"{one.start:%H:%M}",
                        end=f"{one.end:%H:%M}",
                        weekdays=sorted(day + 1 for day in one.days),
                    )
                    for one in policy.quiet.windows
                ],
                mode=_QUIET.to_wire(policy.quiet.mode),
            )
        )
    if policy.budgets is not None:
        wire.budgets.SetInParent()
        for budget in policy.budgets:
            one = wire.budgets.budgets.add(max_messages=budget.most, excess=_EXCESS.to_wire(budget.excess))
            if budget.per is not None:
                one.period.CopyFrom(to_duration(budget.per))
    if policy.merging is not None:
        wire.merging.CopyFrom(to_merging(policy.merging))
    return wire
