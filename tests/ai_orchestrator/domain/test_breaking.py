"""What a call says about the breakers it went through."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.ai_orchestrator.domain.breaking import (
    ACCOUNT,
    KEY,
    keys_of,
    remembered,
    said,
    trips,
    troubled,
)
from services.ai_orchestrator.domain.call import CallProblem, Completion, Count, Scope
from shared.breaker import Sign

APP = "app3_clue"
MINE = f"app:{APP}"


def problem(reason: str, count: Count, scope: Scope) -> CallProblem:
    return CallProblem(reason, count=count, scope=scope)


@pytest.mark.parametrize(
    ("outcome", "failing", "opens"),
    [
        (problem("arrears", Count.OPEN, Scope.ACCOUNT), ACCOUNT, True),
        (problem("key_refused", Count.OPEN, Scope.KEY), KEY, True),
        (problem("app_missing", Count.OPEN, Scope.APP), MINE, True),
        (problem("server_fault", Count.COUNT, Scope.APP), MINE, False),
        (problem("timeout", Count.COUNT, Scope.APP), MINE, False),
        (problem("unreachable", Count.COUNT, Scope.ACCOUNT), ACCOUNT, False),
        (problem("content_refused", Count.NEVER, Scope.NONE), None, False),
        (problem("content_refused", Count.NEVER, Scope.APP), None, False),
        (problem("throttled", Count.SLOW, Scope.ACCOUNT), None, False),
        (problem("bad_request", Count.COUNT, Scope.NONE), None, False),
    ],
)
def test_a_failure_counts_for_one_breaker_or_for_none(
    outcome: CallProblem, failing: str | None, opens: bool
) -> None:
    found = {key: said(outcome, key, APP) for key in keys_of(APP)}
    assert [key for key, one in found.items() if one.sign is Sign.FAILS] == ([failing] if failing else [])
    assert all(one.sign is not Sign.WORKS for one in found.values())
    assert any(one.opens for one in found.values()) is opens


def test_an_answer_speaks_for_everything_it_went_through() -> None:
    answer = Completion("{}", "", "stop", None, "r", timedelta(seconds=1))
    assert {said(answer, key, APP).sign for key in keys_of(APP)} == {Sign.WORKS}


def end(recent: str, letters: str) -> str:
    """After calls that worked (w), failed (f), timed out (t), or said nothing (-)."""
    outcomes = {
        "w": Completion("{}", "", "stop", None, "r", timedelta(0)),
        "f": problem("server_fault", Count.COUNT, Scope.APP),
        "t": problem("timeout", Count.COUNT, Scope.APP),
        "s": problem("server_timeout", Count.COUNT, Scope.APP),
        "-": problem("content_refused", Count.NEVER, Scope.NONE),
    }
    for letter in letters:
        recent = remembered(recent, said(outcomes[letter], MINE, APP))
    return recent


@pytest.mark.parametrize(
    ("letters", "opens"),
    [
        ("ffff", False),
        ("fffff", True),
        ("fwfwfwfw", False),
        ("fwfwfwfwf", True),
        ("ffff" + "w" * 6, False),
        ("ffff" + "w" * 7 + "f", False),
        ("tt", False),
        ("ttt", True),
        ("twtwt", False),
        ("tt-t", True),
        ("tst", True),
        ("fft", False),
    ],
)
def test_five_failures_of_ten_open_it_and_so_do_three_time_outs_in_a_row(letters: str, opens: bool) -> None:
    assert trips(end("", letters), 5) is opens


def test_a_failure_is_forgotten_after_ten_calls() -> None:
    assert troubled(end("", "f" + "w" * 9))
    assert not troubled(end("", "f" + "w" * 10))
