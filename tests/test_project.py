"""The repository's own promises: what a reader or a fresh clone relies on."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import lint

ROOT = Path(__file__).parents[1]
OFFLINE = [check for check in lint.CHECKS if check is not lint.protos_compatible]


@pytest.mark.parametrize("check", OFFLINE, ids=lambda check: check.__name__)
def test_the_repository_passes(check: Callable[[], list[str]]) -> None:
    try:
        assert check() == []
    except lint.Skipped as missing:
        pytest.skip(str(missing))


def test_the_layers_are_kept() -> None:
    program = Path(sysconfig.get_path("scripts"), "lint-imports")
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_service_imports_no_other_service() -> None:
    services = [path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists()]
    for service in services:
        others = "|".join(name for name in services if name != service)
        foreign = re.compile(rf"^\s*(from|import) services\.({others})\b", re.MULTILINE) if others else None
        for file in (ROOT / "services" / service).rglob("*.py"):
            assert foreign is None or not foreign.search(file.read_text()), file


def test_nothing_that_is_made_is_committed() -> None:
    made = re.compile(r"(_pb2(_grpc)?\.pyi?|\.egg-info/.*|\.sqlite3?|\.db)$")
    assert [
        path for path in lint.tracked() if made.search(str(path)) or path.is_relative_to(ROOT / "gen")
    ] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "tools/uv.txt"])
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for entry in filter(str.strip, entries):
        assert re.match(r"[\w.\[\]-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_what_builds_the_wheel_is_what_the_lock_has() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    locked = (ROOT / "requirements-dev.txt").read_text()
    assert [line for line in wanted if f"{line} " not in locked] == []


def test_every_verb_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert verbs is not None
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(verbs.group(1).split()) == {line.split()[0] for line in listed.splitlines()}
