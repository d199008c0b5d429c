"""How runs, steps and attempts stand, and what a finished call does to its step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.ai_orchestrator.domain.call import CallProblem
from services.ai_orchestrator.domain.gating import Refusal
from shared.values import value_class


class RunStatus(StrEnum):
    """How a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self in (RunStatus.PENDING, RunStatus.RUNNING)


class StepStatus(StrEnum):
    """How a step stands."""

    BLOCKED = "blocked"
    """Waits for other steps, or for a place in its run's width."""
    PENDING = "pending"
    DEFERRED = "deferred"
    RUNNING = "running"
    COMPLETED = "completed"
    CACHED = "cached"
    SKIPPED = "skipped"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self in _OPEN

    @property
    def has_result(self) -> bool:
        """Whether it brings something to the steps behind it."""
        return self in (StepStatus.COMPLETED, StepStatus.CACHED)


_OPEN: Final = (StepStatus.BLOCKED, StepStatus.PENDING, StepStatus.DEFERRED, StepStatus.RUNNING)


class AttemptStatus(StrEnum):
    """How one request ended."""

    CALLING = "calling"
    COMPLETED = "completed"
    REFUSED_REPLY = "refused_reply"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


NO_FACTS: Final = "no_facts"
DEADLINE: Final = "deadline"
QUIET: Final = "quiet_period"
"""Why the steps of a follow-up wait."""
CANCELLED: Final = "cancelled"
LOST: Final = "lost"
"""The process that asked is gone."""
INTERRUPTED: Final = "interrupted"
"""The process that asked was told to stop."""
DEFECT: Final = "defect"
TIMEOUT: Final = "timeout"

REPEATS: Final = 3
"""How often a request that may be sent again is, at most."""
UNKNOWN_REPEATS: Final = 1
"""How often one of which nobody knows whether it ran is, at most: it may have been paid."""
_PAUSES: Final = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=5))


@value_class
class Part:
    """A step as far as the others are concerned."""

    id: str
    name: str
    status: StepStatus
    after: tuple[str, ...]


def releasable(parts: Sequence[Part], width: int, answered: Collection[str] = ()) -> list[Part]:
    """The blocked steps that may go, in order: all they await has ended, and the run's *width* has room (0: any).

    *parts* are the steps of the run that have not ended; those whose ids are in *answered* are about to, and take no room.
    """
    names = {part.name for part in parts}
    ready = [part for part in parts if part.status is StepStatus.BLOCKED and names.isdisjoint(part.after)]
    if not width:
        return ready
    busy = sum(part.status is not StepStatus.BLOCKED and part.id not in answered for part in parts)
    return ready[: max(0, width - busy)]


def run_status(statuses: Sequence[StepStatus]) -> RunStatus:
    """How a run ended whose steps ended so."""
    counted = Counter(statuses)
    good = counted[StepStatus.COMPLETED] + counted[StepStatus.CACHED]
    bad = counted[StepStatus.FAILED] + counted[StepStatus.REFUSED] + counted[StepStatus.CANCELLED]
    if not bad:
        return RunStatus.COMPLETED
    return RunStatus.PARTIAL if good else RunStatus.FAILED


@value_class
class Next:
    """What becomes of a step."""

    status: StepStatus
    reason: str = ""
    due_at: datetime | None = None


def attempt_status(problem: CallProblem) -> AttemptStatus:
    """How an attempt ended that brought no reply."""
    if problem.reason == CANCELLED:
        return AttemptStatus.CANCELLED
    return AttemptStatus.UNKNOWN if problem.sent and problem.http_status is None else AttemptStatus.FAILED


def after_problem(
    problem: CallProblem,
    earlier: Sequence[AttemptStatus],
    now: datetime,
    until: datetime,
    *,
    jitter: float,
) -> Next:
    """What follows a call that failed; *earlier* is how the step's attempts before it ended, *until* when the step's time
    is over, *jitter* a random number in [0, 1)."""
    unknown = attempt_status(problem) is AttemptStatus.UNKNOWN
    tried = sum(one in (AttemptStatus.FAILED, AttemptStatus.UNKNOWN) for one in earlier)
    unclear = sum(one is AttemptStatus.UNKNOWN for one in earlier)
    spent = tried >= REPEATS or (unknown and unclear >= UNKNOWN_REPEATS)
    if not problem.repeatable or spent:
        return Next(StepStatus.FAILED, problem.reason)
    if problem.reason in (LOST, INTERRUPTED):
        return (
            Next(StepStatus.PENDING, problem.reason)
            if now < until
            else Next(StepStatus.FAILED, problem.reason)
        )
    due_at = max(now + _PAUSES[min(tried, len(_PAUSES) - 1)] * (1 + jitter / 4), problem.retry_at or now)
    if due_at >= until:
        return Next(StepStatus.FAILED, problem.reason)
    return Next(StepStatus.DEFERRED, problem.reason, due_at)


def alert_of(reason: str) -> str:
    """The word by which operators are told of a step that failed so."""
    if reason in (DEADLINE, TIMEOUT):
        return TIMEOUT
    return reason if reason in tuple(Refusal) else "failed"
