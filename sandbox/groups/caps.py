"""How many mass messages a group may receive: in a day, a week and a month of the platform's own zone."""

from calendar import monthrange
from collections import Counter
from datetime import datetime, timedelta, timezone

from sandbox.profile import Profile

_ZONE = timezone(timedelta(hours=8))  # Asia/Shanghai, which has no summer time


class ReceiveCounts:
    """What each group has received. All mass messages of the corp count together; a limit of 0 is none."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Nobody has received anything."""
        self._taken: Counter[tuple[str, str]] = Counter()

    def take(self, chat_id: str, at: float) -> bool:
        """Count one more at an instant, if it fits; whether it does."""
        limits = self._limits(datetime.fromtimestamp(at, _ZONE))
        if any(limit and self._taken[chat_id, period] >= limit for period, limit in limits):
            return False
        # Each period is counted although it may have no limit now: the profile may get one.
        self._taken.update((chat_id, period) for period, _ in limits)
        return True

    def _limits(self, day: datetime) -> list[tuple[str, int]]:
        profile = self._profile
        monthly = profile.group_sends_per_month
        return [
            (day.strftime("day %Y-%m-%d"), profile.group_sends_per_day),
            (day.strftime("week %G-%V"), profile.group_sends_per_week),
            (
                day.strftime("month %Y-%m"),
                monthrange(day.year, day.month)[1] if monthly == "days" else monthly,
            ),
        ]
