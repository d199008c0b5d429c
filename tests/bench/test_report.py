from __future__ import annotations

import pytest

from bench import report
from bench.job import PER_MEMBER, orders
from bench.meter import MACHINE
from bench.race import Backlog, Trickle, shortfalls


def run(contender: str, rate: float, **changed: object) -> Backlog:
    figures: dict[str, object] = {
        "contender": contender,
        "events": 100,
        "seconds": 100 / rate,
        "afterwards": 0.0,
        "cpu": {contender: 0.5, MACHINE: 1.0},
        "peak_bytes": 2**20,
        "posts": 100,
        "distinct": 100,
        "left_in_queue": 0,
        "rows": {"inbox": 100},
        "spans": 0,
        "problems": (),
    }
    return Backlog(**figures | changed)  # type: ignore[arg-type]


def test_a_ratio_is_taken_within_its_round_and_not_between_medians() -> None:
    # The machine's speed doubles from round to round; the ratio stays what it is.
    rounds = [
        {name: run(name, rate * speed) for name, rate in (("reach", 50), ("bare", 100))}
        for speed in (1, 2, 4)
    ]
    assert report.ratios(rounds, "reach", "bare") == report.Spread(0.5, 0.5, 0.5)


def test_those_who_never_met_have_no_ratio() -> None:
    assert report.ratios([{"reach": run("reach", 50)}], "reach", "bare") is None


@pytest.mark.parametrize(("rate", "verdict"), [(50, "goal 0.5: met"), (49, "goal 0.5: MISSED")])
def test_the_report_says_whether_a_goal_is_met(rate: float, verdict: str) -> None:
    text = "\n".join(report.lines([{"reach": run("reach", rate), "bare": run("bare", 100)}], []))
    assert verdict in text


def test_repeats_and_cpu_show_in_the_report() -> None:
    text = "\n".join(report.lines([{"bare": run("bare", 100, posts=103)}], []))
    assert "100           3         inbox 100" in text
    assert "5.000 (5.000–5.000)" in text  # 0.5 s for 100 events


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    trickle = Trickle("bare", 200, tuple(float(ms) for ms in range(1, 101)))
    assert [trickle.percentile(share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]


def test_everything_that_was_not_done_is_named() -> None:
    found = shortfalls(100, distinct=99, unreadable=1, left=2, rows={"inbox": 100, "attempt": 98})
    assert found == (
        "rows of attempt: 98 of 100",
        "orders at the sink: 99 of 100",
        "POSTs without an order: 1",
        "not acknowledged: 2",
    )


@pytest.mark.parametrize("count", [200, 10_000, 30_000])
def test_no_member_gets_so_much_that_a_limit_bites(count: int) -> None:
    by_store: dict[str, int] = {}
    for order in orders(count):
        by_store[order.store_id] = by_store.get(order.store_id, 0) + 1
    assert len(by_store) >= min(400, count)
    assert max(by_store.values()) <= PER_MEMBER
