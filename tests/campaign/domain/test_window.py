"""When owners may be asked: the hours of a window by weekday and date, where clocks are changed, and never at night."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.campaign.domain.campaign import Content, Spec
from services.campaign.domain.window import (
    LOOKED_AHEAD,
    Hours,
    SendWindow,
    default_window,
    is_open,
    next_open,
    open_until,
    openings,
    read_window,
)
from services.campaign.store.campaigns import read_spec
from shared.errors import Invalid

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SHANGHAI = default_window("Asia/Shanghai")
"""10:00 to 18:00 there is 02:00 to 10:00 in UTC."""
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)

CHANGES = {
    "Asia/Shanghai": "2026-03-02",
    "Europe/Berlin": "2026-03-29",
    "Australia/Lord_Howe": "2026-04-05",
    "Pacific/Apia": "2011-12-30",
    "Pacific/Easter": "1991-03-10",
    "Africa/Juba": "2000-01-15",
    "America/Sao_Paulo": "2018-11-04",
}
"""Zones with a day on which their clocks are changed: by an hour, half an hour, a whole day; in the evening, at noon."""


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown_open(window, now):
    """By the definition: what a clock on the wall shows lies in the hours of its day, and not in the night."""
    wall = now.astimezone(ZoneInfo(window.zone))
    hours = dict(window.dates).get(wall.date(), dict(window.weekdays).get(wall.weekday(), ()))
    if not time(8) <= wall.time() < time(22):
        return False
    return any(one.start <= wall.time() and (wall.time() < one.end or one.end == time(0)) for one in hours)


@st.composite
def hours(draw):
    found = sorted(draw(st.sets(st.integers(0, 96), max_size=6)))
    pairs = zip(found[::2], found[1::2], strict=False)
    return tuple(
        Hours(time(start // 4, start % 4 * 15), time(end // 4 % 24, end % 4 * 15)) for start, end in pairs
    )


@st.composite
def windows_and_days(draw):
    zone, day = draw(st.sampled_from(sorted(CHANGES.items())))
    first = date.fromisoformat(day) - 2 * DAY
    weekdays = draw(st.dictionaries(st.integers(0, 6), hours()))
    dates = draw(st.dictionaries(st.sampled_from([first + DAY * n for n in range(5)]), hours()))
    return SendWindow(zone, tuple(weekdays.items()), tuple(dates.items())), at(day) - 2 * DAY


@given(windows_and_days(), st.integers(0, 6 * 24 * 60))
@example((SendWindow("Pacific/Easter", ((5, (Hours(time(21), time(0)),)),)), at("1991-03-08")), 0)
@example((SendWindow("Africa/Juba", ((5, (Hours(time(12), time(12, 30)),)),)), at("2000-01-14")), 0)
def test_a_window_opens_and_shuts_at_the_minutes_that_a_clock_on_the_wall_shows(given_window, offset):
    window, first = given_window
    now = first + offset * MINUTE
    shown = [shown_open(window, now + MINUTE * n) for n in range(2 * 24 * 60)]
    assert is_open(window, now) == shown[0]
    following = next_open(window, now)
    if True in shown:
        assert following == now + MINUTE * shown.index(True)
    else:
        assert following is None or following >= now + 2 * DAY
    assert open_until(window, now) == (now + MINUTE * shown.index(False) if shown[0] else None)


@given(windows_and_days())
def test_openings_are_all_the_open_minutes_in_order_and_no_two_of_them_meet(given_window):
    window, first = given_window
    found = list(openings(window, first, first + 5 * DAY))
    assert all(one[1] < following[0] for one, following in itertools.pairwise(found))
    listed = {start + MINUTE * n for start, end in found for n in range((end - start) // MINUTE)}
    assert listed == {now for n in range(5 * 24 * 60) if shown_open(window, now := first + MINUTE * n)}


def test_a_window_that_says_nothing_is_open_from_ten_to_six_on_every_day():
    assert read_window("", (), (), default_zone="Asia/Shanghai", field="window") == SHANGHAI
    assert next_open(SHANGHAI, MONDAY) == at("2026-03-02T02:00")
    assert open_until(SHANGHAI, at("2026-03-02T09:59:59")) == at("2026-03-02T10:00")
    assert not is_open(SHANGHAI, at("2026-03-02T10:00"))
    assert next_open(SHANGHAI, at("2026-03-02T10:00")) == at("2026-03-03T02:00")


def test_a_holiday_is_skipped_and_a_workday_in_its_stead_is_used():
    week = tuple((str(n), [("09:00", "12:00"), ("14:00", "20:00")]) for n in range(5))
    window = read_window(
        "Asia/Shanghai",
        [(int(day), found) for day, found in week],
        [("2026-10-01", ()), ("2026-10-02", ()), ("2026-10-10", [("10:00", "11:00")])],
        default_zone="UTC",
        field="window",
    )
    assert next_open(window, at("2026-09-30T12:00")) == at("2026-10-05T01:00")
    assert list(openings(window, at("2026-10-09T11:00"), at("2026-10-12T00:00"))) == [
        (at("2026-10-09T11:00"), at("2026-10-09T12:00")),
        (at("2026-10-10T02:00"), at("2026-10-10T03:00")),
    ]


def test_hours_that_meet_are_one_opening():
    window = read_window(
        "UTC", [(0, [("12:00", "14:00"), ("10:00", "12:00")])], (), default_zone="UTC", field="window"
    )
    assert open_until(window, at("2026-03-02T10:30")) == at("2026-03-02T14:00")


def test_nobody_is_asked_at_night_whatever_a_window_says():
    window = read_window("UTC", [(0, [("00:00", "24:00")])], (), default_zone="UTC", field="window")
    assert list(openings(window, MONDAY, MONDAY + DAY)) == [(at("2026-03-02T08:00"), at("2026-03-02T22:00"))]


def test_a_window_that_opens_no_more_has_no_next_opening_and_is_not_looked_for_without_end():
    window = SendWindow("UTC", (), ((date(2026, 3, 2), (Hours(time(9), time(10)),)),))
    assert next_open(window, at("2026-03-02T09:59")) == at("2026-03-02T09:59")
    assert next_open(window, at("2026-03-02T10:00")) is None
    assert next_open(window, MONDAY - LOOKED_AHEAD - DAY) is None


@pytest.mark.parametrize(
    ("zone", "weekdays", "dates", "field"),
    [
        ("Mars/Olympus", (), (), "window.time_zone"),
        ("", [(0, [("18:00", "10:00")])], (), "window.weekdays[0].hours[0]"),
        ("", [(0, [("10:00", "10:00")])], (), "window.weekdays[0].hours[0]"),
        ("", [(0, [("10:00", "25:00")])], (), "window.weekdays[0].hours[0]"),
        ("", [(0, [("24:00", "24:00")])], (), "window.weekdays[0].hours[0]"),
        ("", [(0, [("10:00", "12:00"), ("11:59", "13:00")])], (), "window.weekdays[0].hours"),
        ("", [(0, [("20:00", "24:00"), ("21:00", "22:00")])], (), "window.weekdays[0].hours"),
        ("", [(0, ()), (1, [("10:00", "12:00")]), (0, ())], (), "window.weekdays[2]"),
        ("", (), [("2026-02-30", ())], "window.dates[0].date"),
        ("", (), [("2026-10-01", ()), ("2026-10-01", ())], "window.dates[1]"),
        ("", [(0, [("22:00", "24:00")]), (1, [("00:00", "08:00")])], (), "window"),
        ("", [(0, ())], (), "window"),
    ],
)
def test_what_is_wrong_with_a_window_is_named(zone, weekdays, dates, field):
    with pytest.raises(Invalid) as caught:
        read_window(zone, weekdays, dates, default_zone="Asia/Shanghai", field="window")
    assert [one.field for one in caught.value.violations] == [field]


@given(windows_and_days())
def test_a_window_that_is_stored_comes_back_with_the_same_openings(given_window):
    window, first = given_window
    spec = Spec(name="n", content=Content("t"), audience={}, window=window)
    back = read_spec(spec.document()).window
    assert back.document() == window.document()
    assert list(openings(back, first, first + 5 * DAY)) == list(openings(window, first, first + 5 * DAY))
