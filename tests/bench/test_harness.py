"""The race as it is run, at a fiftieth of its length: it must work, however fast it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.process import ROOT


@pytest.mark.server
@pytest.mark.timeout(240)  # most of it is the start of private servers, on a machine that tests keep busy
def test_everybody_does_the_whole_job(tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    short = ["--rounds", "1", "--events", "100", "--rate", "50", "--seconds", "1", "--trace-ratio", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *short, "--only", "reach,bare", "--json", str(found)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = orjson.loads(found.read_bytes())
    (runs,) = figures["rounds"]
    assert {name: (run["distinct"], run["posts"]) for name, run in runs.items()} == dict.fromkeys(
        ("reach", "bare"), (100, 100)
    )
    assert set(runs["reach"]["rows"]) >= {"inbox", "delivery", "recipient", "attempt"}
    assert runs["reach"]["spans"] > 0
    assert [one["contender"] for one in figures["latency_ms"]] == ["reach", "bare"]


def test_a_name_that_races_not_is_refused() -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "reach,hare"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not known: hare" in done.stderr
