"""Tokens: what a call is guessed to cost, what it did cost, and the days and months they count for."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.ai_orchestrator.domain.call import CallProblem, Completion, Tokens
from shared.values import value_class

EVERY_STORE: Final = ""
"""The store under which what all stores spend is counted."""
HOLDS_SETTLE: Final = timedelta(seconds=5)
"""When to look again for room that only calls under way take."""

_BYTES_PER_TOKEN: Final = 2
"""Fewer bytes than any tokenizer makes a token of on average, in Chinese or figures: a hold errs upwards."""
_FIRST_EXTRA: Final = 4000
_DECAY: Final = 8


@value_class
class Cost:
    """What an application has cost beyond its prompts' length: hidden prompts, retrieved text and the reply."""

    extra: int = _FIRST_EXTRA
    """Tokens; the highest seen, sinking slowly when calls cost less."""
    calls: int = 0
    """From so many it is learned."""

    def guess(self, prompt_bytes: int) -> int:
        """What a call with such a prompt is held for: a quarter more than was seen, for calls that do not tell."""
        return -(-prompt_bytes // _BYTES_PER_TOKEN) + self.extra + self.extra // 4

    def learned(self, prompt_bytes: int, tokens: int) -> Cost:
        """After a call that cost *tokens*."""
        seen = max(1, tokens + prompt_bytes // -_BYTES_PER_TOKEN)
        sunk = self.extra - -(-(self.extra - seen) // _DECAY)
        return Cost(seen if seen >= self.extra else sunk, self.calls + 1)


def charged(outcome: Completion | CallProblem, held: int) -> int:
    """What a call that was held for *held* is charged: what it says it cost; what says nothing, the whole hold."""
    if isinstance(outcome, Completion):
        return held if outcome.usage is None else outcome.usage.total
    return 0 if outcome.tokens is Tokens.RELEASE else held


@value_class
class Ceiling:
    """The most that may be spent, in tokens."""

    day: int
    month: int


@value_class
class Window:
    """A day or a month of a zone."""

    name: str
    """``2026-03-02`` or ``2026-03``."""
    ends_at: datetime
    """When the next one begins."""


def windows_of(now: datetime, zone: ZoneInfo) -> tuple[Window, Window]:
    """The day and the month of an instant."""
    day = now.astimezone(zone).date()
    month = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return (
        Window(day.isoformat(), _begins(day + timedelta(days=1), zone)),
        Window(day.isoformat()[:7], _begins(month, zone)),
    )


def _begins(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
