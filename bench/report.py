"""What the rounds say: medians and spreads, and ratios taken within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from bench.meter import MACHINE
from bench.race import Backlog, Trickle

GOALS: Mapping[str, float] = {"bare": 0.5, "celery-2": 3.0, "celery-4": 3.0}
"""What Reach's rate is to be, in multiples of each."""
PERCENTILES = (0.5, 0.9, 0.99, 1.0)

_Run = TypeVar("_Run", Backlog, Trickle)
Round = Mapping[str, Backlog]
"""The runs of one round, by contender."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a figure over the rounds, and its extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        found = list(values)
        return cls(median(found), min(found), max(found))

    def text(self, digits: int = 0) -> str:
        """``median (low-high)``."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def ratios(rounds: Sequence[Round], of: str, to: str) -> Spread | None:
    """The rate of one in multiples of the other's in the same round; None when they never met."""
    met = [one[of].rate / one[to].rate for one in rounds if of in one and to in one]
    return Spread.of(met) if met else None


def lines(rounds: Sequence[Round], trickles: Sequence[Trickle]) -> list[str]:
    """The whole report."""
    names = list(dict.fromkeys(name for one in rounds for name in one))
    runs = {name: [one[name] for one in rounds if name in one] for name in names}
    return [
        *_table(
            "rate and cost", ("who", "events/s", "CPU s per 1,000 events", "peak RSS MiB"), runs, _rate_row
        ),
        "",
        *_table(
            "where the CPU goes, s per 1,000 events",
            ("who", "itself", "broker", "database", "sink", "whole machine"),
            runs,
            _cpu_row,
        ),
        "",
        *_ratio_lines(rounds, names),
        "",
        *_table("the whole job", ("who", "at the sink", "repeats", "rows", "spans"), runs, _job_row),
        *_latency_lines(trickles),
    ]


def _rate_row(runs: Sequence[Backlog]) -> list[str]:
    name = runs[0].contender
    return [
        name,
        Spread.of(run.rate for run in runs).text(),
        _per_thousand(runs, name).text(3),
        Spread.of(run.peak_bytes / 2**20 for run in runs).text(),
    ]


def _cpu_row(runs: Sequence[Backlog]) -> list[str]:
    groups = (runs[0].contender, "broker", "database", "sink", MACHINE)
    return [
        runs[0].contender,
        *(
            f"{_per_thousand(runs, group).median:.3f}" if group in runs[0].cpu else "not measured"
            for group in groups
        ),
    ]


def _per_thousand(runs: Sequence[Backlog], group: str) -> Spread:
    return Spread.of(1000 * run.cpu[group] / run.events for run in runs)


def _job_row(runs: Sequence[Backlog]) -> list[str]:
    return [
        runs[0].contender,
        _same(str(run.distinct) for run in runs),
        _same(str(run.posts - run.distinct) for run in runs),
        _same(", ".join(f"{table} {count}" for table, count in run.rows.items()) for run in runs),
        _same(str(run.spans) for run in runs),
    ]


def _same(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _ratio_lines(rounds: Sequence[Round], names: Sequence[str]) -> list[str]:
    found = ["ratio of rates within a round: median (min–max)"]
    for name in names:
        if not name.startswith("reach"):
            continue
        for peer in names:
            if peer == name or (spread := ratios(rounds, name, peer)) is None:
                continue
            goal = GOALS.get(peer)
            verdict = ""
            if goal is not None:
                verdict = f"   goal {goal:g}: {'met' if spread.median >= goal else 'MISSED'}"
            found.append(f"  {name} / {peer}: {spread.text(2)}{verdict}")
    return found if len(found) > 1 else []


def _latency_lines(trickles: Sequence[Trickle]) -> list[str]:
    if not trickles:
        return []
    by_name: dict[str, list[Trickle]] = {}
    for one in trickles:
        by_name.setdefault(one.contender, []).append(one)
    title = f"latency publish → sink at {trickles[0].rate:g} events/s, ms: median over rounds (min–max)"
    return ["", *_table(title, ("who", "p50", "p90", "p99", "max"), by_name, _latency_row)]


def _latency_row(runs: Sequence[Trickle]) -> list[str]:
    return [
        runs[0].contender,
        *(Spread.of(run.percentile(share) for run in runs).text(1) for share in PERCENTILES),
    ]


def _table(
    title: str,
    head: Sequence[str],
    runs: Mapping[str, Sequence[_Run]],
    row: Callable[[Sequence[_Run]], list[str]],
) -> list[str]:
    rows: list[Sequence[str]] = [head, *(row(of) for of in runs.values())]
    widths: list[int] = [max(len(line[column]) for line in rows) for column in range(len(head))]
    return [title, *(_columns(line, widths) for line in rows)]


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  " + "   ".join(padded).rstrip()
