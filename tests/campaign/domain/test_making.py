"""What follows from each answer to a request, and from each look for what it may have made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain import making
from services.campaign.domain.making import (
    DELAYS,
    GIVE_UP,
    LOOKS,
    Renewed,
    Sight,
    Tries,
    after_look,
    after_request,
)
from services.campaign.domain.outcomes import TaskStatus
from shared.wecom.errcodes import ENTRIES, RetryClass, classify
from shared.wecom.outcome import Outcome, State

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
TOLD = {**making._OF_OWNER, **making._OF_TASK}
SPECIAL = {*TOLD, 0}
FRESH = Tries()


def said(code: int) -> Outcome:
    """The platform's refusal, as the client reads it."""
    entry = classify(code)
    state = State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT
    return Outcome(state, errcode=code, retry_class=entry.retry_class, retry_after=entry.retry_after)


def of_class(*classes: RetryClass) -> list[int]:
    return sorted(code for code, one in ENTRIES.items() if one.retry_class in classes and code not in SPECIAL)


def after(outcome: Outcome, tries: Tries = FRESH) -> making.Next:
    return after_request(outcome, tries, NOW, retry_max=3)


@pytest.mark.parametrize(("code", "reason"), sorted(TOLD.items()))
def test_a_refusal_of_one_owner_or_one_task_ends_that_task_with_a_stable_reason(
    code: int, reason: str
) -> None:
    then = after(said(code), Tries(renewals=Renewed.FILES))  # files are renewed first
    assert (then.status, then.reason, then.pause, then.rest_until) == (TaskStatus.REFUSED, reason, "", None)


@pytest.mark.parametrize("code", of_class(RetryClass.PERM_INPUT, RetryClass.PERM_TARGET, RetryClass.STATE))
def test_what_is_refused_for_good_is_not_tried_again(code: int) -> None:
    then = after(said(code))
    assert (then.status, then.reason, then.pause) == (TaskStatus.REFUSED, "platform_refused", "")


@pytest.mark.parametrize("code", of_class(RetryClass.PERM_CONFIG))
def test_a_setting_of_the_corp_stops_the_campaign_and_loses_nothing(code: int) -> None:
    then = after(said(code), Tries(2))
    assert (then.status, then.hold_reason, then.pause) == (
        TaskStatus.DEFERRED,
        "paused",
        "platform_refuses",
    )
    assert then.tries == Tries(2)


@pytest.mark.parametrize("code", of_class(RetryClass.REST))
def test_too_often_rests_for_everybody_and_does_not_count(code: int) -> None:
    then = after(said(code), Tries(3))
    assert (then.status, then.hold_reason, then.tries) == (TaskStatus.DEFERRED, "rest", Tries(3))
    assert then.rest_until == then.due_at == NOW + timedelta(seconds=60)


def test_a_rest_is_as_long_as_the_platform_says_within_an_hour_and_spread() -> None:
    limited = Outcome(State.REJECTED_RETRYABLE, "http_429", retry_class=RetryClass.REST)
    asked = Outcome(
        State.REJECTED_RETRYABLE,
        "http_429",
        retry_class=RetryClass.REST,
        retry_after=timedelta(days=9),
    )
    assert after(limited).rest_until == NOW + timedelta(seconds=60)
    assert after(asked).rest_until == NOW + timedelta(hours=1)
    late = after_request(asked, Tries(), NOW, retry_max=3, jitter=0.999).rest_until
    assert late is not None
    assert NOW + timedelta(hours=1) < late < NOW + timedelta(hours=1.2)


@pytest.mark.parametrize("code", of_class(RetryClass.RETRY))
def test_busy_is_tried_three_times_more_each_later_than_the_one_before(code: int) -> None:
    tries, waits = Tries(), []
    for _ in range(3):
        then = after(said(code), tries)
        assert (then.status, then.hold_reason) == (TaskStatus.DEFERRED, "retry")
        assert then.due_at is not None
        waits.append(then.due_at - NOW)
        tries = then.tries
    least = min(classify(code).retry_after or timedelta(0), making.REST_MOST)
    assert waits == [max(pause, least) for pause in DELAYS[:3]]
    ended = after(said(code), tries)
    assert (ended.status, ended.reason) == (TaskStatus.REFUSED, "retries_exhausted")


@pytest.mark.parametrize("code", of_class(RetryClass.REFRESH))
def test_a_token_is_renewed_once_for_nothing_and_counts_after_that(code: int) -> None:
    first = after(said(code), Tries(1))
    assert (first.hold_reason, first.due_at) == ("renew_token", NOW)
    assert first.tries == Tries(1, Renewed.TOKEN)
    second = after(said(code), first.tries)
    assert (second.hold_reason, second.tries) == ("retry", Tries(2, Renewed.TOKEN))


def test_files_are_sent_up_once_more_whatever_became_of_the_token() -> None:
    first = after(said(40007), Tries(0, Renewed.TOKEN))
    assert (first.hold_reason, first.tries) == ("renew_media", Tries(0, Renewed.TOKEN | Renewed.FILES))
    assert after(said(40007), first.tries).reason == "media_refused"
    assert after(said(42001), Tries(0, Renewed.FILES)).hold_reason == "renew_token"


@pytest.mark.parametrize("cause", ["refused", "dns", "tls", "connect_timeout"])
def test_what_certainly_did_not_leave_counts(cause: str) -> None:
    then = after(Outcome(State.NOT_SENT, cause, retry_class=RetryClass.RETRY))
    assert (then.hold_reason, then.tries, then.unclear) == ("retry", Tries(1), False)


def test_what_came_too_late_to_leave_does_not_count() -> None:
    then = after(Outcome(State.NOT_SENT, "too_late"), Tries(3))
    assert (then.status, then.hold_reason, then.due_at, then.tries) == (
        TaskStatus.DEFERRED,
        "pace",
        NOW,
        Tries(3),
    )


@pytest.mark.parametrize("cause", ["timeout", "reset", "http_502", "not_json", "lost", "defect"])
def test_what_nobody_knows_is_looked_for_and_never_simply_repeated(cause: str) -> None:
    then = after(Outcome(State.UNKNOWN, cause, retry_class=RetryClass.RETRY), Tries(2, looks=1))
    assert (then.status, then.hold_reason, then.unclear) == (TaskStatus.DEFERRED, "look_up", True)
    assert (then.due_at, then.tries) == (NOW + LOOKS[0], Tries(2))


@pytest.mark.parametrize("state", [State.ACCEPTED, State.ACCEPTED_PARTIAL])
def test_what_was_accepted_is_made(state: State) -> None:
    assert after(Outcome(state, errcode=0)).status is TaskStatus.CREATED


def look(sight: Sight, tries: Tries = FRESH, since: datetime = NOW) -> making.Next:
    return after_look(sight, tries, NOW, since=since, retry_max=3)


def test_it_is_made_again_only_after_it_was_absent_twice_a_minute_apart() -> None:
    tries, seen_absent_at, at = Tries(1), [], LOOKS[0]
    while True:
        seen_absent_at.append(at)
        then = look(Sight.NOTHING, tries)
        if not then.unclear:
            break
        assert then.due_at is not None
        at, tries = at + (then.due_at - NOW), then.tries
    assert seen_absent_at[-1] - seen_absent_at[0] >= timedelta(minutes=1)
    assert (then.hold_reason, then.tries) == ("retry", Tries(2))


def test_several_are_for_a_person_and_so_is_what_nobody_could_look_for_in_a_day() -> None:
    assert (look(Sight.SEVERAL).status, look(Sight.SEVERAL).reason) == (TaskStatus.UNKNOWN, "several_found")
    soon = look(Sight.UNSEEN, Tries(1, looks=2), NOW - GIVE_UP + timedelta(seconds=1))
    assert (soon.hold_reason, soon.tries, soon.unclear) == ("look_up", Tries(1, looks=2), True)
    late = look(Sight.UNSEEN, since=NOW - GIVE_UP)
    assert (late.status, late.reason, late.unclear) == (TaskStatus.UNKNOWN, "look_up_failed", True)


@given(
    code=st.sampled_from(sorted(set(ENTRIES) - {0})),
    retries=st.integers(0, 12),
    renewals=st.sampled_from(list(Renewed)),
    retry_max=st.integers(0, 20),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_every_wait_is_bounded_and_every_refusal_has_a_reason(
    code: int, retries: int, renewals: Renewed, retry_max: int, jitter: float
) -> None:
    then = after_request(said(code), Tries(retries, renewals), NOW, retry_max=retry_max, jitter=jitter)
    assert not then.unclear, "an errcode says that nothing was made"
    if then.status is TaskStatus.DEFERRED:
        assert then.due_at is not None
        assert NOW <= then.due_at <= NOW + making.REST_MOST * (1 + making.JITTER)
        assert then.hold_reason
    else:
        assert then.status is TaskStatus.REFUSED
        assert then.reason
