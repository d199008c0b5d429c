"""What came of a run, in figures: pure arithmetic over counted rows.

Each group of the audience is at one place: left out for a reason, or in exactly one status. How far it has come is read
off its status, what the platform said of it, and whether its task was made; nothing is counted twice or guessed.

    audience ≥ included ≥ asked ≥ confirmed ≥ sent
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from services.campaign.domain.campaign import Canary, Spec
from services.campaign.domain.forecast import forecast
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from shared.values import value_class

CONFIRMED_RAW: Final = frozenset({1, 2, 3})
"""What the platform says of groups whose owner has confirmed: sent, not a friend any more, limit reached."""
UNSURE: Final = frozenset({"unknown_status", "task_not_found"})
"""Reasons of refused groups whose owners were asked: nobody can say that it was not sent to them."""
SEGMENTS: Final = 50
"""Labels that a report names."""

_ASKED: Final = frozenset(
    {
        TargetStatus.AWAITING_OWNER,
        TargetStatus.SENT,
        TargetStatus.OWNER_NEVER_CONFIRMED,
        TargetStatus.SIMULATED,
    }
)
_NOT_ASKED: Final = frozenset({TargetStatus.PLANNED, TargetStatus.UNKNOWN})
_NO_FAILURE: Final = frozenset(
    {TargetStatus.SENT, TargetStatus.SIMULATED, TargetStatus.PLANNED, TargetStatus.AWAITING_OWNER}
)
_WAITING: Final = frozenset({TaskStatus.PENDING, TaskStatus.DEFERRED, TaskStatus.CREATING})


@value_class
class Cell:
    """Groups of a run that are alike."""

    status: TargetStatus
    reason: str
    errcode: int | None
    raw_status: int | None
    made: bool
    """Whether their tasks were made."""
    later: bool
    """Whether what is known of them became known after that."""
    count: int
    example: str
    """What was said about one of them."""

    @property
    def asked(self) -> bool:
        """Whether their owners were asked for them; in a dry run, would have been."""
        if self.status in _ASKED:
            return True
        if self.status in _NOT_ASKED or not self.made:
            return False
        # A group that our own check took out, or the platform left out, is in a made task's rows without being in it.
        if self.status is TargetStatus.CANCELLED or self.raw_status is not None:
            return True
        return self.reason in UNSURE if self.status is TargetStatus.REFUSED else self.later

    @property
    def confirmed(self) -> bool:
        """Whether their owners confirmed."""
        return self.status is TargetStatus.SENT or (self.asked and self.raw_status in CONFIRMED_RAW)

    @property
    def sent(self) -> bool:
        """Whether the platform says that it was sent to them."""
        return self.status is TargetStatus.SENT


@value_class
class Funnel:
    """How far groups have come."""

    audience: int
    included: int
    asked: int
    confirmed: int
    sent: int

    @property
    def coverage(self) -> float | None:
        """Sent of included."""
        return self.sent / self.included if self.included else None


@value_class
class Outcome:
    """Groups that did not get it for one reason."""

    status: TargetStatus
    reason: str
    errcode: int | None
    count: int
    example: str


@value_class
class Segment:
    """Groups with one label."""

    label: str
    groups: int
    asked: int
    sent: int


@value_class
class TaskFacts:
    """One task, and how far its groups have come."""

    id: str
    owner: str
    status: TaskStatus
    hold_reason: str
    due_at: datetime
    made_at: datetime | None
    groups: int
    sent: int
    confirmed: bool
    awaiting: int
    """Groups whose owner has still to confirm."""
    confirmed_at: datetime | None
    """When its owner confirmed first, by the platform's clock."""

    @property
    def asked(self) -> bool:
        """Whether its owner was asked; in a dry run, would have been."""
        return self.made_at is not None or self.status is TaskStatus.SIMULATED

    @property
    def took(self) -> timedelta | None:
        """From being asked to confirming; None where it was not confirmed."""
        if self.made_at is None or self.confirmed_at is None:
            return None
        # Two clocks, of which one counts in whole seconds.
        return max(self.confirmed_at - self.made_at, timedelta(0))


@value_class
class Taken:
    """How long confirming took."""

    tasks: int = 0
    p50: timedelta | None = None
    p90: timedelta | None = None


@value_class
class OwnerResult:
    """What one owner did, or several together."""

    owner: str
    owners: int
    groups: int
    asked_tasks: int
    confirmed_tasks: int
    sent_groups: int
    reminders: int
    taken: Taken


@value_class
class Prompt:
    """What one prompt cost, in tokens."""

    app_version: str
    prompt_hash: str
    models: tuple[str, ...]
    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    used: bool
    """Whether words of it became a version."""


def funnel(cells: Iterable[Cell], excluded: Mapping[str, int]) -> Funnel:
    """How far the groups of an audience have come; *excluded* are those left out, by reason."""
    included = asked = confirmed = sent = 0
    for one in cells:
        included += one.count
        asked += one.count * one.asked
        confirmed += one.count * one.confirmed
        sent += one.count * one.sent
    return Funnel(included + sum(excluded.values()), included, asked, confirmed, sent)


def statuses(cells: Iterable[Cell]) -> Sequence[tuple[TargetStatus, int]]:
    """How many groups stand where, in the order of the states; none that are empty."""
    found: dict[TargetStatus, int] = defaultdict(int)
    for one in cells:
        found[one.status] += one.count
    return [(status, found[status]) for status in TargetStatus if found.get(status)]


def outcomes(cells: Iterable[Cell]) -> Sequence[Outcome]:
    """Why groups did not get it, most first."""
    counts: dict[tuple[TargetStatus, str, int | None], int] = defaultdict(int)
    examples: dict[tuple[TargetStatus, str, int | None], str] = defaultdict(str)
    for one in cells:
        if one.status not in _NO_FAILURE:
            key = (one.status, one.reason, one.errcode)
            counts[key] += one.count
            examples[key] = max(examples[key], one.example)
    found = [Outcome(*key, count, examples[key]) for key, count in counts.items()]
    return sorted(found, key=lambda one: (-one.count, one.status, one.reason, one.errcode or 0))


def open_groups(cells: Iterable[Cell]) -> int:
    """Groups of which it is not said yet what becomes of them."""
    return sum(one.count for one in cells if not one.status.over)


def segments(by_label: Mapping[str, Sequence[Cell]]) -> Sequence[Segment]:
    """What came of the groups with each label, most groups first."""
    found = [
        Segment(
            label,
            sum(one.count for one in cells),
            sum(one.count for one in cells if one.asked),
            sum(one.count for one in cells if one.sent),
        )
        for label, cells in by_label.items()
    ]
    return sorted(found, key=lambda one: (-one.groups, one.label))


def taken(tasks: Iterable[TaskFacts]) -> Taken:
    """How long it took to confirm *tasks*."""
    known = sorted(one.took for one in tasks if one.took is not None)
    return Taken(len(known), _rank(known, 50), _rank(known, 90)) if known else Taken()


def _rank(ordered: Sequence[timedelta], percent: int) -> timedelta:
    """The first of *ordered* that so many of a hundred do not exceed."""
    return ordered[(len(ordered) * percent + 99) // 100 - 1]


def league(
    tasks: Iterable[TaskFacts], reminders: Mapping[str, int], most: int
) -> tuple[Sequence[OwnerResult], OwnerResult | None]:
    """Owners, those with the most groups that did not get it first, and all behind the first *most* together.

    *reminders* is how often each task was reminded of.
    """
    by_owner: dict[str, list[TaskFacts]] = defaultdict(list)
    for task in tasks:
        by_owner[task.owner].append(task)
    found = [_owner(owner, theirs, reminders) for owner, theirs in by_owner.items()]
    found.sort(key=lambda one: (one.sent_groups - one.groups, one.owner))
    rest = found[most:]
    others = OwnerResult(
        "",
        len(rest),
        sum(one.groups for one in rest),
        sum(one.asked_tasks for one in rest),
        sum(one.confirmed_tasks for one in rest),
        sum(one.sent_groups for one in rest),
        sum(one.reminders for one in rest),
        Taken(),
    )
    return found[:most], others if rest else None


def _owner(owner: str, tasks: Sequence[TaskFacts], reminders: Mapping[str, int]) -> OwnerResult:
    return OwnerResult(
        owner,
        1,
        sum(one.groups for one in tasks),
        sum(one.asked for one in tasks),
        sum(one.confirmed for one in tasks),
        sum(one.sent for one in tasks),
        sum(reminders.get(one.id, 0) for one in tasks),
        taken(tasks),
    )


def task_statuses(tasks: Iterable[TaskFacts]) -> Sequence[tuple[TaskStatus, int]]:
    """How the making of tasks stands, in the order of the states; none that are empty."""
    found: dict[TaskStatus, int] = defaultdict(int)
    for one in tasks:
        found[one.status] += 1
    return [(status, found[status]) for status in TaskStatus if found.get(status)]


def by_prompt(asked: Iterable[Prompt]) -> Sequence[Prompt]:
    """What each prompt cost, most tokens first."""
    found: dict[tuple[str, str, tuple[str, ...]], Prompt] = {}
    for one in asked:
        key = (one.app_version, one.prompt_hash, one.models)
        before = found.get(key)
        found[key] = one if before is None else _sum(before, one)
    return sorted(found.values(), key=lambda one: (-one.total_tokens, one.app_version, one.prompt_hash))


def _sum(one: Prompt, other: Prompt) -> Prompt:
    return Prompt(
        one.app_version,
        one.prompt_hash,
        one.models,
        one.requests + other.requests,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.total_tokens + other.total_tokens,
        one.used or other.used,
    )


def planned_end(
    spec: Spec, status: Status, tasks: Sequence[TaskFacts], now: datetime, qps: int
) -> datetime | None:
    """When nothing is open any more at the latest; None where nothing is open, or it cannot be said: it is paused,
    somebody has to look for a task, or the window does not open for all of them."""
    if status is Status.PAUSED or any(one.status is TaskStatus.UNKNOWN for one in tasks):
        return None
    ends = [one.made_at + spec.confirm_within for one in tasks if one.awaiting and one.made_at is not None]
    waiting = [one for one in tasks if one.status in _WAITING]
    if waiting:
        begins = max([now, *(one.due_at for one in waiting if one.hold_reason == "canary")])
        # One task each, however many are the owner's: what is left of a chunked owner is still made one by one.
        last = forecast(spec.window, begins, {one.id: 1 for one in waiting}, Canary(), qps).end
        if last is None:
            return None
        ends.append(last + spec.confirm_within)
    return max(ends, default=None)
