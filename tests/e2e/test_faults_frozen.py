"""A replica that was frozen past its leases (F-P2): when it wakes, others have done its work, and it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.notifier.pipeline.settling import LOST
from tests.chaos.storm import Servers, Storm
from tests.e2e.faults import all_is_well, bring, counted, in_flight, orders
from tests.e2e.harness import eventually, names_on

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SENDERS = 64
LEASE_SECONDS = 30
ANSWERED = f"SELECT count(*) FROM attempt WHERE attempt_no = 1 AND detail <> '{LOST}'"
"""First attempts about which the frozen replica has had its say."""

OTHERS = "SELECT count(*) FROM delivery WHERE status = 'sending' AND lease_owner LIKE '%:{}:%'"
OVER = "SELECT count(*) FROM delivery WHERE status NOT IN ('pending', 'deferred', 'sending')"


async def test_a_frozen_replica_changes_nothing_when_it_wakes(
    tmp_path: Path, amqp_url: str, postgres_database: str
) -> None:
    async with (
        names_on(amqp_url) as names,
        Storm(
            tmp_path,
            replicas=2,
            servers=Servers(postgres_database, amqp_url, names),
            latency_ms=3000,
            clock="sandbox",
        ) as storm,
    ):
        frozen = storm.members[0]
        await frozen.doors.cast([])
        made = orders(80)
        await bring(storm, frozen.doors.push, made)
        await in_flight(storm, SENDERS)
        assert frozen.program is not None
        frozen.program.freeze()
        storm.note("replica 0 frozen, with requests in flight and others not begun")
        await storm.sandbox.clear_faults()
        await storm.sandbox.fault(path="/cgi-bin/*/send", latency_ms=6000)
        await storm.sandbox.advance(LEASE_SECONDS + 10)
        await _taken_over(storm)
        frozen.program.thaw()
        storm.note("replica 0 awake; the other is sending what it had")

        async def told() -> bool:
            return await counted(storm, ANSWERED) == len(made)

        await eventually(told, 20, every=0.1)
        assert await counted(storm, OVER) == 0, "what the frozen one learned late decides nothing"
        assert await counted(storm, OTHERS.format(storm.pids[1])) >= SENDERS
        await storm.sandbox.clear_faults()
        await bring(storm, frozen.doors.push, orders(3))  # and it works again
        await all_is_well(storm)
        posts = sum(map(len, storm.history.posts.values()))
        assert posts == SENDERS + len(made) + 3, "the frozen one sent nothing that it had not begun"


async def _taken_over(storm: Storm) -> None:
    """Wait until the other replica is sending for the frozen one."""

    async def look() -> bool:
        return await counted(storm, OTHERS.format(storm.pids[1])) >= SENDERS

    await eventually(look, 20, every=0.1)
    await in_flight(storm, SENDERS)
