"""What the room that follows tasks checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.campaign.store import follows
from shared.clock import Clock
from shared.db.engine import Database
from shared.ops.finding import CheckStatus, Finding
from shared.ops.part import Check
from shared.wecom.errcodes import classify

LATE: Final = timedelta(hours=1)
"""So long after its deadline a task should have been looked at for the last time."""


class FollowDoctor:
    """The check of what became of campaigns."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def checks(self) -> Sequence[Check]:
        """One."""
        return (self.follow_ups,)

    async def follow_ups(self) -> Sequence[Finding]:
        """Does the platform tell what became of the tasks whose time is over?"""
        name = "campaign_follow_ups"
        async with self._database.read() as conn:
            late = await follows.late(conn, self._clock.now() - LATE)
        if not late.count:
            return [
                Finding(name, CheckStatus.OK, "of every task whose deadline has passed the outcome is known")
            ]
        since = "" if late.since is None else f", the first since {late.since:%Y-%m-%d %H:%M} UTC"
        why = f": {late.error}" if late.error else ""
        found = (
            f"of {late.count} tasks past their deadline the platform does not tell the outcome{since}{why}"
        )
        advice = classify(late.errcode).advice if late.errcode else ""
        fix = advice or "see the log of campaign for `task not followed`; their campaigns cannot end before"
        return [Finding(name, CheckStatus.FAILED, found, fix)]
