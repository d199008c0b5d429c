"""`make chaos`: 10,000 events and kills without mercy, on every set-up; 300 customers written to 40 times at once over
three replicas; a campaign for 600 owners over three replicas, killed twenty times; then every fault test.

Each set-up prints one line of sums and how many violations there were; a violation prints the seed, the invariant and
the slice of history it was seen in, and the exit code is 1. The same seed repeats the same events and the same kills.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.chaos import campaign_storm, kf_storm
from tests.chaos.storm import Report, Servers, Storm, run
from tests.e2e.harness import Names
from tests.support.servers import Kind, private

SETUPS = {"embedded": 1, "one": 1, "three": 3}
"""Name → replicas. ``embedded`` is SQLite in one process, the others PostgreSQL and RabbitMQ."""

KF = "kf"
"""The set-up of kf_session: three replicas, killed three times."""

CAMPAIGN = "campaign"
"""The set-up of campaign: three replicas, killed while owners are asked."""

RATE = 400.0
"""Events begun per second, at most: more than a small machine takes, so the load never lets up."""


RACES = 1000
"""Rounds of each race that an approval has to win or to lose as a whole."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when nothing was violated."""
    chosen = _parser().parse_args(arguments)
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 31)
    clean = True
    for name in chosen.only or (*SETUPS, KF, CAMPAIGN):
        report: Report | kf_storm.Report | campaign_storm.Report
        if name == KF:
            report = _run_kf(seed, chosen.customers, chosen.each)
        elif name == CAMPAIGN:
            report = _run_campaign(seed, chosen.owners)
        else:
            report = _run(name, seed, chosen.events, chosen.kills)
        verdict = f"{len(report.violations)} violations" if report.violations else "no violation"
        print(f"{name}: {verdict}; {report}", flush=True)
        clean = clean and not report.violations
    if clean and not chosen.only:
        # A process of its own: pytest wants to be there before what it rewrites is imported.
        tests = [sys.executable, "-m", "pytest", "-q", "-m", "fault", "tests"]
        more = os.environ | {"REACH_TEST_RACES": str(RACES)}
        clean = subprocess.run(tests, check=False, env=more).returncode == 0
    return 0 if clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeat a run; without it a new one is drawn and printed")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=25, help="per set-up")
    parser.add_argument("--customers", type=int, default=300, help=f"of {KF}")
    parser.add_argument("--each", type=int, default=40, help="pushes to each of them, all at once")
    parser.add_argument("--owners", type=int, default=600, help=f"of {CAMPAIGN}, two groups each")
    parser.add_argument(
        "--only", action="append", choices=(*SETUPS, KF, CAMPAIGN), help="only this set-up, no fault tests"
    )
    return parser


def _run(name: str, seed: int, events: int, kills: int) -> Report:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reach-chaos-")))
        servers = None
        if name != "embedded":
            servers = _servers(stack)
        return asyncio.run(_storm(home, SETUPS[name], servers, seed, events, kills))


def _run_kf(seed: int, customers: int, each: int) -> kf_storm.Report:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reach-chaos-")))
        return asyncio.run(_kf_storm(home, _servers(stack), seed, customers, each))


def _run_campaign(seed: int, owners: int) -> campaign_storm.Report:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reach-chaos-")))
        return asyncio.run(_campaign_storm(home, _servers(stack), seed, owners))


def _servers(stack: ExitStack) -> Servers:
    """Durable, unlike those of ordinary tests: what a confirmed commit means is what is being tested."""
    nodes = [stack.enter_context(private(kind)) for kind in (Kind.POSTGRESQL, Kind.RABBITMQ)]
    return Servers(nodes[0].url, nodes[1].url, Names("reach"))


async def _storm(
    home: Path, replicas: int, servers: Servers | None, seed: int, events: int, kills: int
) -> Report:
    async with Storm(home, replicas=replicas, servers=servers) as storm:
        return await run(storm, seed, events, kills, rate=RATE)


async def _kf_storm(home: Path, servers: Servers, seed: int, customers: int, each: int) -> kf_storm.Report:
    async with kf_storm.programs(home, servers, seed, customers, each) as storm:
        return await storm.run()


async def _campaign_storm(home: Path, servers: Servers, seed: int, owners: int) -> campaign_storm.Report:
    async with campaign_storm.programs(home, servers, seed, owners, each=2, kills=20) as storm:
        return await storm.run()


if __name__ == "__main__":
    sys.exit(main())
