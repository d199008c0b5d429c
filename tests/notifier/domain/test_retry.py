"""What follows a try: the table of the policy, each line with its bounds, and total."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.retry import JITTER, RECOGNISED, Answer, RetryClass, Spent, after, forgotten
from services.notifier.domain.routing import Channel
from services.notifier.domain.rules import Priority
from tests.notifier.domain.builders import NOW, SECOND

S, C = AttemptState, RetryClass
BUSY = Answer(S.REJECTED_RETRYABLE, C.RETRY, -1)
STALE = Answer(S.REJECTED_RETRYABLE, C.REFRESH, 42001)
FAST = Answer(S.REJECTED_RETRYABLE, C.REST, 45009)
LOST = Answer(S.UNKNOWN)
UNSENT = Answer(S.NOT_SENT)


def follow(answer, *, channel=Channel.APP, priority=Priority.NORMAL, jitter=0.0, **spent):
    return after(
        answer,
        channel=channel,
        priority=priority,
        spent=Spent(**spent),
        now=NOW,
        started_at=NOW,
        jitter=jitter,
    )


@pytest.mark.parametrize("answer", [BUSY, UNSENT, LOST], ids=["busy", "not sent", "unknown"])
def test_three_further_tries_after_one_two_and_five_seconds(answer):
    waits = [(follow(answer, retries=used).due_at - NOW) / SECOND for used in range(3)]
    assert waits == [1, 2, 5]
    assert all(follow(answer, retries=used).counts_as_retry for used in range(3))
    assert follow(answer, retries=3).status in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN)


def test_the_end_of_the_tries_says_the_errcode():
    assert follow(BUSY, retries=3).reason == "retries_exhausted:-1"
    assert follow(UNSENT, retries=3).reason == "retries_exhausted"


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_only_ever_adds_and_little(jitter):
    wait = follow(BUSY, retries=2, jitter=jitter).due_at - NOW
    assert 5 * SECOND <= wait <= 5 * SECOND * (1 + JITTER)


def test_a_stale_token_is_replaced_at_once_and_the_first_time_is_free():
    first = follow(STALE)
    assert (first.due_at, first.counts_as_retry, first.counts_as_refresh) == (NOW, False, True)
    second = follow(STALE, refreshes=1)
    assert (second.due_at, second.counts_as_retry) == (NOW + SECOND, True)
    assert follow(STALE, refreshes=1, retries=3).status is DeliveryStatus.FAILED


@pytest.mark.parametrize(
    ("asked", "rested"),
    [(None, 60), (1, 5), (5, 5), (90, 90), (10**6, 3600)],
)
def test_an_account_that_was_too_fast_rests_at_no_cost(asked, rested):
    answer = Answer(S.REJECTED_RETRYABLE, C.REST, None, timedelta(seconds=asked) if asked else None)
    following = follow(answer, retries=3)
    assert following.status is DeliveryStatus.DEFERRED
    assert following.rest_until == following.due_at == NOW + timedelta(seconds=rested)
    assert not following.counts_as_retry
    assert following.hold_reason == "rate:app"


def test_a_wait_that_the_errcode_asks_for_is_kept():
    answer = Answer(S.REJECTED_RETRYABLE, C.RETRY, 6000, timedelta(seconds=9))
    assert follow(answer).due_at == NOW + 9 * SECOND
    assert follow(answer).rest_until is None


@pytest.mark.parametrize("permanent", [C.PERM_CONFIG, C.PERM_INPUT, C.PERM_TARGET, C.STATE])
def test_a_refusal_for_good_ends_it_with_its_class_and_code(permanent):
    following = follow(Answer(S.REJECTED_PERMANENT, permanent, 60020))
    assert (following.status, following.reason) == (DeliveryStatus.FAILED, f"{permanent}:60020")


def test_nothing_sent_for_want_of_a_token_follows_what_refused_the_token():
    assert follow(Answer(S.NOT_SENT, C.PERM_CONFIG, 40001)).reason == "perm_config:40001"
    assert follow(Answer(S.NOT_SENT, C.REST, 45009)).rest_until is not None
    assert follow(Answer(S.NOT_SENT, C.RETRY, -1)).counts_as_retry


@pytest.mark.parametrize("priority", Priority)
def test_a_robots_post_of_unclear_outcome_is_repeated_once_marked_and_only_if_urgent(priority):
    first = follow(LOST, channel=Channel.ROBOT, priority=priority)
    if priority <= Priority.HIGH:
        assert (first.status, first.resend_mark) == (DeliveryStatus.DEFERRED, True)
    else:
        assert first.status is DeliveryStatus.UNKNOWN
    again = follow(LOST, channel=Channel.ROBOT, priority=priority, resent=True, retries=1)
    assert again.status is DeliveryStatus.UNKNOWN


@pytest.mark.parametrize("answer", [BUSY, UNSENT, FAST], ids=["busy", "not sent", "too fast"])
def test_a_marked_repeat_keeps_its_mark_when_it_has_to_wait(answer):
    following = follow(
        answer, channel=Channel.ROBOT, priority=Priority.URGENT, resent=True, retries=1, unclear_since=NOW
    )
    assert following.resend_mark


def test_an_app_message_is_never_marked():
    assert not follow(LOST).resend_mark


@pytest.mark.parametrize("answer", [BUSY, UNSENT, Answer(S.REJECTED_PERMANENT, C.PERM_CONFIG, 40001)])
def test_what_was_unclear_once_ends_as_unknown_not_as_failed(answer):
    assert follow(answer, retries=3, unclear_since=NOW).status is DeliveryStatus.UNKNOWN


@pytest.mark.parametrize("answer", [LOST, BUSY, UNSENT, STALE])
def test_the_same_bytes_go_again_only_while_the_platform_recognises_them(answer):
    recent = NOW + 10 * SECOND - RECOGNISED
    assert follow(answer, unclear_since=recent).status is DeliveryStatus.DEFERRED
    assert follow(answer, unclear_since=NOW - RECOGNISED).status is DeliveryStatus.UNKNOWN


def test_a_rest_that_outlasts_the_platforms_memory_ends_the_tries():
    answer = Answer(S.REJECTED_RETRYABLE, C.REST, 45009, timedelta(hours=1))
    following = follow(answer, unclear_since=NOW)
    assert following.status is DeliveryStatus.UNKNOWN
    assert following.rest_until == NOW + timedelta(hours=1)


def test_a_late_try_asks_whether_it_would_be_a_second_message():
    assert not forgotten(None, NOW)
    assert not forgotten(NOW - RECOGNISED + SECOND, NOW)
    assert forgotten(NOW - RECOGNISED, NOW)


def test_an_answer_that_is_still_out_is_not_decided_on():
    with pytest.raises(ValueError, match="still out"):
        follow(Answer(S.STARTED))


@pytest.mark.parametrize(
    ("state", "asked", "channel", "priority"),
    list(itertools.product(set(S) - {S.STARTED}, [None, *C], Channel, Priority)),
    ids=str,
)
def test_every_case_is_decided_and_ends(state, asked, channel, priority):
    answer = Answer(state, asked)
    spent, steps = Spent(), 0
    while True:
        following = after(
            answer, channel=channel, priority=priority, spent=spent, now=NOW, started_at=NOW, jitter=0.5
        )
        deferred = following.status is DeliveryStatus.DEFERRED
        assert deferred == (following.due_at is not None) == bool(following.hold_reason)
        assert deferred or following.status in (
            DeliveryStatus.ACCEPTED,
            DeliveryStatus.FAILED,
            DeliveryStatus.UNKNOWN,
        )
        assert (following.status in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN)) == bool(following.reason)
        if not deferred or following.rest_until is not None:
            break
        spent = Spent(
            spent.retries + following.counts_as_retry,
            spent.refreshes + following.counts_as_refresh,
            following.resend_mark,
            NOW if state is S.UNKNOWN else None,
        )
        steps += 1
        assert steps <= 4
