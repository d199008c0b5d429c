"""Replicas that are killed while owners are asked: every group once, and an outcome for every one.

The bounded run of `make test`; `make chaos` has 600 owners and twenty kills.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign_storm import programs
from tests.chaos.storm import Servers
from tests.e2e.harness import names_on

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]


async def test_kills_while_owners_are_asked_double_and_lose_nothing(
    tmp_path: Path, amqp_url: str, postgres_database: str
) -> None:
    async with names_on(amqp_url) as names:
        servers = Servers(postgres_database, amqp_url, names)
        async with programs(tmp_path, servers, 20260302, owners=30, each=3, kills=3) as storm:
            report = await storm.run()
    print(report)
    assert not report.violations, str(report)
    assert report.sums["sent"] >= report.sums["groups"] * 3 // 4
    assert report.sums["never confirmed"] == report.sums["owners who never confirm"] * 3
