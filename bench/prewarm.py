"""``python -m bench.prewarm``: what a prewarm costs beside the waiting for its answers.

The 72 figures of a store, each answered after 120 ms, eight at a time: nothing could be done in less than 72 / 8 x 120 ms.
Rows, gates, facts, prompts and results are the service's own; only the answers come from this process. Exit code 1 when
the median of the rounds takes more than 1.3 times as long as the ideal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sandbox.dashscope.making import made
from services.ai_orchestrator.assembly import LOCATIONS, NAME
from services.ai_orchestrator.definition_files import load_apps, load_chains
from services.ai_orchestrator.domain.call import Call, Completion, Usage
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.facts.kinds import Item, Kind, VisitFact
from services.ai_orchestrator.domain.masking import kept
from services.ai_orchestrator.domain.planning import AREAS
from services.ai_orchestrator.facts_side import FactsSide
from services.ai_orchestrator.gates_side import GatesSide
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import ENDED
from services.ai_orchestrator.pipeline.waiting import WaitingSteps
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.runs_side import Neighbours, RunsSide
from services.ai_orchestrator.store import facts
from shared.audit import AuditLog
from shared.clock import SystemClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.once import Once
from shared.rpc import principal
from shared.secrets import SecretKey
from shared.settings import load
from shared.telemetry.metrics import Metrics
from tests.support.servers import Kind as ServerKind
from tests.support.servers import ServerMissing, private

WORST = 1.3
_MOST = 60.0
"""Seconds in which a round is over, whatever happens."""


class Answering:
    """Meets ``ports.Provider``: says after a while what meets the app's schema."""

    def __init__(self, book: Book, latency: float) -> None:
        self._book = book
        self._latency = latency
        self.calls = 0

    async def complete(self, call: Call) -> Completion:
        """See Provider."""
        self.calls += 1
        answer = json.dumps(made(self._book.apps[call.app_type].schema, call.prompt), ensure_ascii=False)
        await asyncio.sleep(self._latency)
        took = timedelta(seconds=self._latency)
        return Completion(answer, "", "stop", Usage(900, 300, ("qwen-plus",)), "r", took)


@dataclass(frozen=True, slots=True)
class Found:
    """One round."""

    steps: int
    seconds: float


async def measure(url: str, options: argparse.Namespace) -> list[Found]:
    """A prewarm a round on the database at *url*, each of another store."""
    principal.enter(principal.LOCAL_OPERATOR)
    settings = load({"REACH_AI_PREWARM_AT_ONCE": str(options.width), **_WIDE})
    database, clock, numbers = Database.open(url, schema=NAME), SystemClock(), Metrics()
    audit, book = AuditLog(database.dialect, SecretKey(b"k" * 32)), Book(load_apps(), load_chains())
    zone, provider = settings.default_zone, Answering(book, options.latency)
    gates = GatesSide(database, audit, clock, numbers, settings.limits, zone, WaitingSteps(database))
    known, results = FactsSide(database, clock, settings), ResultsSide(database, audit, clock)
    near = Neighbours(
        provider, gates.gates, known.materials, results.keeping, results.alerting, results.announce_run, known.learn,
        sites=known.site_of, mask=kept,
    )  # fmt: skip
    side = RunsSide(database, book, settings, audit, clock, numbers, "bench", near)
    try:
        await side.open()
        loop = asyncio.create_task(side.engine.run(lambda: None))
        try:
            async with asyncio.timeout(_MOST * options.rounds):
                return [
                    await _round(side, database, provider, f"s{number}", options.visits)
                    for number in range(options.rounds)
                ]
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
    finally:
        await database.close()


_WIDE = {
    f"REACH_LIMIT_AI_{name}": "100000000"
    for name in (
        "STORE_TOKENS_PER_DAY",
        "STORE_TOKENS_PER_MONTH",
        "TOKENS_PER_DAY",
        "TOKENS_PER_MONTH",
        "STORE_TOKENS_PER_MINUTE",
        "TOKENS_PER_MINUTE",
    )
} | {f"REACH_LIMIT_AI_{name}": "100000" for name in ("STORE_PER_MINUTE", "PER_MINUTE")}
"""No gate is in the way."""


async def _round(side: RunsSide, database: Database, provider: Answering, store: str, visits: int) -> Found:
    await _fill(database, store, visits)
    signal, before = database.wakeups.listen(ENDED), provider.calls
    once = Once("", "bench/Run", "", "")
    began = time.perf_counter()
    started = await side.runs.handle_bare(
        "dws.completed", Subject(store), forced=False, connector="", event_id="", once=once
    )
    while True:
        await signal.wait(1)
        seconds = time.perf_counter() - began
        view = await side.runs.get(started.run_id, None)
        if view.run["finished_at"] is not None:
            break
    assert view.run["status"] == "completed", view.run
    return Found(provider.calls - before, seconds)


async def _fill(database: Database, store: str, visits: int) -> None:
    """So many visits to each area, over half a year back from now."""
    now = datetime.now(UTC)
    found = [
        VisitFact(
            f"v{at}-{area}",
            now - timedelta(days=at % 180, minutes=at),
            10_000 + at,
            member_id=f"m{at % 100}",
            area=area,
            seconds=7200,
            items=(Item("台费", 1000, 8000), Item("可乐", 2000, 1200)),
        )
        for at in range(visits)
        for area in AREAS[1:]
    ]
    await database.transact(lambda conn: facts.save(conn, store, Kind.VISIT, found, now))


def report(kind: str, found: Sequence[Found], options: argparse.Namespace) -> bool:
    """Print a line a round; whether the median is near enough to the ideal."""
    ratios = []
    for one in found:
        ideal = math.ceil(one.steps / options.width) * options.latency
        ratios.append(one.seconds / ideal if ideal else 1.0)
        print(f"{kind:<12}{one.steps:>4} asked{one.seconds:>8.2f} s, ideal {ideal:.2f} s   {ratios[-1]:.2f}")
    good = median(ratios) <= WORST
    print(f"{kind:<12}median {median(ratios):.2f}" + ("" if good else f"  <- more than {WORST}"))
    return good


@contextmanager
def _sqlite() -> Iterator[str]:
    with TemporaryDirectory(prefix="reach-prewarm-") as home:
        yield f"sqlite:///{Path(home)}/prewarm.db"


@contextmanager
def _postgresql() -> Iterator[str]:
    with private(ServerKind.POSTGRESQL, durable=True) as node:
        yield node.url.replace("postgresql+psycopg:", "postgresql:")


KINDS = {"sqlite": _sqlite, "postgresql": _postgresql}


def main(arguments: Sequence[str]) -> int:
    """Measure on each kind of database, print, and say whether each is near enough to the ideal."""
    options = _options(arguments)
    good = True
    for kind in options.only:
        try:
            with KINDS[kind]() as url:
                migrate(url, NAME, LOCATIONS)
                good = report(kind, asyncio.run(measure(url, options)), options) and good
        except ServerMissing as problem:
            print(f"bench: {problem}", file=sys.stderr)
            return 1
    return 0 if good else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.prewarm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=8, help="steps side by side")
    parser.add_argument("--latency", type=float, default=0.12, help="seconds of an answer")
    parser.add_argument("--visits", type=int, default=200, help="visits to each area of a store")
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="one kind of database; repeat it. Empty: both"
    )
    options = parser.parse_args(arguments)
    options.only = options.only or list(KINDS)
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
