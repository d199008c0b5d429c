"""The states of a campaign, and which follows which.

    draft ─► pending_approval ─► approved ─┬─► scheduled ─► running ⇄ paused ─► reconciling ─► finished
      ▲             │               │      └──────────────────┘
      └─ any edit ──┴───────────────┘        failed, cancelled from any that is not over; missed from scheduled

An edit makes a new version and leads back to draft, where that is still possible: once a campaign has begun it cannot be
edited. While a window is shut a campaign goes on running; its tasks wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.errors import Conflict


class Status(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    """Being written."""
    PENDING_APPROVAL = "pending_approval"
    """Its groups are frozen; somebody else has to approve."""
    APPROVED = "approved"
    """It may be run."""
    SCHEDULED = "scheduled"
    """It begins by itself."""
    RUNNING = "running"
    """Owners are being asked."""
    PAUSED = "paused"
    """Nobody is asked until it is resumed."""
    RECONCILING = "reconciling"
    """Every task that could be made is made; owners confirm."""
    FINISHED = "finished"
    """Every group has its outcome."""
    FAILED = "failed"
    """It could not go on."""
    CANCELLED = "cancelled"
    """Somebody stopped it for good."""
    MISSED = "missed"
    """Its time came while nothing ran, and is too long ago."""

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self in _OVER

    @property
    def editable(self) -> bool:
        """Whether it may still be edited, which leads back to draft."""
        return self in (Status.DRAFT, Status.PENDING_APPROVAL, Status.APPROVED, Status.SCHEDULED)


_OVER: Final = frozenset({Status.FINISHED, Status.FAILED, Status.CANCELLED, Status.MISSED})

MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.DRAFT: frozenset({Status.DRAFT, Status.PENDING_APPROVAL, Status.FAILED, Status.CANCELLED}),
    Status.PENDING_APPROVAL: frozenset({Status.DRAFT, Status.APPROVED, Status.FAILED, Status.CANCELLED}),
    Status.APPROVED: frozenset(
        {Status.DRAFT, Status.SCHEDULED, Status.RUNNING, Status.FAILED, Status.CANCELLED}
    ),
    Status.SCHEDULED: frozenset(
        {Status.DRAFT, Status.RUNNING, Status.MISSED, Status.FAILED, Status.CANCELLED}
    ),
    Status.RUNNING: frozenset({Status.PAUSED, Status.RECONCILING, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.RUNNING, Status.RECONCILING, Status.FAILED, Status.CANCELLED}),
    Status.RECONCILING: frozenset({Status.FINISHED, Status.FAILED, Status.CANCELLED}),
    **{status: frozenset() for status in _OVER},
}
"""From each state, the states that may follow."""


def check_move(before: Status, after: Status) -> None:
    """Raises Conflict (STATE_INVALID) where *after* cannot follow *before*; it names those from which it can."""
    if after in MOVES[before]:
        return
    allowed = ", ".join(status.value for status in Status if after in MOVES[status])
    raise Conflict(
        "STATE_INVALID",
        f"a campaign that is {before.value} cannot become {after.value}; it can from: {allowed}",
        state=before.value,
        allowed=allowed,
    )
