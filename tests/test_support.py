"""The servers on loan: shared ones answer, private ones can be broken and come back, nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import aio_pika
import psutil  # type: ignore[import-untyped]  # ships no stubs
import psycopg
import pytest
from sqlalchemy.engine import make_url

from shared.clock import ManualClock
from tests.support.home import Home
from tests.support.node import Broker, Node

ROOT = Path(__file__).parents[1]


async def test_the_shared_broker_lets_us_in(amqp_url: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    await connection.close()


async def test_a_virtual_host_is_empty_and_ours(amqp_vhost: str, unique: str) -> None:
    connection = await aio_pika.connect(amqp_vhost)
    async with connection:
        queue = await (await connection.channel()).declare_queue("reach.notifier", exclusive=True)
    assert queue.declaration_result.message_count == 0
    assert amqp_vhost.endswith(f"/{unique}")


def test_a_database_is_empty_and_ours(database_url: str) -> None:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        assert not Path(url.database).exists()
        return
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


@pytest.mark.fault
async def test_messages_survive_a_broker_that_was_killed(rabbit_node: Broker) -> None:
    connection = await aio_pika.connect(rabbit_node.url)
    channel = await connection.channel()
    await channel.declare_queue("kept", durable=True)
    message = aio_pika.Message(b"x", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, "kept")
    rabbit_node.kill()
    rabbit_node.start()
    connection = await aio_pika.connect(rabbit_node.url)
    async with connection:
        queue = await (await connection.channel()).declare_queue("kept", durable=True)
        async with asyncio.timeout(30), queue.iterator() as kept:  # it answers before it has read all it kept
            assert (await anext(kept)).body == b"x"


@pytest.mark.fault
def test_an_alarm_can_be_raised_and_lifted(rabbit_node: Broker) -> None:
    alarms = ("eval", "length(rabbit_alarm:get_alarms()).")
    rabbit_node.alarm(on=True)
    assert rabbit_node.ctl(*alarms).strip() == "1"
    rabbit_node.alarm(on=False)
    assert rabbit_node.ctl(*alarms).strip() == "0"


@pytest.mark.fault
def test_rows_survive_a_database_that_was_killed_and_one_that_was_stopped(postgres_node: Node) -> None:
    with psycopg.connect(postgres_node.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    for interrupt in (postgres_node.kill, postgres_node.stop):
        interrupt()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres_node.url)
        postgres_node.start()
        with psycopg.connect(postgres_node.url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


@pytest.mark.fault
def test_what_a_killed_run_started_is_ended_for_it() -> None:
    code = (
        "import os, sys, signal; from tests.support.home import Home; from pathlib import Path\n"
        "home = Home.create(); p = home.spawn(['sleep', '600'], home.path / 'log')\n"
        "print(home.path, p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    path, pid = done.stdout.split()
    with contextlib.suppress(psutil.NoSuchProcess):  # it may be faster than we
        psutil.Process(int(pid)).wait(30)
    until = time.monotonic() + 30
    while Path(path).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(path).exists()


def test_a_home_goes_when_it_is_released() -> None:
    home = Home.create()
    sleeper = home.spawn(["sleep", "600"], home.path / "log")
    home.release()
    assert not home.path.exists()
    assert not sleeper.is_running()


def test_the_clock_moves_only_when_told(manual_clock: ManualClock) -> None:
    assert manual_clock.now() == manual_clock.now()
