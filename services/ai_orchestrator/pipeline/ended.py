"""A call that is over, as the gates see it: what it is charged, and what it says about the breakers it went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from services.ai_orchestrator.domain.breaking import (
    Said,
    key_of,
    keys_of,
    remembered,
    said,
    trips,
    troubled,
)
from services.ai_orchestrator.domain.call import CallProblem, Completion, Count, Outcome
from services.ai_orchestrator.domain.gating import Wish
from services.ai_orchestrator.domain.slowing import struck
from services.ai_orchestrator.store.breakers import Row
from services.ai_orchestrator.store.budgets import Called, Hold
from shared.breaker import Figures, Sign, Tried, after
from shared.values import value_class

_DETAIL: Final = 300


@value_class
class Ended:
    """A call that has ended, and what it is charged."""

    wish: Wish
    hold: Hold
    outcome: Outcome
    tokens: int

    @property
    def keys(self) -> Sequence[str]:
        """The breakers it went through."""
        return keys_of(self.wish.app_type)

    @property
    def told(self) -> bool:
        """Whether it said what it cost."""
        return isinstance(self.outcome, Completion) and self.outcome.usage is not None

    @property
    def called(self) -> Called:
        """What is learned of it."""
        return Called(self.wish.app_type, self.wish.prompt_bytes, self.tokens)

    @property
    def slows(self) -> str | None:
        """What it slows down, having been throttled."""
        if isinstance(self.outcome, CallProblem) and self.outcome.count is Count.SLOW:
            return key_of(self.outcome.scope, self.wish.app_type)
        return None

    def says(self, key: str) -> Said:
        """What it says about a breaker."""
        return said(self.outcome, key, self.wish.app_type)

    def tells(self, key: str, row: Row | None) -> bool:
        """Whether that changes how it stands: a success of what works writes nothing, and nobody waits for its row."""
        unclean = row is not None and (not row.breaker.clean or troubled(row.recent))
        return unclean or key == self.slows or self.says(key).sign is Sign.FAILS


def counted(row: Row, one: Ended, now: datetime, figures: Figures, jitter: Callable[[], float]) -> Row:
    """How a breaker stands after a call."""
    says, before, slowdown = one.says(row.key), row.breaker, row.slowdown
    recent = remembered(row.recent, says)
    opens = says.opens or (says.sign is Sign.FAILS and trips(recent, figures.threshold))
    tried = _tried(says.sign, one, opens=opens)
    standing = after(before, tried, now=now, figures=figures, jitter=jitter())
    if standing.holds or before.holds:
        recent = ""  # an opening is judged by its probes, and what follows it begins anew
    if isinstance(one.outcome, CallProblem) and one.slows == row.key:
        began, retry_at = one.hold.taken_at, one.outcome.retry_at
        slowdown = struck(slowdown, began=began, retry_at=retry_at, now=now, jitter=jitter())
    return Row(row.key, standing, recent, slowdown, "")


def _tried(sign: Sign, one: Ended, *, opens: bool) -> Tried:
    outcome, began = one.outcome, one.hold.taken_at
    if isinstance(outcome, Completion) or sign is not Sign.FAILS:
        return Tried(sign, began, one.wish.attempt_id, one.wish.store_id)
    detail = f"{outcome.code}: {outcome.message}" if outcome.code else outcome.message
    return Tried(
        sign,
        began,
        one.wish.attempt_id,
        one.wish.store_id,
        outcome.reason,
        detail=detail[:_DETAIL],
        opens=opens,
    )
