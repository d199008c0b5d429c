"""kill -9 at moments a seed decides, under load: nothing is lost, and every repeat has its reason on record.

The bounded runs of `make test`; `make chaos` brings 10,000 events.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.storm import Report, Servers, Storm, run
from tests.e2e.harness import names_on

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def judge(report: Report) -> None:
    print(report, *report.history.log, sep="\n")
    assert not report.violations, str(report)
    assert report.sums["recorded events"] == report.sums["accepted events"]


async def test_kills_of_an_embedded_process_lose_and_double_nothing(tmp_path: Path) -> None:
    async with Storm(tmp_path) as storm:
        judge(await run(storm, 20260302, 400, 3, rate=80))


async def test_kills_of_one_replica_lose_and_double_nothing(
    tmp_path: Path, amqp_url: str, postgres_database: str
) -> None:
    async with (
        names_on(amqp_url) as names,
        Storm(tmp_path, servers=Servers(postgres_database, amqp_url, names)) as storm,
    ):
        judge(await run(storm, 20260303, 400, 3, rate=80))


async def test_kills_of_three_replicas_lose_and_double_nothing(
    tmp_path: Path, amqp_url: str, postgres_database: str
) -> None:
    async with (
        names_on(amqp_url) as names,
        Storm(tmp_path, replicas=3, servers=Servers(postgres_database, amqp_url, names)) as storm,
    ):
        judge(await run(storm, 20260304, 500, 4, rate=100))
