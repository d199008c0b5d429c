"""docs/deploy.md, followed as it stands: the processes' part, command by command, on a broker and a database."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no stubs
import pytest

from tests.support.home import free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = re.compile(r"\b(?:500[56]\d|80[89]\d|9100|94[67]\d)\b")
LONGEST = 600
"""Seconds; the guide promises less than ten minutes."""


def part(heading: str) -> str:
    """What stands under a heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def steps() -> list[str]:
    """The blocks of the processes' part, without the first: what it installs is here already."""
    first, *others = BLOCK.findall(part("Processes"))
    assert "make setup" in first
    return others


def elsewhere(text: str, amqp_url: str, database_url: str) -> str:
    """*text* with the servers of this run, and with ports that are free."""
    ports = {port: str(free_port()) for port in sorted(set(PORT.findall(text)))}
    for name, url in (("REACH_AMQP_URL", amqp_url), ("REACH_DATABASE_URL", database_url)):
        (line,) = re.findall(rf"^{name}=.*$", text, re.MULTILINE)
        text = text.replace(line, f"{name}='{url}'")
    return PORT.sub(lambda found: ports[found[0]], text)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the guide is followed; what it started and did not stop is ended."""
    yield tmp_path
    for file in (tmp_path / ".reach/run").glob("*.pid"):
        try:
            psutil.Process(int(file.read_text())).kill()
        except (psutil.NoSuchProcess, ValueError):
            continue


def test_every_port_of_the_guide_is_of_its_own() -> None:
    shown = re.findall(r"^serve (\w+) (\d+) (\d+) (\d+); +serve \1 (\d+) (\d+) (\d+)$", PAGE, re.MULTILINE)
    ports = [port for _, *found in shown for port in found]
    assert len(ports) == 4 * 6
    assert len(set(ports)) == len(ports)


@pytest.mark.timeout(LONGEST)
def test_the_guide_leads_to_a_message_on_two_replicas_of_each(
    place: Path, amqp_vhost: str, postgres_database: str
) -> None:
    script = elsewhere("\n".join(steps()), amqp_vhost, postgres_database)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REACH_", "WECOM_", "DASHSCOPE_"))
    }
    kept["PATH"] = f"{sysconfig.get_path('scripts')}:{kept['PATH']}"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env=kept,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    logs = {log.name: log.read_text()[-800:] for log in (place / ".reach/run").glob("*.log")}
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:], logs)
    assert '"to":"zhangsan"' in done.stdout, done.stdout
    assert "order-1" in done.stdout
    assert time.monotonic() - began < LONGEST
    for file in (place / ".reach/run").glob("*.pid"):
        assert not psutil.pid_exists(int(file.read_text())), file.name
