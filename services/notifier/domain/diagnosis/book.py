"""What is wrong with rules and roles as they are stored, whatever WeCom thinks of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from services.notifier.domain.routing import ROLE_NAMES, Bindings, Channel, Role
from services.notifier.domain.rules import Entry, Rule
from shared.ops.finding import CheckStatus, Finding

_SHOWN = 5


def roles_finding(bindings: Bindings) -> Finding:
    """``roles``: those that nobody holds anywhere."""
    held = {role for (_, role), targets in bindings.items() if targets}
    empty = [f"{name} ({role.value})" for role, name in ROLE_NAMES.items() if role not in held]
    if not empty:
        return Finding("roles", CheckStatus.OK, "every role has a target")
    return Finding(
        "roles",
        CheckStatus.WARNING,
        f"nobody holds {', '.join(empty)}: what is meant for them goes nowhere",
        "set them with `reach roles set ROLE --user USERID` (SetRoleTargets)",
    )


def role_credentials_finding(bindings: Bindings, apps: Collection[str], robots: Collection[str]) -> Finding:
    """``role_credentials``: roles held through an app or a robot that is not registered."""
    missing: dict[str, list[str]] = {}
    for (store, role), targets in bindings.items():
        for target in targets:
            known = robots if target.channel is Channel.ROBOT else apps
            if target.address.partition(":")[2] not in known:
                where = f"{role.value}{store and f' at {store}'}"
                missing.setdefault(target.address, []).append(where)
    if not missing:
        return Finding(
            "role_credentials",
            CheckStatus.OK,
            "every app and robot that roles are held through is registered",
        )
    told = [f"{address} ({_some(sorted(set(posts)))})" for address, posts in sorted(missing.items())]
    adds = [f"`reach credentials add {address.replace(':', ' ', 1)}`" for address in sorted(missing)]
    return Finding(
        "role_credentials",
        CheckStatus.FAILED,
        f"not registered: {_some(told)}",
        f"{_some(adds, 'and')}, or name others with `reach roles set`",
    )


def silent_rules_finding(entries: Iterable[Entry]) -> Finding:
    """``rules``: those whose words or condition no longer fit the contract, so that they say nothing."""
    wrong = {entry.rule.id: entry for entry in entries if entry.problem}
    if not wrong:
        return Finding("rules", CheckStatus.OK, "every rule can speak")
    told, first = [f"{_spelled(entry.rule)}: {entry.problem}" for entry in wrong.values()], next(iter(wrong))
    return Finding(
        "rules",
        CheckStatus.FAILED,
        f"cannot speak: {_some(told)}",
        f"correct the words: `reach rules show {first}`, then `reach rules put FILE`; or go back to the version before "
        f"it with `reach rules rollback {first}`",
    )


def unheard_rules_finding(entries: Iterable[Entry], bindings: Bindings, now: datetime) -> Finding:
    """``rule_recipients``: rules that act, and none of whose roles is held where they act."""
    unheard: dict[str, Rule] = {}
    for entry in entries:
        rule = entry.rule
        if rule.acts(now) and not entry.problem and not _heard(rule, bindings):
            unheard.setdefault(rule.id, rule)
    if not unheard:
        return Finding("rule_recipients", CheckStatus.OK, "every rule that acts has somebody to tell")
    missing = list(dict.fromkeys(role.value for rule in unheard.values() for role in rule.roles))
    return Finding(
        "rule_recipients",
        CheckStatus.WARNING,
        f"nobody hears {_some([_spelled(rule) for rule in unheard.values()])}",
        f"`reach roles set {missing[0]} --user USERID`"
        + (f"; the same for {', '.join(missing[1:])}" if missing[1:] else "")
        + "; or switch off what nobody needs with `reach rules toggle RULE off`",
    )


def _heard(rule: Rule, bindings: Bindings) -> bool:
    """Whether somebody holds one of its roles where it acts; a rule of every store needs only one store.

    One that asks the event for the person has its somebody there.
    """
    if rule.person_field:
        return True
    stores = {rule.store_id} if rule.store_id else set(rule.stores)
    return any(_held(role, stores, bindings) for role in rule.roles)


def _held(role: Role, stores: Collection[str], bindings: Bindings) -> bool:
    if bindings.get(("", role)):
        return True
    return any(
        targets and of is role and (not stores or at in stores) for (at, of), targets in bindings.items()
    )


def _spelled(rule: Rule) -> str:
    name = f"{rule.id} ({rule.name})"
    return f"{name} at {rule.store_id}" if rule.store_id else name


def _some(words: list[str], last: str = "") -> str:
    shown = ", ".join(words[:_SHOWN]) if not last else f" {last} ".join(words[:_SHOWN])
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown
