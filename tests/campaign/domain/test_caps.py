"""What a group may receive: dated limits, and the periods of the platform's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.caps import ZONE, Period, ReceiveLimit
from services.campaign.limit_files import load_limits
from shared.errors import Invalid

INSTANTS = st.datetimes(datetime(2019, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # as it wants them


@given(INSTANTS, st.sampled_from(list(Period)))
def test_a_period_holds_its_instant_and_begins_and_ends_at_midnight_over_there(
    at: datetime, period: Period
) -> None:
    start, end = period.around(at)
    assert start <= at < end
    assert {one.astimezone(ZONE).strftime("%H:%M:%S") for one in (start, end)} == {"00:00:00"}
    assert period.around(start) == period.around(end - timedelta(microseconds=1)) == (start, end)
    assert period.around(end)[0] == end
    days = (end - start).days
    assert days in {Period.DAY: {1}, Period.WEEK: {7}, Period.MONTH: {28, 29, 30, 31}}[period]


@pytest.mark.parametrize(
    ("day", "named"),
    [
        ("2019-11-30", []),
        ("2020-02-01", ["4 a month"]),
        ("2022-06-01", ["1 a day"]),
        ("2026-02-10", ["28 a month"]),
        ("2026-03-10", ["31 a month"]),
    ],
)
def test_the_limits_of_a_day_are_those_of_its_profile(day: str, named: list[str]) -> None:
    at = datetime.fromisoformat(f"{day}T04:00:00+00:00")
    assert [one.named(at) for one in load_limits().at(at)] == named


def test_a_profile_begins_at_midnight_over_there() -> None:
    turn = datetime(2023, 12, 31, 16, tzinfo=UTC)
    assert [one.named(turn) for one in load_limits().at(turn)] == ["31 a month"]
    before = turn - timedelta(microseconds=1)
    assert [one.named(before) for one in load_limits().at(before)] == ["1 a day"]


def test_what_an_administrator_chose_holds_beside_what_the_date_says() -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    assert [one.named(at) for one in load_limits(["7/week"]).at(at)] == ["7 a week", "31 a month"]
    assert [one.named(at) for one in load_limits(["days/month"]).at(at)] == ["31 a month"]


@pytest.mark.parametrize("written", ["", "1", "0/day", "1/year", "days/day", "-1/day", "1 / day", "１/day"])
def test_a_limit_that_cannot_be_read_is_named_with_what_to_write(written: str) -> None:
    with pytest.raises(Invalid) as refused:
        ReceiveLimit.read(written, field="WECOM_CUSTOMER_RECEIVE_LIMITS")
    [violation] = refused.value.violations
    assert violation.field == "WECOM_CUSTOMER_RECEIVE_LIMITS"
    assert "1/day" in violation.description


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("profile = 3", "limits.toml"),
        ("[[profile", "limits.toml"),
        ("[[profile]]\nsince = 2024-01-01\nlimits = ['1/day']", "profile 1 source"),
        ("[[profile]]\nsince = '2024'\nlimits = ['1/day']\nsource = 'x'", "profile 1 since"),
        ("[[profile]]\nsince = 2024-01-01\nlimits = '1/day'\nsource = 'x'", "profile 1 limits"),
        ("[[profile]]\nsince = 2024-01-01\nlimits = ['9']\nsource = 'x'", "profile 1 limits"),
        ("[[profile]]\nsince = 2024-01-01\nlimits = ['1/day']\nsource = ''", "profile 1 source"),
        ("[[profile]]\nsince = 2024-01-01\nlimits = []\nsource = 'x'\n" * 2, "limits.toml"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path: Path, document: str, place: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(document)
    with pytest.raises(Invalid) as refused:
        load_limits(path=path)
    assert place in refused.value.violations[0].field
