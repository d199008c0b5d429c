"""The hour of a push: learned, smoothed, and never outside the window or inside quiet hours."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.hours import Histogram, better_instant, hour_of, learn, weight

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING = [0.0] * 24
EVEN = Histogram(tuple([1 / 24] * 24), SHANGHAI)


def hours(**at):
    """Weights of messages of today: ``h21=5`` is five at nine in the evening."""
    found = list(NOTHING)
    for name, count in at.items():
        found[int(name[1:])] = count * weight(NOON)
    return found


def loud(at):
    return None


def quiet_between(start, end, zone=SHANGHAI):
    """Quiet on the clocks of *zone*, every day, across midnight too."""

    def until(at):
        now = at.astimezone(zone)
        reigns = start <= now.time() < end if start < end else now.time() >= start or now.time() < end
        if not reigns:
            return None
        day = now.date() + timedelta(days=int(end <= now.time()))
        return datetime.combine(day, end, tzinfo=zone).astimezone(UTC)

    return until


def test_who_answers_in_the_evening_is_written_to_in_the_evening():
    known = learn(hours(h21=30), NOTHING, NOON, SHANGHAI)
    assert better_instant(NOON, NOON + 24 * HOUR, loud, known) == NOON + 9 * HOUR


def test_who_answers_now_is_written_to_now():
    known = learn(hours(h12=30), NOTHING, NOON, SHANGHAI)
    assert better_instant(NOON + HOUR / 4, NOON + 24 * HOUR, loud, known) is None


def test_nobody_waits_for_an_hour_that_is_hardly_better():
    assert better_instant(NOON, NOON + 24 * HOUR, loud, EVEN) is None


def test_a_new_customer_is_taken_to_be_like_the_others_of_the_store():
    known = learn(NOTHING, hours(h20=400), NOON, SHANGHAI)
    assert better_instant(NOON, NOON + 24 * HOUR, loud, known) == NOON + 8 * HOUR


def test_a_customers_own_hours_outweigh_the_stores():
    known = learn(hours(h7=40), hours(h20=4000), NOON, SHANGHAI)
    assert known.shares.index(max(known.shares)) == 7


def test_what_is_long_past_counts_less():
    old = [value / 2**6 for value in hours(h8=50)]  # half a year ago
    known = learn([one + two for one, two in zip(old, hours(h19=10), strict=True)], NOTHING, NOON, SHANGHAI)
    assert known.shares[19] > known.shares[8]


def test_what_closes_before_the_best_hour_does_not_wait_for_it():
    known = learn(hours(h21=30), NOTHING, NOON, SHANGHAI)
    assert better_instant(NOON, NOON + HOUR / 2, loud, known) is None
    assert better_instant(NOON, NOON - HOUR, loud, known) is None


def test_a_best_hour_inside_quiet_hours_is_none():
    known = learn(hours(h23=30, h10=15), NOTHING, NOON, SHANGHAI)
    night = quiet_between(time(22), time(8))
    assert better_instant(NOON, NOON + 24 * HOUR, loud, known) == NOON + 11 * HOUR
    assert better_instant(NOON, NOON + 24 * HOUR, night, known) == NOON + 22 * HOUR


def test_from_quiet_hours_it_is_their_end_that_a_better_hour_is_held_against():
    night = quiet_between(time(22), time(8))
    midnight = datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert better_instant(midnight, midnight + 20 * HOUR, night, EVEN) is None
    assert better_instant(midnight, midnight + 7 * HOUR, night, EVEN) is None


def test_the_hour_is_that_of_the_customers_clocks():
    assert [hour_of(NOON, ZoneInfo(name)) for name in ("Asia/Shanghai", "Europe/Berlin")] == [12, 5]


weights = st.lists(st.floats(0, 1e6), min_size=24, max_size=24)
instants = st.integers(1_772_000_000, 1_803_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30]))


@pytest.mark.parametrize("name", ["Asia/Shanghai", "Europe/Berlin", "Asia/Kathmandu"])
@given(weights, weights, instants, st.integers(-60, 24 * 60), clocks, clocks)
def test_it_is_ahead_and_never_too_late_or_inside_quiet_hours(name, own, cohort, now, minutes, start, end):
    zone = ZoneInfo(name)
    quiet = loud if start == end else quiet_between(start, end, zone)
    known = learn(own, cohort, now, zone)
    assert abs(sum(known.shares) - 1) < 1e-9
    latest = now + timedelta(minutes=minutes)
    found = better_instant(now, latest, quiet, known)
    if found is not None:
        assert now < found <= latest
        assert quiet(found) is None
