"""Whether a campaign may go to a group, and if not, the one fact that decides."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from services.campaign.domain.audience import Facts
from services.campaign.domain.groups import OPTED_OUT, GoneReason, GroupStatus
from shared.values import value_class


class Reason(StrEnum):
    """Why nothing is sent to a group; stable words."""

    DISMISSED = "dismissed"
    NOT_IN_RANGE = "not_in_range"
    NOT_READ = "not_read"
    """Nothing is known of it but its id: its reading is due, or was denied."""
    NO_OWNER = "no_owner"
    OWNER_LEFT = "owner_left"
    BEING_INHERITED = "being_inherited"
    OPTED_OUT = "opted_out"
    SILENT = "silent"
    NO_SLOT_TODAY = "no_slot_today"
    """It has received as many mass messages as it may."""
    OTHER_STORE = "other_store"
    """It belongs to another store by now."""


@value_class
class Standing:
    """What decides beside the facts of a filter."""

    status: GroupStatus
    gone_reason: str
    gone_at: datetime | None
    read_at: datetime | None
    read_error: str


@value_class
class Verdict:
    """Why not, and the fact that decided, for people; both empty where nothing speaks against it."""

    reason: str = ""
    detail: str = ""


GO = Verdict()


def judged(
    facts: Facts, standing: Standing, now: datetime, *, silent_days: int = 0, full: str = ""
) -> Verdict:
    """The first that speaks against it, the lasting before the passing.

    *silent_days* is how long a silence leaves it out (0: none does), *full* which receiving limit is reached.
    """
    if standing.gone_reason == GoneReason.DISMISSED:
        return Verdict(Reason.DISMISSED, f"dismissed, seen {_day(standing.gone_at)}")
    if standing.gone_reason:
        return Verdict(
            Reason.NOT_IN_RANGE, f"not among the groups that the secret sees since {_day(standing.gone_at)}"
        )
    if standing.read_at is None:
        return Verdict(Reason.NOT_READ, f"never read: {standing.read_error or 'due'}")
    if not facts.owner:
        return Verdict(Reason.NO_OWNER, "the platform names no owner")
    if standing.status is GroupStatus.OWNER_LEFT:
        return Verdict(Reason.OWNER_LEFT, f"{facts.owner} has left the company")
    if standing.status is GroupStatus.BEING_INHERITED:
        return Verdict(Reason.BEING_INHERITED, f"it is on its way from {facts.owner} to another owner")
    if OPTED_OUT in facts.labels:
        return Verdict(Reason.OPTED_OUT, f"labelled {OPTED_OUT}")
    days = facts.silent_days(now)
    if silent_days and days is not None and days >= silent_days:
        return Verdict(
            Reason.SILENT, f"nobody joined or left for {days} days, since {_day(facts.stirred_at)}"
        )
    if full:
        return Verdict(Reason.NO_SLOT_TODAY, full)
    return GO


def _day(at: datetime | None) -> str:
    return "an unknown day" if at is None else f"{at:%Y-%m-%d}"
