"""SIGTERM under load: everything begun is finished, everything else is put back, and nothing is left open."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.load import Load
from tests.chaos.storm import Servers, Storm
from tests.e2e.faults import all_is_well, bring, counted, in_flight, orders
from tests.e2e.harness import names_on
from tests.support.process import Program

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

STARTED = "SELECT count(*) FROM attempt WHERE state = 'started'"
SENDING = "SELECT count(*) FROM delivery WHERE status = 'sending'"
UNKNOWN = "SELECT count(*) FROM attempt WHERE state = 'unknown'"
PUT_BACK = (
    "SELECT count(*) FROM delivery d JOIN attempt a ON a.delivery_id = d.id"
    " WHERE d.status = 'pending' AND d.retries = 0 AND a.state = 'not_sent'"
)


async def stop(storm: Storm, index: int = 0) -> None:
    """SIGTERM; it must end in order and in time."""
    began = time.monotonic()
    storm.note(f"SIGTERM to replica {index}")
    program = storm.members[index].program
    assert program is not None
    assert await storm.members[index].end(Program.stop) == 0, program.output()
    assert time.monotonic() - began < 30


async def test_a_stop_finishes_what_is_in_flight_and_puts_the_rest_back(tmp_path: Path) -> None:
    # The platform is so slow that of 150 the last are still waiting when the signal comes, however slow this machine is.
    async with Storm(tmp_path, latency_ms=6000) as storm:
        await storm.members[0].doors.cast([])
        await bring(storm, storm.members[0].doors.push, orders(150))
        await in_flight(storm, 64)
        await stop(storm)
        begun = len(await storm.sandbox.sends())
        assert await counted(storm, STARTED) == await counted(storm, SENDING) == 0
        assert await counted(storm, PUT_BACK) == 150 - begun > 0
        await storm.sandbox.clear_faults()
        await storm.members[0].start()
        await all_is_well(storm)
        assert await counted(storm, UNKNOWN) == 0
        assert sum(map(len, storm.history.posts.values())) == 150


async def test_stopping_replicas_in_turn_under_load_loses_and_repeats_nothing(
    tmp_path: Path, amqp_url: str, postgres_database: str
) -> None:
    async with (
        names_on(amqp_url) as names,
        Storm(tmp_path, replicas=2, servers=Servers(postgres_database, amqp_url, names)) as storm,
    ):
        await storm.members[0].doors.cast([])
        load = Load(1, storm.doors(), rate=60)
        loading = asyncio.create_task(load.run(orders(500)))
        for turn, moment in enumerate((80, 200, 320)):
            await load.reached(moment)
            await stop(storm, turn % 2)
            owners = "SELECT count(*) FROM attempt WHERE state = 'started' AND owner LIKE '%:{}:%'"
            assert await counted(storm, owners.format(storm.pids[turn % 2])) == 0
            await storm.members[turn % 2].start()
        await loading
        storm.history.accepted |= load.accepted
        await all_is_well(storm)
        assert await counted(storm, UNKNOWN) == 0


async def test_a_second_signal_ends_it_at_once_and_loses_nothing(tmp_path: Path) -> None:
    async with Storm(tmp_path, latency_ms=6000) as storm:
        await storm.members[0].doors.cast([])
        await bring(storm, storm.members[0].doors.push, orders(5))
        await in_flight(storm, 5)

        def twice(program: Program) -> tuple[int, float]:
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(Exception, match="timed out"):
                program.process.wait(1.5)  # it waits for the answers
            second = time.monotonic()
            program.process.send_signal(signal.SIGTERM)
            return program.wait(5), time.monotonic() - second

        code, took = await storm.members[0].end(twice)  # type: ignore[misc]
        assert (code, took < 2) == (3, True)
        await storm.sandbox.clear_faults()
        await storm.members[0].start()
        await all_is_well(storm)
