"""Buckets on clocks that are changed, ranks and shares: against what one would count by hand."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifier.domain.statistics import (
    LONGEST_PERIOD,
    Bucket,
    key_of,
    nearest_rank,
    period,
    slots,
    stretches,
    success_ratio,
)
from shared.errors import Invalid

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
ZONES = (
    "Asia/Shanghai",
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
    "Africa/Casablanca",
    "Pacific/Chatham",
)
starts = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.timedeltas(timedelta(microseconds=1), LONGEST_PERIOD)


@given(
    start=starts, length=lengths, zone=st.sampled_from(ZONES), bucket=st.sampled_from(Bucket), data=st.data()
)
@example(datetime(2026, 10, 24, 1, tzinfo=UTC), timedelta(days=3), "Europe/Berlin", Bucket.HOUR, None)
@example(datetime(2026, 4, 3, tzinfo=UTC), timedelta(days=4), "Australia/Lord_Howe", Bucket.HOUR, None)
@example(datetime(2026, 4, 3, tzinfo=UTC), timedelta(days=4), "America/Santiago", Bucket.DAY, None)
def test_buckets_follow_each_other_and_hold_what_their_key_says(
    start: datetime, length: timedelta, zone: str, bucket: Bucket, data: st.DataObject | None
) -> None:
    end = start + length
    parts = stretches(start, end, ZoneInfo(zone))
    found = slots(start, end, bucket, parts)
    assert (found[0].start_at, found[-1].end_at) == (start, end)
    assert all(one.end_at == after.start_at for one, after in itertools.pairwise(found))
    assert len({one.key for one in found}) == len(found)
    draw = data.draw(st.integers(0, length // timedelta(microseconds=1) - 1)) if data else 0
    for at in (start, start + timedelta(microseconds=draw), end - timedelta(microseconds=1)):
        own = found[bisect_right([one.start_at for one in found], at) - 1]
        assert own.start_at <= at < own.end_at
        assert key_of(at, bucket, parts) == own.key


@given(start=starts, zone=st.sampled_from(ZONES))
def test_a_day_is_what_the_calendar_says(start: datetime, zone: str) -> None:
    end = start + timedelta(days=20)
    info = ZoneInfo(zone)
    for one in slots(start, end, Bucket.DAY, stretches(start, end, info)):
        first, last = one.start_at.astimezone(info), (one.end_at - timedelta(microseconds=1)).astimezone(info)
        assert first.date() == last.date()
        before = (one.start_at - timedelta(microseconds=1)).astimezone(info)
        assert one.start_at == start or before.date() < first.date()


@given(start=starts, length=lengths, zone=st.sampled_from(ZONES))
def test_between_two_changes_the_clocks_are_ahead_by_what_is_said(
    start: datetime, length: timedelta, zone: str
) -> None:
    parts = stretches(start, start + length, ZoneInfo(zone))
    for part in parts:
        for second in (part.start, (part.start + part.end) // 2, part.end - 1):
            ahead = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone)).utcoffset()
            assert ahead == timedelta(seconds=part.offset)
    assert all(one.end == after.start for one, after in itertools.pairwise(parts))
    assert all(one.offset != after.offset for one, after in itertools.pairwise(parts))


@given(percent=st.integers(1, 100), count=st.integers(1, 5000))
def test_the_nearest_rank_is_the_first_that_so_many_do_not_exceed(percent: int, count: int) -> None:
    rank = nearest_rank(percent, count)
    assert 1 <= rank <= count
    assert rank * 100 >= percent * count > (rank - 1) * 100


def test_a_share_of_nothing_is_none() -> None:
    assert success_ratio(0, 0, 0, 0) is None
    assert success_ratio(0, 1, 0, 0) == 0
    assert success_ratio(19, 0, 0, 1) == 0.95


def test_a_period_is_the_last_day_when_nothing_is_said() -> None:
    day = timedelta(days=1)
    assert period(None, None, NOW) == (NOW - day, NOW)
    assert period(None, NOW - day, NOW) == (NOW - 2 * day, NOW - day)
    assert period(NOW - day, None, NOW) == (NOW - day, NOW)
    assert period(NOW - LONGEST_PERIOD, None, NOW) == (NOW - LONGEST_PERIOD, NOW)


@pytest.mark.parametrize(
    "start", [NOW, NOW + timedelta(seconds=1), NOW - LONGEST_PERIOD - timedelta(seconds=1)]
)
def test_a_period_that_is_none_or_too_long_is_refused(start: datetime) -> None:
    with pytest.raises(Invalid) as refused:
        period(start, NOW, NOW)
    assert [one.field for one in refused.value.violations] == ["start_time"]
