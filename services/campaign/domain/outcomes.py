"""What becomes of tasks and groups: the words for it, which of them are final."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """Where the making of one owner's task stands; the first three are those of a due row."""

    PENDING = "pending"
    DEFERRED = "deferred"
    """It waits: ``hold_reason`` says what for (send_window, pace, canary, paused, retry, look_up, …)."""
    CREATING = "creating"
    CREATED = "created"
    """It exists at the platform; the owner is asked."""
    SIMULATED = "simulated"
    """A dry run went through it; nothing left the process."""
    REFUSED = "refused"
    """The check at the last moment, or the platform, refused it for good."""
    UNKNOWN = "unknown"
    """Whether it exists cannot be told; a person decides."""
    CANCELLED = "cancelled"
    """The campaign was cancelled before it was made."""


class TargetStatus(StrEnum):
    """Where one group of a run stands."""

    PLANNED = "planned"
    """No task of it exists."""
    AWAITING_OWNER = "awaiting_owner"
    """Its owner was asked and has not confirmed."""
    UNKNOWN = "unknown"
    """Whether its owner was asked cannot be told."""
    SENT = "sent"
    """The platform says that it was sent."""
    OWNER_NEVER_CONFIRMED = "owner_never_confirmed"
    """The deadline passed."""
    LIMIT_REACHED = "limit_reached"
    """It had received the permitted number of mass messages."""
    GROUP_GONE = "group_gone"
    """It does not exist any more, or is not the owner's any more."""
    REFUSED = "refused"
    """The platform refused its task, or the check at the last moment did."""
    CANCELLED = "cancelled"
    """The campaign was cancelled before its owner confirmed."""
    SIMULATED = "simulated"
    """A dry run went through it."""

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self not in _OPEN


_OPEN: Final = frozenset({TargetStatus.PLANNED, TargetStatus.AWAITING_OWNER, TargetStatus.UNKNOWN})
OPEN_TARGETS: Final = tuple(sorted(status.value for status in _OPEN))
"""For SQL: targets that keep a run from being finished."""
