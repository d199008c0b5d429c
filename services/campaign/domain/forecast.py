"""What a campaign would do, before it does it: which tasks, and when they would be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from services.campaign.domain.campaign import GROUPS_A_TASK, Canary
from services.campaign.domain.window import SendWindow, openings
from shared.values import value_class

SHOWN: Final = 31
"""Openings that a forecast tells."""


@value_class
class Opening:
    """One opening of the window in which tasks are made."""

    start: datetime
    end: datetime
    tasks: int


@value_class
class Forecast:
    """When tasks would be made."""

    openings: tuple[Opening, ...]
    end: datetime | None
    """When the last one would be; None where the window does not open for all of them."""


def tasks_of(groups: int) -> int:
    """How many tasks an owner of so many groups is asked for."""
    return ceil(groups / GROUPS_A_TASK)


def forecast(
    window: SendWindow, begins: datetime, owners: Mapping[str, int], canary: Canary, qps: int
) -> Forecast:
    """When the tasks of *owners* (and how many groups they have) would be made, from *begins* on, *qps* a second.

    The first owners of a canary are those that come first by name.
    """
    counts = [tasks_of(owners[owner]) for owner in sorted(owners)]
    first = sum(counts[: canary.owners])
    found: list[Opening] = []
    end: datetime | None = begins
    for tasks, wait in ((first, timedelta(0)), (sum(counts) - first, canary.wait if first else timedelta(0))):
        if tasks and end is not None:
            end = _make(window, end + wait, tasks, qps, found)
    return Forecast(tuple(found[:SHOWN]), end if found else None)


def _make(window: SendWindow, at: datetime, tasks: int, qps: int, found: list[Opening]) -> datetime | None:
    """Lay *tasks* into openings from *at* on; when the last is made, None where they do not all find a place."""
    for start, end in openings(window, at):
        room = int((end - start).total_seconds() * qps)
        taken = min(tasks, room)
        if not taken:
            continue
        _add(found, Opening(start, end, taken))
        tasks -= taken
        if not tasks:
            return start + timedelta(seconds=(taken - 1) / qps)
    return None


def _add(found: list[Opening], new: Opening) -> None:
    if found and found[-1].end == new.end:
        found[-1] = Opening(found[-1].start, new.end, found[-1].tasks + new.tasks)
    else:
        found.append(new)


def most(owners: Mapping[str, int], count: int) -> Sequence[tuple[str, int]]:
    """The *count* owners with the most groups, those first."""
    return sorted(owners.items(), key=lambda one: (-one[1], one[0]))[:count]
