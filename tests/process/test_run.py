"""How a process ends: asked, impatiently asked, stuck, misconfigured, failed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.process import HomeLock, StartupError

BODY = """
import asyncio, sys, time
from datetime import timedelta
from shared.environment import ConfigurationError
from shared.errors import Unavailable
from shared.process import StartupError, run

async def main(stop):
    print("up", flush=True)
    {body}

sys.exit(run(main, grace=timedelta(seconds={grace})))
"""


def start(body: str, grace: float = 20) -> subprocess.Popen[str]:
    code = BODY.format(body=body, grace=grace)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(number: int) -> None:
    process = start(
        "await stop.wait(); assert stop.remaining().total_seconds() <= 20; print('drained', flush=True)"
    )
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "drained\n"
    assert ended(process) == (0, "")


def test_a_signal_that_echoes_at_once_is_one_signal() -> None:
    process = start("await stop.wait(); print('stopping', flush=True); await asyncio.sleep(1)")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"  # so that the two do not merge into one on the way
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "")


def test_a_second_signal_ends_it_at_once() -> None:
    process = start("await stop.wait(); print('stopping', flush=True); await asyncio.sleep(60)")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    time.sleep(0.7)  # beyond what counts as an echo
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code == 3
    assert "second signal" in err


@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(60)", "await asyncio.sleep(60)"])
def test_the_hard_stop_needs_nothing_of_the_event_loop(body: str) -> None:
    process = start(body, grace=0.5)
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code == 3
    assert "not stopped after 0.5 s" in err


def test_every_problem_of_the_configuration_has_its_line() -> None:
    code, err = ended(start("raise ConfigurationError(['A is wrong', 'B too: key=s3cr3tkey'])"))
    assert code == 2
    assert err == "reach: A is wrong\nreach: B too: key=***\n"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise StartupError('.reach is in use')", ".reach is in use"),
        (
            "raise Unavailable('DEPENDENCY_DOWN', 'PostgreSQL cannot be reached')",
            "PostgreSQL cannot be reached",
        ),
        ("await asyncio.open_connection('127.0.0.1', 1)", "a server cannot be reached"),
        ("raise ExceptionGroup('', [ConnectionRefusedError('amqp://u:pa55word@h')])", "amqp://u:***@h"),
    ],
)
def test_an_expected_failure_is_one_line_with_the_fix(body: str, told: str) -> None:
    code, err = ended(start(body))
    assert code == 1
    assert told in err
    assert err.startswith("reach: ")
    assert len(err.splitlines()) == 1


def test_a_taken_port_is_one_line_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = ended(start(f"await asyncio.start_server(lambda r, w: None, '127.0.0.1', {port})"))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert str(port) in err
    assert "stop what uses it" in err


def test_a_bug_shows_its_traceback_without_secrets() -> None:
    code, err = ended(start("raise KeyError('https://h/?access_token=' + 's3cr3t' * 2)"))
    assert code == 1
    assert "Traceback" in err
    assert "s3cr3ts3cr3t" not in err


def test_a_home_belongs_to_one_process(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        HomeLock(home),
        pytest.raises(StartupError, match=f"in use by process {os.getpid()}"),
        HomeLock(home),
    ):
        pass
    with HomeLock(home):  # given back
        assert home.stat().st_mode & 0o777 == 0o700


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    body = f"from shared.process import HomeLock; from pathlib import Path; lock = HomeLock(Path({str(tmp_path)!r})); lock.__enter__(); print('locked', flush=True); await stop.wait()"
    process = start(body)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(StartupError, match=f"process {process.pid}"), HomeLock(tmp_path):
        pass
    process.kill()
    process.communicate(timeout=20)
    with HomeLock(tmp_path):
        pass
