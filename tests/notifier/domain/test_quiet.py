"""Quiet hours against a walk through the minutes, in the nights in which clocks are changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.notifier.domain.policy import next_midnight
from shared.errors import Invalid
from shared.quiet import QuietHours, Window

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

NIGHTS = (
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Asia/Shanghai", date(2026, 3, 2)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("America/Sao_Paulo", date(2018, 11, 4)),
    ("America/Sao_Paulo", date(2018, 2, 18)),
    ("America/Havana", date(2026, 11, 1)),
)
"""A zone, and a day on which its clocks are changed; in Shanghai they never are."""

HALVES = st.integers(0, 47).map(lambda half: time(half // 2, 30 * (half % 2)))
NEAR = st.integers(-3, 12).map(lambda half: time(half % 48 // 2, 30 * (half % 2)))
CLOCK = st.one_of(NEAR, HALVES)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """A window that begins and ends on the half hour, near midnight more often than not."""
    start = draw(CLOCK)
    end = draw(CLOCK.filter(lambda at: at != start))
    return Window(start, end, draw(st.frozensets(st.integers(0, 6), max_size=3)))


@cache
def told(zone: ZoneInfo, first: date, days: int) -> list[tuple[datetime, datetime]]:
    """Every minute from *first* on, and what the clocks on the wall show in it."""
    at = datetime.combine(first, time(), tzinfo=zone).astimezone(UTC)
    every = (at + MINUTE * n for n in range(days * 24 * 60))
    return [(one, one.astimezone(zone).replace(tzinfo=None)) for one in every]


def walked(window: Window, minutes: list[tuple[datetime, datetime]]) -> set[datetime]:
    """The minutes of *window*, found by watching the clocks: from its first start to its last end of the day meant.

    A clock that skips the start or the end is at it when it has gone past.
    """
    quiet: set[datetime] = set()
    first, last = minutes[0][1].date(), minutes[-1][1].date()
    for day in (first + DAY * n for n in range((last - first).days + 1)):
        if window.days and day.weekday() not in window.days:
            continue
        start = datetime.combine(day, window.start)
        end = datetime.combine(day + DAY if window.end <= window.start else day, window.end)
        begins = next((at for at, wall in minutes if wall >= start), None)
        shown = [at for at, wall in minutes if wall == end]
        ends = shown[-1] if shown else next((at for at, wall in minutes if wall >= end), None)
        if begins is not None:
            quiet |= {at for at, _ in minutes if begins <= at and (ends is None or at < ends)}
    return quiet


@settings(max_examples=100)
@given(st.sampled_from(NIGHTS), st.lists(windows(), min_size=1, max_size=3), st.data())
def test_quiet_lasts_as_long_as_the_clocks_say(
    night: tuple[str, date], chosen: list[Window], data: st.DataObject
) -> None:
    name, changed = night
    zone = ZoneInfo(name)
    minutes = told(zone, changed - 3 * DAY, 6)
    quiet: set[datetime] = set().union(*(walked(one, minutes) for one in chosen))
    hours = QuietHours(tuple(chosen))
    start = datetime.combine(changed, time(), tzinfo=zone).astimezone(UTC)
    for offset in data.draw(st.lists(st.integers(-26 * 60, 30 * 60), min_size=1, max_size=20)):
        at = start + offset * MINUTE
        until = hours.until(at, zone)
        assert (until is not None) == (at in quiet)
        if until is not None and until < minutes[-1][0]:
            expected = at
            while expected in quiet:
                expected += MINUTE
            assert until == expected


@given(st.sampled_from(NIGHTS), windows(), st.integers(-36 * 60, 36 * 60))
def test_every_instant_of_a_quiet_ends_with_the_same_one_and_the_end_is_not_quiet(
    night: tuple[str, date], window: Window, offset: int
) -> None:
    zone, hours = ZoneInfo(night[0]), QuietHours((window,))
    at = datetime.combine(night[1], time(), tzinfo=zone).astimezone(UTC) + offset * MINUTE
    until = hours.until(at, zone)
    if until is not None:
        assert until > at
        assert hours.until(until, zone) is None
        assert hours.until(until - timedelta(microseconds=1), zone) == until


@pytest.mark.parametrize(
    ("start", "end", "at", "until"),
    [
        ("01:30", "02:30", "2026-10-24T23:45", "2026-10-25T01:30"),  # the second 02:30
        ("02:15", "02:45", "2026-10-25T01:44", "2026-10-25T01:45"),  # lasts from the first to the second
        ("01:30", "02:30", "2026-03-29T00:59", "2026-03-29T01:00"),  # ends with the change
        ("02:30", "04:00", "2026-03-29T01:00", "2026-03-29T02:00"),  # begins with it
        ("02:10", "02:40", "2026-03-29T01:00", None),  # left out altogether
    ],
)
def test_the_hour_that_comes_twice_and_the_one_that_does_not_come(
    start: str, end: str, at: str, until: str | None
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = QuietHours((Window.read(start, end, field="w"),)).until(
        datetime.fromisoformat(f"{at}+00:00"), berlin
    )
    assert found == (None if until is None else datetime.fromisoformat(f"{until}+00:00"))


@pytest.mark.parametrize(
    "chosen",
    [
        [("00:00", "12:00"), ("12:00", "00:00")],
        [("22:00", "08:00"), ("07:00", "23:00")],
        [("06:00", "05:59"), ("05:00", "06:00")],
    ],
)
def test_a_quiet_that_never_ends_is_refused(chosen: list[tuple[str, str]]) -> None:
    hours = QuietHours(tuple(Window.read(*one, field="w") for one in chosen))
    with pytest.raises(Invalid) as refusal:
        hours.check(ZoneInfo("Europe/Berlin"), field="windows")
    assert [one.field for one in refusal.value.violations] == ["windows"]


def test_a_quiet_that_leaves_a_minute_of_the_week_is_allowed() -> None:
    windows_ = (
        Window(time(0), time(23, 59), frozenset({6})),
        Window(time(0), time(0), frozenset(range(6))),
    )
    berlin, hours = ZoneInfo("Europe/Berlin"), QuietHours(windows_)
    hours.check(berlin, field="w")
    monday = datetime(2026, 1, 5, tzinfo=berlin)
    assert hours.until(monday.astimezone(UTC), berlin) == datetime(2026, 1, 11, 23, 59, tzinfo=berlin)


@settings(max_examples=200)
@given(st.sampled_from(NIGHTS), st.integers(-48 * 60, 48 * 60))
@example(("Pacific/Apia", date(2011, 12, 30)), -60)
def test_the_next_day_begins_when_the_date_changes(night: tuple[str, date], offset: int) -> None:
    zone = ZoneInfo(night[0])
    at = datetime.combine(night[1], time(), tzinfo=zone).astimezone(UTC) + offset * MINUTE
    today, later = at.astimezone(zone).date(), at
    while later.astimezone(zone).date() == today:
        later += MINUTE
    assert next_midnight(at, zone).astimezone(UTC) == later
