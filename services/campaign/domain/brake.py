"""When something is so wrong that nobody else should be asked: the campaign pauses, and a person looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.campaign.domain.outcomes import TaskStatus
from shared.values import value_class

LOOKED_AT: Final = 20
"""The last tasks of a run that count."""
FEWEST: Final = 5
"""Fewer than so many bad ones are no pattern."""
SHARE: Final = 0.3
"""Of those looked at, from which on the campaign pauses."""
CANARY_SHARE: Final = 1 / 3
"""Of the canary's tasks, from which on the others are not asked by themselves."""

OWN_CHECK: Final = "no_group_left"
"""Why a task is refused of which our own check at the last moment left nothing."""
WINDOW_OVER: Final = "window_over"
"""Why a task is refused whose window never opens again."""
OWN_REASONS: Final = frozenset({OWN_CHECK, WINDOW_OVER})
"""Refusals of our own, which are no sign of a fault."""

BRAKE: Final = "brake"
"""Why a campaign that was stopped here is paused."""
CANARY_FAILED: Final = "canary_failed"


@value_class
class Ended:
    """How the making of one task ended."""

    status: TaskStatus
    own_check: bool = False
    """Whether nobody but ourselves refused it."""

    @property
    def bad(self) -> bool:
        """Whether it counts against the campaign."""
        return not self.own_check and self.status in (TaskStatus.REFUSED, TaskStatus.UNKNOWN)


def pulled(last: Sequence[Ended]) -> bool:
    """Whether the *last* tasks, up to ``LOOKED_AT`` of them, are bad enough."""
    bad = sum(one.bad for one in last)
    return bad >= FEWEST and bad >= SHARE * len(last)


def canary_failed(canary: Sequence[Ended]) -> bool:
    """Whether what became of all tasks of the first owners speaks against asking the others."""
    return sum(one.bad for one in canary) >= max(1.0, CANARY_SHARE * len(canary))
