"""What the story of a campaign is told from, and the story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from services.campaign.domain.campaign import Spec
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.words import Text
from shared.values import value_class

EXCLUDED: Final = "excluded"
NOT_RUN: Final = "not_run"


@value_class
class Step:
    """One thing that happened, was decided, or holds."""

    code: str
    zh: str
    en: str
    at: datetime


@value_class
class Story:
    """What is told of one campaign, or of one group or task in it."""

    campaign_id: str
    name: str
    verdict: str
    steps: Sequence[Step]
    next: Text = ("", "")
    chat_id: str = ""
    task_id: str = ""


@value_class
class About:
    """The campaign that is told of."""

    id: str
    spec: Spec
    status: Status
    reason: str
    version: int
    finished_at: datetime | None
    refused: str = ""
    """Why it may not be sent now, where it is approved and does not run; '' where it may."""

    topped_up_by: str = ""
    """The campaign that asks once more for groups that it did not reach; '' where there is none."""

    def when(self, at: datetime) -> str:
        """An instant on the clocks of its window."""
        zone = self.spec.window.zone
        return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S} {zone}"


@value_class
class Written:
    """A version."""

    version: int
    how: str
    editor: str
    at: datetime


@value_class
class Decided:
    """What somebody said of a version."""

    version: int
    approver: str
    approved: bool
    comment: str
    at: datetime
    expires_at: datetime


@value_class
class Moved:
    """A move from state to state."""

    before: str
    after: str
    by: str
    reason: str
    comment: str
    at: datetime


@value_class
class Frozen:
    """The groups of a version."""

    included: int
    excluded: int
    at: datetime


@value_class
class Ran:
    """A run, and where its groups stand."""

    id: str
    dry: bool
    by: str
    at: datetime
    groups: Mapping[TargetStatus, int]
    holds: Mapping[str, int]
    """What its open tasks wait for, and how many of each."""


@value_class
class Tried:
    """One request for a task."""

    number: int
    outcome: str
    errcode: int | None
    error: str
    at: datetime


@value_class
class Reminded:
    """One reminder of an owner."""

    by: str
    outcome: str
    """'' while it is under way."""
    at: datetime


@value_class
class TaskTold:
    """An owner's task."""

    id: str
    owner: str
    dry: bool
    status: TaskStatus
    hold_reason: str
    due_at: datetime
    reason: str
    errcode: int | None
    error: str
    msgid: str
    groups: Mapping[TargetStatus, int]
    created_at: datetime
    updated_at: datetime
    made_at: datetime | None
    confirm_by: datetime | None
    confirmed_at: datetime | None
    tries: Sequence[Tried]
    reminders: Sequence[Reminded]

    def until(self, about: About) -> datetime | None:
        """Until when its owner may confirm; None where they were not asked."""
        if self.made_at is None:
            return None
        return self.confirm_by or self.made_at + about.spec.confirm_within


@value_class
class GroupTold:
    """A group of a run."""

    status: TargetStatus
    raw_status: int | None
    reason: str
    errcode: int | None
    error: str
    sent_at: datetime | None
    updated_at: datetime
