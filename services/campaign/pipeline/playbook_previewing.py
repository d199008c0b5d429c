"""Which groups a playbook would tell what on which days: the days of a run played through with what is known of groups.

A group is played by itself: which steps it would have had, and when something would last have been sent to it. So any
number of groups is looked at a page at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import audience
from services.campaign.domain.audience import Facts, Filter
from services.campaign.domain.eligibility import Reason
from services.campaign.domain.playbook import Anchor, Step
from services.campaign.domain.playbook_calendar import Calendar, Occurrence
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.store import group_lists
from services.campaign.store.group_lists import GroupView, Wish
from shared.values import value_class

PAGE: Final = 500
"""Groups looked at at once: nobody else's call waits for longer than the days of so many take."""


@value_class
class Touch:
    """That a group would be told a step."""

    occurrence: Occurrence
    reason: str = ""
    """Why nothing would be sent to it; '' where something would."""
    detail: str = ""
    no_slot: str = ""
    """Which limit it has reached on that day as far as is known now; '' where it has room."""


@value_class
class GroupDays:
    """A group and what it would be told, in order."""

    facts: Facts
    touches: tuple[Touch, ...]


@dataclass(slots=True)
class DayCount:
    """How many groups a step on one day would be for, and why it would not be sent to others; counted as they come."""

    groups: int = 0
    no_slot: int = 0
    """Of these, how many have no room on that day as far as is known now."""
    excluded: Counter[str] = field(default_factory=Counter)


@value_class
class Played:
    """What a preview came to."""

    occurrences: Sequence[Occurrence]
    counts: Mapping[tuple[date, int], DayCount] | None
    """By place; None where only a later page of groups was asked for."""
    groups: Sequence[GroupDays]
    """By chat id, at most as many as were asked for."""


class _Group:
    """One group while it is played."""

    def __init__(self, view: GroupView) -> None:
        self.view, self.facts = view, view.facts
        self.had: dict[int, date] = {}
        self.left_out: set[int] = set()
        self.touches: list[Touch] = []


class Player:
    """Plays the days of one calendar."""

    def __init__(
        self, groups: StoredGroups, calendar: Calendar, occurrences: Sequence[Occurrence], now: datetime
    ) -> None:
        self._groups = groups
        self._calendar = calendar
        self._occurrences = occurrences
        self._now = now
        self._steps = calendar.playbook.steps
        self._numbers = {one.name: at for at, one in enumerate(self._steps)}
        self._filters = [
            audience.read(calendar.audience(self._steps[one.step], one.day)) for one in occurrences
        ]
        asks = frozenset[str]().union(*(one.asks for one in self._filters))
        self._wish = Wish(True, "join_state" in asks, "not_sent_for_days" in asks)

    async def play(
        self, conn: AsyncConnection, store_id: str, *, after: str, limit: int, counted: bool
    ) -> Played:
        """The first *limit* groups behind *after* that any step is for; where it is *counted*, all are looked at."""
        counts = {one.place: DayCount() for one in self._occurrences}
        found: list[GroupDays] = []
        while counted or len(found) < limit:
            page = await group_lists.of_store(conn, store_id, after=after, limit=PAGE, wish=self._wish)
            players = [_Group(view) for view in page if not view.standing.gone_reason]
            for one, chosen in zip(self._occurrences, self._filters, strict=True):
                await self._day(conn, store_id, one, chosen, players, counts[one.place])
            told = [GroupDays(one.view.facts, tuple(one.touches)) for one in players if one.touches]
            found += told[: limit - len(found)]
            if len(page) < PAGE:
                break
            after = page[-1].facts.chat_id
        return Played(self._occurrences, counts if counted else None, found)

    async def _day(
        self,
        conn: AsyncConnection,
        store_id: str,
        occurrence: Occurrence,
        chosen: Filter,
        players: Sequence[_Group],
        count: DayCount,
    ) -> None:
        step, as_of = self._steps[occurrence.step], max(self._now, occurrence.opens_at)
        meant = [
            one
            for one in players
            if occurrence.step not in one.had
            and self._may(one, step, occurrence)
            and chosen.chooses(one.facts, as_of)
        ]
        verdicts = await self._groups.verdicts(conn, store_id, [one.view for one in meant], as_of)
        for one, verdict in zip(meant, verdicts, strict=True):
            full = verdict.detail if verdict.reason == Reason.NO_SLOT_TODAY else ""
            if verdict.reason and not full:
                count.excluded[verdict.reason] += 1
                if occurrence.step not in one.left_out:
                    one.left_out.add(occurrence.step)
                    one.touches.append(Touch(occurrence, verdict.reason, verdict.detail))
                continue
            # Room is looked for when it is sent: a campaign is drafted for those as well that have none yet.
            count.groups += 1
            count.no_slot += bool(full)
            one.had[occurrence.step] = occurrence.day
            if self._wish.sent:
                one.facts = replace(one.facts, last_sent_at=as_of)
            one.touches.append(Touch(occurrence, no_slot=full))

    def _may(self, one: _Group, step: Step, occurrence: Occurrence) -> bool:
        """Whether a group had the step before, long enough ago, where there is one."""
        if step.anchor is not Anchor.STEP:
            return True
        had = one.had.get(self._numbers[step.after])
        return had is not None and had <= self._calendar.told_by(step, occurrence.day)
