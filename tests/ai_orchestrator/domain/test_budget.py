"""What a call is held for and charged, and the days it counts for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai_orchestrator.domain.budget import Cost, charged, windows_of
from services.ai_orchestrator.domain.call import CallProblem, Completion, Tokens, Usage

SHANGHAI = ZoneInfo("Asia/Shanghai")


def answer(usage: Usage | None) -> Completion:
    return Completion("{}", "", "stop", usage, "r", timedelta(0))


@pytest.mark.parametrize(
    ("outcome", "tokens"),
    [
        (answer(Usage(100, 20)), 120),
        (answer(Usage(9000, 20)), 9020),
        (answer(None), 500),
        (CallProblem("timeout", tokens=Tokens.HOLD), 500),
        (CallProblem("throttled", tokens=Tokens.RELEASE), 0),
    ],
)
def test_known_usage_is_charged_and_unknown_usage_costs_the_hold(
    outcome: Completion | CallProblem, tokens: int
) -> None:
    assert charged(outcome, 500) == tokens


@given(st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 200_000)), max_size=30))
def test_a_hold_covers_what_the_same_call_has_just_cost(calls: list[tuple[int, int]]) -> None:
    cost = Cost()
    for prompt_bytes, tokens in calls:
        cost = cost.learned(prompt_bytes, tokens)
        assert cost.guess(prompt_bytes) >= tokens
    assert cost.calls == len(calls)


def test_holds_come_down_to_what_calls_cost() -> None:
    cost = Cost()
    for _ in range(60):
        cost = cost.learned(3000, 1800)
    assert cost.guess(3000) == 1500 + 300 * 5 // 4, (
        "a quarter more than the reply, for those that do not tell"
    )


def test_a_day_and_a_month_are_those_of_the_zone() -> None:
    day, month = windows_of(datetime(2026, 12, 31, 15, 59, tzinfo=UTC), SHANGHAI)
    assert (day.name, month.name) == ("2026-12-31", "2026-12")
    assert day.ends_at == month.ends_at == datetime(2026, 12, 31, 16, tzinfo=UTC)
    day, month = windows_of(datetime(2026, 12, 31, 16, tzinfo=UTC), SHANGHAI)
    assert (day.name, month.name) == ("2027-01-01", "2027-01")


def test_a_day_on_which_the_clocks_change_ends_at_its_midnight() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    day, _ = windows_of(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), berlin)
    assert day.ends_at == datetime(2026, 3, 29, 22, tzinfo=UTC)
