"""When a summary is due, on clocks that jump."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.daily import Wish, day_due, due_on, is_missed, next_due

SHANGHAI = Wish(ZoneInfo("Asia/Shanghai"))
ZONES = [
    Wish(ZoneInfo(name)) for name in ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Apia")
]


def test_nine_in_the_morning_is_the_customers():
    assert due_on(date(2026, 3, 2), SHANGHAI) == datetime(2026, 3, 2, 1, tzinfo=UTC)


def test_it_keeps_to_the_clock_when_the_clock_is_changed():
    berlin = Wish(ZoneInfo("Europe/Berlin"))
    days = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 25)]
    assert [due_on(day, berlin).hour for day in days] == [8, 7, 8]


@pytest.mark.parametrize(
    ("day", "utc"),
    [(date(2026, 3, 29), "2026-03-29T01:30:00+00:00"), (date(2026, 10, 25), "2026-10-25T00:30:00+00:00")],
)
def test_a_time_that_is_left_out_or_comes_twice_is_due_once(day, utc):
    assert due_on(day, Wish(ZoneInfo("Europe/Berlin"), time(2, 30))).isoformat() == utc


def test_it_is_made_up_for_until_noon():
    due = due_on(date(2026, 3, 2), SHANGHAI)
    assert not is_missed(due, due + timedelta(hours=2, minutes=59))
    assert is_missed(due, due + timedelta(hours=3))


instants = st.integers(1_577_836_800, 1_893_456_000).map(lambda second: datetime.fromtimestamp(second, UTC))


@given(instants, st.sampled_from(ZONES))
def test_the_next_is_after_the_last_and_a_day_has_one(now, wish):
    day, due = day_due(now, wish)
    following = next_due(now, wish)
    assert due <= now < following
    assert day_due(following, wish)[0] > day
    assert next_due(due, wish) == following
