"""``make bench``: Reach beside a bare loop that does only the two phases, and beside Celery, on one machine.

Private, durable servers; every contender once a round, each round beginning with another; ratios within a round.
Exit code 1 when one of them did not do the whole job.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench import report
from bench.contenders import Bare, CeleryPrefork, Contender
from bench.job import stores
from bench.race import Backlog, Incomplete, Trickle, run_backlog, run_trickle, trickle_events
from bench.stage import Stage
from bench.suite import Reach
from tests.support.servers import ServerMissing


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    rounds: int
    events: int
    only: tuple[str, ...]
    latency: bool
    rate: float
    seconds: float
    trace_ratio: float
    json: Path | None

    @property
    def stores(self) -> list[str]:
        """Every store that an event of this bench happens in."""
        paced = trickle_events(self.rate, self.seconds) if self.latency else 0
        return stores(max(self.events, paced))


def _reach(stage: Stage, options: Options) -> Contender:
    return Reach(stage, options.stores, trace_ratio=options.trace_ratio)


def _announcing(stage: Stage, options: Options) -> Contender:
    return Reach(
        stage, options.stores, name="reach-announcing", trace_ratio=options.trace_ratio, announces=True
    )


def _untraced(stage: Stage, options: Options) -> Contender:
    return Reach(stage, options.stores, name="reach-untraced", trace_ratio=None)


CONTENDERS: Mapping[str, Callable[[Stage, Options], Contender]] = {
    "reach": _reach,
    "reach-announcing": _announcing,
    "reach-untraced": _untraced,
    "bare": lambda stage, _: Bare(stage),
    "celery-2": lambda stage, _: CeleryPrefork(stage, 2),
    "celery-4": lambda stage, _: CeleryPrefork(stage, 4),
}
DEFAULT = ("reach", "reach-announcing", "bare", "celery-2", "celery-4")
PACED = frozenset({"reach", "reach-announcing", "reach-untraced", "bare"})
"""Whose latency is measured."""


def main(arguments: Sequence[str]) -> int:
    """Race, print, and say whether everybody did the whole job."""
    options = _options(arguments)
    rounds: list[dict[str, Backlog]] = []
    trickles: list[Trickle] = []
    try:
        with Stage() as stage:
            facts = _facts(stage, options)
            print("\n".join(f"{name}: {fact}" for name, fact in facts.items()), "", sep="\n", flush=True)
            contenders = [CONTENDERS[name](stage, options) for name in options.only]
            for number in range(options.rounds):
                first = number % len(contenders)
                order = contenders[first:] + contenders[:first]
                rounds.append(_backlogs(stage, order, number, options))
                trickles += _trickles(stage, order, number, options)
    except (Incomplete, ServerMissing) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    print("", *report.lines(rounds, trickles), sep="\n")
    if options.json is not None:
        options.json.write_bytes(_json(facts, rounds, trickles))
    return _verdict(rounds)


def _backlogs(stage: Stage, order: Sequence[Contender], number: int, options: Options) -> dict[str, Backlog]:
    runs: dict[str, Backlog] = {}
    for contender in order:
        run = runs[contender.name] = run_backlog(stage, contender, options.events)
        print(f"round {number + 1}  {run.contender:<15}{run.rate:8,.0f} events/s", flush=True)
    return runs


def _trickles(stage: Stage, order: Sequence[Contender], number: int, options: Options) -> list[Trickle]:
    runs: list[Trickle] = []
    for contender in order:
        if options.latency and contender.name in PACED:
            run = run_trickle(stage, contender, options.rate, options.seconds)
            middle, late = run.percentile(0.5), run.percentile(0.99)
            print(
                f"round {number + 1}  {run.contender:<15}p50 {middle:.1f} ms, p99 {late:.1f} ms", flush=True
            )
            runs.append(run)
    return runs


def _verdict(rounds: Sequence[Mapping[str, Backlog]]) -> int:
    problems = [f"{run.contender}: {text}" for one in rounds for run in one.values() for text in run.problems]
    for problem in problems:
        print(f"bench: not the whole job: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _facts(stage: Stage, options: Options) -> dict[str, str]:
    return {
        "job": f"{options.events:,} order.created over {len(stores(options.events))} stores, one POST each, "
        f"{options.rounds} rounds; from the sink's first POST to the last row",
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}",
        "servers": ", ".join(f"{name} {version}" for name, version in stage.versions().items())
        + ", private, quorum queues, fsync and synchronous_commit on",
        "Python": platform.python_version(),
        "announcements": "of accepted deliveries off for reach, whose job is then the peers'; on, as by default, for "
        "reach-announcing, which publishes one event more for each",
        "tracing": f"OTLP over gRPC, sampler parentbased_traceidratio {options.trace_ratio:g} (reach only)",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _json(
    facts: Mapping[str, str], rounds: Sequence[Mapping[str, Backlog]], trickles: Sequence[Trickle]
) -> bytes:
    found = {
        "facts": facts,
        "rounds": [{name: {**asdict(run), "rate": run.rate} for name, run in one.items()} for one in rounds],
        "latency_ms": [
            {"contender": one.contender, "rate": one.rate}
            | {f"p{100 * share:g}": one.percentile(share) for share in report.PERCENTILES}
            for one in trickles
        ],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--events", type=_positive, default=10_000, help="in each backlog")
    parser.add_argument("--only", type=_names, default=DEFAULT, help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--latency", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second, for latency")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long, for latency")
    parser.add_argument("--trace-ratio", type=float, default=0.01, help="share of events traced")
    parser.add_argument("--json", type=Path, help="write every figure there too")
    return Options(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise argparse.ArgumentTypeError(
            f"not known: {', '.join(unknown)}; choose of {', '.join(CONTENDERS)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
