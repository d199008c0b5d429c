"""What a campaign would do: its tasks, and when they would be made."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.campaign import Canary
from services.campaign.domain.forecast import forecast, most, tasks_of
from services.campaign.domain.window import Hours, SendWindow, default_window, is_open

SHANGHAI = default_window("Asia/Shanghai")
HOUR = timedelta(hours=1)
NONE = Canary()


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_thousand_owners_a_minute_before_it_shuts_go_on_the_next_morning():
    owners = {f"owner{n}": 1 for n in range(1000)}
    found = forecast(SHANGHAI, at("2026-03-02T09:59"), owners, NONE, qps=5)
    assert [(one.start, one.end, one.tasks) for one in found.openings] == [
        (at("2026-03-02T09:59"), at("2026-03-02T10:00"), 300),
        (at("2026-03-03T02:00"), at("2026-03-03T10:00"), 700),
    ]
    assert found.end == at("2026-03-03T02:00") + timedelta(seconds=699 / 5)


def test_an_owner_of_many_groups_is_asked_for_several_tasks():
    assert [tasks_of(count) for count in (1, 2000, 2001, 4000)] == [1, 1, 2, 2]
    found = forecast(SHANGHAI, at("2026-03-02T04:00"), {"ann": 4001}, NONE, qps=1)
    assert [one.tasks for one in found.openings] == [3]


def test_a_canary_goes_first_and_the_others_wait_for_it():
    owners = {"a": 1, "b": 1, "c": 1}
    found = forecast(SHANGHAI, at("2026-03-02T04:00"), owners, Canary(1, HOUR), qps=1)
    assert found.end == at("2026-03-02T05:00:01")
    assert [one.tasks for one in found.openings] == [3]
    found = forecast(SHANGHAI, at("2026-03-02T09:30"), owners, Canary(1, HOUR), qps=1)
    assert [one.tasks for one in found.openings] == [1, 2]
    assert found.end == at("2026-03-03T02:00:01")


def test_of_a_window_that_opens_no_more_nothing_is_foretold():
    window = SendWindow("UTC", (), ((at("2026-03-02T00:00").date(), (Hours(time(9), time(9, 1)),)),))
    found = forecast(window, at("2026-03-02T08:00"), {f"owner{n}": 1 for n in range(61)}, NONE, qps=1)
    assert ([one.tasks for one in found.openings], found.end) == ([60], None)
    assert forecast(window, at("2026-03-03T08:00"), {"a": 1}, NONE, qps=1).openings == ()
    assert forecast(SHANGHAI, at("2026-03-03T08:00"), {}, NONE, qps=1).end is None


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 9000), min_size=1, max_size=40),
    st.integers(0, 5),
    st.integers(1, 50),
    st.integers(0, 48 * 60),
)
def test_every_task_finds_its_place_while_the_window_is_open(owners, first, qps, minute):
    begins = at("2026-03-02T00:00") + timedelta(minutes=minute)
    found = forecast(SHANGHAI, begins, owners, Canary(first, HOUR), qps)
    assert sum(one.tasks for one in found.openings) == sum(map(tasks_of, owners.values()))
    assert found.end is not None
    assert is_open(SHANGHAI, found.end)
    assert found.end >= begins


def test_owners_with_the_most_groups_are_named():
    assert most({"b": 2, "a": 2, "c": 9, "d": 1}, 3) == [("c", 9), ("a", 2), ("b", 2)]
