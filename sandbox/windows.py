"""Counting in windows: how the platform's rate limits are kept."""

from collections import deque
from typing import Literal

WindowKind = Literal["sliding", "fixed"]


class RateWindows:
    """At most `limit` takings per `seconds` for each key.

    Sliding: any stretch of that length. Fixed: stretches that start at multiples of it. Keys that have fallen
    silent are forgotten, so memory follows the recent traffic.
    """

    _SWEEP_AT = 20_000

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._taken: dict[str, deque[float]] = {}
        self._sweep_at = self._SWEEP_AT

    def room(self, key: str, limit: int, now: float, kind: WindowKind) -> bool:
        """Whether one more fits now; a limit of 0 means none is kept."""
        taken = self._taken.get(key)
        if not limit or taken is None:
            return True
        start = now - now % self._seconds if kind == "fixed" else now - self._seconds
        while taken and (taken[0] < start if kind == "fixed" else taken[0] <= start):
            taken.popleft()
        while taken and taken[-1] > now:  # the clock was set back
            taken.pop()
        return len(taken) < limit

    def take(self, key: str, now: float) -> None:
        """Count one."""
        taken = self._taken.get(key)
        if taken is None:
            if len(self._taken) >= self._sweep_at:
                self._sweep(now)
            taken = self._taken[key] = deque()
        taken.append(now)

    def clear(self) -> None:
        """Forget all counts."""
        self._taken.clear()

    def _sweep(self, now: float) -> None:
        live = {key: taken for key, taken in self._taken.items() if taken and taken[-1] > now - self._seconds}
        self._taken = live
        self._sweep_at = max(self._SWEEP_AT, 2 * len(live))
