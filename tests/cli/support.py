"""Commands as a user runs them: a process of their own, in a directory of their own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ("REACH_", "WECOM_", "WECHAT_", "WEWORK_", "DASHSCOPE_", "OTEL_")
PORTS = {
    "REACH_GRPC_LISTEN": "127.0.0.1:0",
    "REACH_HTTP_LISTEN": "127.0.0.1:0",
    "REACH_SANDBOX_LISTEN": "127.0.0.1:0",
}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it said on stderr, by line."""
        return self.err.splitlines()


def environment(**extra: str) -> dict[str, str]:
    """The environment of a command: what a developer's shell sets of ours is left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **kept,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        **extra,
    }


class Reach:
    """The ``reach`` command with a home and variables of its own."""

    def __init__(self, place: Path, **variables: str) -> None:
        self.place = place
        self.variables = {"REACH_HOME": str(place / "home"), **variables}

    def __call__(self, *arguments: str, stdin: str = "", **extra: str) -> Done:
        """Run to the end inside this process, which saves the second that starting Python takes."""
        with _logs_restored():
            done = CliRunner().invoke(
                app,
                list(arguments),
                input=stdin,
                env={"COLUMNS": "200", **self.variables, **extra},
                prog_name="reach",
            )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def process(self, *arguments: str, stdin: str = "", timeout: float = 100, **extra: str) -> Done:
        """Run to the end as a user does: a process whose standard input is no terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=environment(**{**self.variables, **extra}),
            cwd=self.place,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def with_(self, **variables: str) -> Reach:
        """The same with further variables."""
        return Reach(self.place, **{**self.variables, **variables})


@contextmanager
def _logs_restored() -> Iterator[None]:
    """A command sends the process's logs to its own stderr, which ends with it."""
    root, kept = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        logging.captureWarnings(False)
        logging.disable(logging.NOTSET)
        structlog.configure(**kept)
