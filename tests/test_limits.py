"""Sliding windows: never more than the limit in any window, and never starving (I17)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.limits import Granted, Limit, State, Wait, release, reserve, used

START = datetime(2026, 3, 2, 4, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ROBOT = Limit("minute", 19, MINUTE)
MEMBER = (Limit("minute", 28, MINUTE), Limit("hour", 950, HOUR, exact=False))

limits = st.builds(
    Limit,
    name=st.just("only"),
    max=st.integers(1, 6),
    per=st.sampled_from(
        [timedelta(milliseconds=1), timedelta(seconds=1), MINUTE, timedelta(seconds=7), HOUR]
    ),
    exact=st.booleans(),
)


def gaps(limit: Limit) -> st.SearchStrategy[list[float]]:
    """Pauses between calls, as parts of the window."""
    return st.lists(st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0.9, 1.1)), min_size=1, max_size=40)


def take(limit: Limit, times: Sequence[datetime]) -> list[datetime]:
    """When grants were given."""
    state: State = {}
    granted = []
    for now in times:
        verdict = reserve(state, [limit], now)
        state = orjson.loads(orjson.dumps(verdict.state))  # it survives being stored
        if isinstance(verdict, Granted):
            granted.append(now)
    return granted


def fullest(granted: Sequence[datetime], per: timedelta) -> int:
    return max((sum(start <= at < start + per for at in granted) for start in granted), default=0)


@given(st.data(), limits)
def test_no_window_ever_holds_more_than_the_limit(data: st.DataObject, limit: Limit) -> None:
    times, now = [], START
    for gap in data.draw(gaps(limit)):
        now += limit.per * gap
        times.append(now)

    assert fullest(take(limit, times), limit.per) <= limit.max


@given(st.data(), limits)
def test_whoever_waits_until_told_is_granted_then_and_not_before(data: st.DataObject, limit: Limit) -> None:
    state: State = {}
    now = START
    for gap in data.draw(gaps(limit)):
        now += limit.per * gap
        n = data.draw(st.integers(1, limit.max))
        verdict = reserve(state, [limit], now, n)
        if isinstance(verdict, Wait):
            assert now < verdict.until <= now + limit.per + limit.per / 60
            early = verdict.until - timedelta(microseconds=1)
            assert isinstance(reserve(state, [limit], early, n), Wait)
            now = verdict.until
            verdict = reserve(verdict.state, [limit], now, n)
        assert isinstance(verdict, Granted)
        state = verdict.state


@given(st.data(), limits)
def test_a_clock_set_back_lets_no_more_through_and_starves_nobody(data: st.DataObject, limit: Limit) -> None:
    true, shown, state = START, START, State()
    granted: list[datetime] = []
    for gap in data.draw(gaps(limit)):
        true += limit.per * gap
        shown += limit.per * gap - data.draw(st.sampled_from([0, 0, 1, 3650])) * limit.per
        verdict = reserve(state, [limit], shown)
        state = verdict.state
        if isinstance(verdict, Granted):
            granted.append(true)
        else:
            assert verdict.until <= shown + limit.per * (1 + 1 / 30)

    assert fullest(granted, limit.per) <= limit.max


def test_the_whole_limit_may_be_used_at_once_and_again_a_window_later() -> None:
    granted = take(ROBOT, [START] * 25 + [START + MINUTE - timedelta(microseconds=1)] + [START + MINUTE] * 25)

    assert granted == [START] * 19 + [START + MINUTE] * 19


def test_several_limits_are_taken_together_or_not_at_all() -> None:
    state: State = {}
    now = START
    for _ in range(950):
        while isinstance(verdict := reserve(state, MEMBER, now), Wait):
            assert verdict.limit_name == "minute"
            now = verdict.until
        state = verdict.state

    refused = reserve(state, MEMBER, now + MINUTE)
    assert isinstance(refused, Wait)
    assert refused.limit_name == "hour"
    assert used(refused.state, MEMBER[0], now + MINUTE) == 0  # nothing of the minute was taken
    assert START + HOUR <= refused.until <= START + HOUR + MINUTE
    assert isinstance(reserve(refused.state, MEMBER, refused.until), Granted)


def test_a_state_stays_small_however_much_is_sent() -> None:
    state: State = {}
    now = START
    for _ in range(2000):
        now += timedelta(seconds=3.8)
        state = reserve(state, MEMBER, now).state

    assert len(state["minute"]) <= 28
    assert len(state["hour"]) <= 61
    assert len(orjson.dumps(state)) < 2000


def test_what_was_not_used_can_be_given_back() -> None:
    state = reserve({}, [ROBOT], START, 19).state
    assert isinstance(reserve(state, [ROBOT], START), Wait)

    state = release(state, [ROBOT], START, 2)

    assert used(state, ROBOT, START) == 17
    assert isinstance(reserve(state, [ROBOT], START, 2), Granted)


def test_what_is_given_back_twice_or_under_a_wrong_instant_frees_nobody_elses() -> None:
    state = reserve({}, MEMBER, START).state
    state = reserve(state, MEMBER, START + MINUTE / 2).state

    state = release(state, MEMBER, START)
    state = release(state, MEMBER, START)
    state = release(state, MEMBER, START + timedelta(seconds=1))

    assert used(state, MEMBER[0], START + MINUTE / 2) == 1


def test_the_state_handed_in_is_not_changed() -> None:
    state = reserve({}, MEMBER, START).state
    before = orjson.dumps(state)
    reserve(state, MEMBER, START)
    release(state, MEMBER, START)

    assert orjson.dumps(state) == before


def test_more_than_could_ever_be_granted_is_a_bug() -> None:
    with pytest.raises(ValueError, match="never fit"):
        reserve({}, [ROBOT], START, 20)


@pytest.mark.parametrize(("most", "per"), [(0, MINUTE), (1, timedelta(0))])
def test_a_limit_that_makes_no_sense_is_refused(most: int, per: timedelta) -> None:
    with pytest.raises(ValueError, match="limit x"):
        Limit("x", most, per)
