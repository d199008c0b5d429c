"""Policies as they are written on a command line: ``22:00-08:00/1-5 digest``, ``30/1h``, ``window:60s``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from cli.common import refuse
from cli.inputs import duration

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from reach.notifier.v1 import policy_pb2

    from services.notifier.domain.merging import Merging

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

_MERGE = re.compile(r"(window|cooldown):([^:]+)(?::([0-9]{1,3}))?", re.ASCII)


def policy(
    quiet: list[str],
    days: str,
    mode: str,
    zone: str,
    budgets: list[str],
    excess: str,
    unlimited: bool,
    merge: str,
) -> policy_pb2.Policy:
    """The policy that the options say; the command exits 2 where they do not say one."""
    if not (quiet or budgets or unlimited or merge):
        refuse(
            "say what the policy is: --quiet, --budget, --unlimited or --merge; reach policy remove takes it away"
        )
    for given, option, needed in ((days, "--days", "--quiet"), (mode, "--mode", "--quiet")):
        if given and not quiet:
            refuse(f"{option} is about quiet hours: add {needed} 22:00-08:00")
    if excess and not budgets:
        refuse("--excess is about budgets: add --budget 30/1h")
    if unlimited and budgets:
        refuse("--unlimited means no budget: leave out --budget, or --unlimited")
    from services.notifier.domain.policy import EVERYBODY, Excess, Policy
    from services.notifier.policy_files import read_budget, read_weekdays, read_window
    from services.notifier.policy_wire import to_policy
    from shared.quiet import QuietHours, QuietMode

    usual = _read(read_weekdays, days, "--days") if days else frozenset[int]()
    windows = [_read(read_window, one, "--quiet") for one in quiet]
    usually = _one_of(Excess, excess or "hold", "--excess")
    return to_policy(
        Policy(
            "",
            EVERYBODY,
            zone or None,
            QuietHours(
                tuple(one if one.days else replace(one, days=usual) for one in windows),
                _one_of(QuietMode, mode or "hold", "--mode"),
            )
            if quiet
            else None,
            tuple(_read(lambda given: read_budget(given, usually), one, "--budget") for one in budgets)
            if budgets or unlimited
            else None,
            _merging(merge) if merge else None,
        )
    )


def _read(read: Callable[[str], T], given: str, option: str) -> T:
    try:
        return read(given)
    except ValueError as error:
        refuse(f"{option} {given}: {error}")


def _one_of(kinds: type[E], given: str, option: str) -> E:
    names = [str(one.value) for one in kinds]
    if given not in names:
        refuse(f"{option} {given}: must be one of {', '.join(names)}")
    return kinds(given)


def _merging(given: str) -> Merging:
    from services.notifier.domain.merging import MergeMode, Merging

    if given == MergeMode.OFF:
        return Merging(MergeMode.OFF)
    found = _MERGE.fullmatch(given)
    if not found:
        refuse(f"--merge {given}: must be like window:60s, cooldown:5m:10 (10 lines at most) or off")
    return Merging(MergeMode(found[1]), duration(found[2], f"--merge {given}:"), top=int(found[3] or 0))


def named(subject: policy_pb2.PolicySubject, store_id: str) -> str:
    """Whom a policy is for: ``role:manager at s1``, ``everybody``."""
    from cli.roles import spelled

    match subject.WhichOneof("who"):
        case "role":
            who = f"role:{subject.role}"
        case "target":
            who = spelled(subject.target)
            who = who if ":" in who else f"user:{who}"
            account = subject.target.account
            who += f" ({account})" if account not in ("", "default") else ""
        case _:
            who = "everybody"
    return f"{who} at {store_id}" if store_id else who


def whom(stored: policy_pb2.StoredPolicy) -> str:
    """Whom a stored policy is for, and where."""
    return named(stored.subject, stored.store_id or "all stores")


def quiet_of(said: policy_pb2.Policy) -> str:
    """Its quiet hours as ``set`` takes them; empty where it says nothing."""
    from reach.notifier.v1 import policy_pb2

    if not said.HasField("quiet_hours"):
        return ""
    windows = [
        f"{one.start}-{one.end}" + (f"/{_days_of(list(one.weekdays))}" if one.weekdays else "")
        for one in said.quiet_hours.windows
    ]
    mode = policy_pb2.QuietMode.Name(said.quiet_hours.mode).removeprefix("QUIET_MODE_").lower()
    return f"{' '.join(windows)} {mode}"


def _days_of(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{days[0]}-{days[-1]}"
    return ",".join(str(day) for day in days)


def budgets_of(said: policy_pb2.Policy) -> str:
    """Its budgets as ``set`` takes them; empty where it says nothing."""
    from reach.notifier.v1 import policy_pb2

    if not said.HasField("budgets"):
        return ""
    return (
        " ".join(
            f"{one.max_messages}/{_span(one.period) if one.HasField('period') else 'day'}/"
            + policy_pb2.Excess.Name(one.excess).removeprefix("EXCESS_").lower()
            for one in said.budgets.budgets
        )
        or "unlimited"
    )


def merging_of(said: policy_pb2.Policy) -> str:
    """Its merging as ``set`` takes it; empty where it says nothing."""
    from reach.notifier.v1 import policy_pb2

    if not said.HasField("merging"):
        return ""
    mode = policy_pb2.MergeMode.Name(said.merging.mode).removeprefix("MERGE_MODE_").lower()
    length = f":{_span(said.merging.length)}" if said.merging.HasField("length") else ""
    return f"{mode}{length}" + (f":{said.merging.top_lines}" if said.merging.top_lines else "")


def _span(length: Duration) -> str:
    from services.notifier.domain.policy import words_of

    return words_of(length.ToTimedelta())


def sentence(said: policy_pb2.Policy) -> str:
    """All of it on one line."""
    zone = f" ({said.time_zone})" if said.time_zone else ""
    parts = (("quiet", quiet_of(said)), ("budget", budgets_of(said)), ("merge", merging_of(said)))
    return "; ".join(f"{name} {words}" for name, words in parts if words) + zone
