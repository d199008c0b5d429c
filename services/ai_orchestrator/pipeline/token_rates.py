"""Tokens a minute, beside calls a minute: the platform counts both, for the whole account.

A call counts with what it is held for, in its store's window and in everybody's; when it is over and has cost less, the rest
is given back. The windows are in the rows of the rates of calls, so one reservation asks for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from services.ai_orchestrator.domain.gating import Wish
from services.ai_orchestrator.store.budgets import Hold
from shared.db.limits import Release, Request
from shared.limits import Limit
from shared.values import value_class

_MINUTE: Final = timedelta(minutes=1)


def per_minute(most: int) -> Limit:
    """The limit of a rate of so many tokens a minute."""
    return Limit("tokens", max(1, most), _MINUTE, exact=False)


@value_class
class TokenRates:
    """How many tokens a minute may leave, as the deployment says."""

    each: int
    """Of one store."""
    together: int
    """Of all stores."""
    prewarm_percent: int

    def request(self, wish: Wish, tokens: int, keys: tuple[str, str]) -> Request:
        """The wish for room; *keys* are of the rates of its store and of all.

        A call that is larger than a window goes when that is empty.
        """
        each, together = (per_minute(self._share(most, wish)) for most in (self.each, self.together))
        mine, everybodys = keys
        fits = min(tokens, each.max, together.max)
        return Request(mine, (each,), max(1, fits), beside=((everybodys, (together,)),))

    def releases(
        self, wish: Wish, hold: Hold, charged: int, keys: tuple[str, str], now: datetime
    ) -> Sequence[Release]:
        """What a call gives back that has cost less than it was held for, while its minute still counts it."""
        if now - hold.taken_at > _MINUTE + _MINUTE / 60:
            return ()
        rest = self.request(wish, hold.tokens, keys).n - self.request(wish, charged, keys).n
        limit = per_minute(self.together)
        return [Release(key, (limit,), hold.taken_at, rest) for key in keys] if rest > 0 else ()

    def _share(self, most: int, wish: Wish) -> int:
        return most if wish.interactive else most * self.prewarm_percent // 100
