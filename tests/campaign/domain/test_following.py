"""What follows from a look, and when a reminder is due: any history, never four in a day, never at night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.following import (
    A_DAY,
    REMINDERS_A_DAY,
    Fault,
    Policy,
    Reminded,
    Reminder,
    after_fault,
    fault_of,
    free_at,
    next_look,
    next_reminder,
    status_of,
)
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.window import default_window, is_open
from shared.wecom.errcodes import classify
from shared.wecom.outcome import Outcome, State

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WINDOW = default_window("Asia/Shanghai")


def test_the_platforms_numbers_mean_what_its_page_says_and_others_decide_nothing() -> None:
    assert [status_of(raw) for raw in range(5)] == [
        TargetStatus.AWAITING_OWNER,
        TargetStatus.SENT,
        TargetStatus.GROUP_GONE,
        TargetStatus.LIMIT_REACHED,
        None,
    ]
    assert status_of(-1) is None


@given(st.integers(0, 30), st.timedeltas(-DAY, 5 * DAY))
def test_a_look_is_never_put_off_past_the_deadline_and_never_for_ever(looks: int, left: timedelta) -> None:
    due = next_look(looks, NOON, NOON + left)
    assert NOON < due <= NOON + HOUR
    if left > timedelta(0):
        assert due <= NOON + left


@pytest.mark.parametrize(
    ("errcode", "fault"),
    [
        (-1, Fault.AGAIN),
        (45009, Fault.REST),
        (40014, Fault.TOKEN),
        (42001, Fault.TOKEN),
        (48002, Fault.SETTING),
        (41063, Fault.AGAIN),
        (41093, Fault.STOPPED),
        (41047, Fault.NOT_FOUND),
        (99999, Fault.AGAIN),
    ],
)
def test_each_refusal_has_its_class(errcode: int, fault: Fault) -> None:
    entry = classify(errcode)
    outcome = Outcome(
        State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT,
        errcode=errcode,
        retry_class=entry.retry_class,
    )
    assert fault_of(outcome) is fault
    waits = [after_fault(fault, outcome, failures, NOON) - NOON for failures in range(12)]
    assert waits == sorted(waits)
    assert timedelta(0) <= waits[0]
    assert waits[-1] <= HOUR


def test_an_answer_that_did_not_come_is_asked_for_again() -> None:
    for state in (State.NOT_SENT, State.UNKNOWN):
        assert fault_of(Outcome(state, cause="timeout")) is Fault.AGAIN
    assert fault_of(Outcome(State.ACCEPTED)) is None


REMINDERS = st.builds(
    Reminder,
    number=st.just(1),
    by=st.sampled_from(["", "op"]),
    asked_at=st.timedeltas(-2 * DAY, timedelta(0)).map(lambda ago: NOON + ago),
    began_at=st.just(NOON),
    outcome=st.sampled_from(["", *(one.value for one in Reminded)]),
    errcode=st.just(None),
)


@given(st.lists(REMINDERS, max_size=8), st.timedeltas(timedelta(minutes=1), DAY), st.integers(0, 10))
def test_whatever_was_given_before_the_next_is_by_day_before_the_deadline_and_no_fourth(
    had: list[Reminder], every: timedelta, most: int
) -> None:
    made_at, confirm_by = NOON - 2 * DAY, NOON + DAY
    due = next_reminder(Policy(every, most), WINDOW, had, made_at, confirm_by, NOON)
    if due is None:
        return
    assert NOON <= due < confirm_by
    assert is_open(WINDOW, due)
    counted = [one.asked_at for one in had if one.counts]
    assert sum(at > due - A_DAY for at in counted) < REMINDERS_A_DAY
    assert all(due - at >= every for at in counted)
    assert sum(one.counts and not one.by for one in had) < most
    assert due >= free_at(had, NOON)


@given(st.lists(st.timedeltas(timedelta(0), 6 * HOUR), min_size=1, max_size=40))
def test_reminders_given_whenever_they_may_be_are_never_four_in_a_day(steps: list[timedelta]) -> None:
    now, had = NOON, list[Reminder]()
    for step in steps:
        now += step
        if free_at(had, now) <= now:
            had.append(Reminder(len(had) + 1, "op", now, now, "given", None))
    times = [one.asked_at for one in had]
    assert all(sum(at <= other < at + DAY for other in times) <= 3 for at in times)
