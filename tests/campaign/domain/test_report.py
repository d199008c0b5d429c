"""Sums of reports: each group is at one place."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain import report
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.report import Cell, Prompt, TaskFacts

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)

cells = st.builds(
    Cell,
    status=st.sampled_from(TargetStatus),
    reason=st.sampled_from(["", "a", "b", "unknown_status", "task_not_found"]),
    errcode=st.sampled_from([None, -1, 40058]),
    raw_status=st.sampled_from([None, 0, 1, 2, 3, 9]),
    made=st.booleans(),
    later=st.booleans(),
    count=st.integers(1, 50),
    example=st.sampled_from(["", "x", "y"]),
)
facts = st.builds(
    TaskFacts,
    id=st.uuids().map(str),
    owner=st.sampled_from([f"o{n}" for n in range(8)]),
    status=st.sampled_from(TaskStatus),
    hold_reason=st.just(""),
    due_at=st.just(NOON),
    made_at=st.sampled_from([None, NOON]),
    groups=st.integers(0, 9),
    sent=st.just(0),
    confirmed=st.booleans(),
    awaiting=st.integers(0, 3),
    confirmed_at=st.sampled_from([None, *(NOON + timedelta(minutes=n) for n in range(-1, 9))]),
)


@given(st.lists(cells, max_size=30), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))
def test_every_group_of_the_audience_is_at_one_place(found, excluded):
    told = report.funnel(found, excluded)
    assert told.audience >= told.included >= told.asked >= told.confirmed >= told.sent >= 0
    assert told.audience == sum(excluded.values()) + sum(count for _, count in report.statuses(found))
    standing = dict(report.statuses(found))
    assert told.sent == standing.get(TargetStatus.SENT, 0)
    failures = Counter(one.status for one in report.outcomes(found) for _ in range(one.count))
    well = {
        TargetStatus.SENT,
        TargetStatus.SIMULATED,
        TargetStatus.PLANNED,
        TargetStatus.AWAITING_OWNER,
    }
    assert dict(failures) == {status: count for status, count in standing.items() if status not in well}
    keys = [(one.status, one.reason, one.errcode) for one in report.outcomes(found)]
    assert len(keys) == len(set(keys))
    still = sum(standing.get(status, 0) for status in TargetStatus if not status.over)
    assert report.open_groups(found) == still


@given(st.lists(facts, max_size=30), st.integers(1, 10))
def test_every_task_is_of_one_owner_or_of_the_others(found, most):
    reminders = {one.id: 2 for one in found[::3]}
    named, others = report.league(found, reminders, most)
    every = [*named, *([others] if others else [])]
    assert sum(one.groups for one in every) == sum(one.groups for one in found)
    assert sum(one.asked_tasks for one in every) == sum(one.asked for one in found)
    assert sum(one.confirmed_tasks for one in every) == sum(one.confirmed for one in found)
    assert sum(one.reminders for one in every) == sum(reminders.values())
    assert sum(one.owners for one in every) == len({one.owner for one in found})
    assert len(named) <= most
    assert sum(count for _, count in report.task_statuses(found)) == len(found)


@given(st.lists(facts, max_size=30))
def test_half_took_no_longer_than_the_half_and_nine_of_ten_no_longer_than_that(found):
    told = report.taken(found)
    known = [one.took for one in found if one.took is not None]
    assert told.tasks == len(known)
    if known:
        assert all(took >= timedelta(0) for took in known)
        assert 2 * sum(took <= told.p50 for took in known) >= len(known)
        assert 10 * sum(took <= told.p90 for took in known) >= 9 * len(known)
        assert {told.p50, told.p90} <= set(known)


def test_the_tokens_of_one_prompt_are_counted_together_whatever_was_used():
    one = Prompt("v1", "p", ("m",), 1, 5, 2, 7, used=False)
    other = Prompt("v1", "p", ("m",), 1, 6, 3, 9, used=True)
    third = Prompt("v1", "q", ("m",), 1, 50, 3, 53, used=False)
    assert report.by_prompt([one, third, other]) == [
        third,
        Prompt("v1", "p", ("m",), 2, 11, 5, 16, used=True),
    ]
