"""What ``reach`` says of itself, and what that costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from cli.main import app
from tests.cli.support import environment

HEAVY = ("grpc", "sqlalchemy", "pydantic", "aiormq", "aiohttp", "rich", "google", "services", "sandbox")
COMMANDS = {
    "up", "serve", "sandbox", "migrate", "demo", "publish", "send", "explain", "stats", "campaign", "playbook", "groups", "facts", "roles", "rules",
    "policy", "doctor", "health", "dead", "audit", "breakers", "token", "credentials",
}  # fmt: skip


def test_every_command_of_the_public_face_is_there() -> None:
    assert set(typer.main.get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


def test_declaring_the_commands_imports_nothing_they_work_with(tmp_path: Path) -> None:
    question = "import sys, cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", question],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(done.stdout.split()).isdisjoint(HEAVY)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.output


def test_help_shows_how_attributes_are_written() -> None:
    shown = CliRunner().invoke(app, ["roles", "set", "--help"], env={"COLUMNS": "160"})
    assert "zhang[name=张三,title=主管]" in shown.output  # the help's own markup takes brackets for styles


def test_an_unknown_command_is_a_mistake_of_the_caller() -> None:
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2
