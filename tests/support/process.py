"""Processes of ours, started as a user starts them and read by the one line they print when ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """One running program; its output is kept for the failure message."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.facts: dict[str, str] = {}
        self.lines: list[str] = []
        self._ready = threading.Event()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REACH_", "WECOM_", "OTEL_"))}
        env |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}", "PYTHONUNBUFFERED": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self, timeout: float = 90) -> Self:
        """Wait for the ready line and read its ``key=value`` facts."""
        if not self._ready.wait(timeout) or self.process.poll() is not None:
            self.kill()
            raise AssertionError(f"{self.name} did not get ready:\n{self.output()}")
        return self

    def output(self) -> str:
        """Everything printed so far."""
        return "\n".join(self.lines)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._signal(signal.SIGKILL)

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, and wait; the exit code."""
        return self._signal(signal.SIGTERM, timeout)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _signal(self, number: signal.Signals, timeout: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end in {timeout} s:\n{self.output()}") from None
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready"):
                self.facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
                self._ready.set()
        self._ready.set()


def until(condition, timeout: float = 20, every: float = 0.05):  # type: ignore[no-untyped-def]
    """Poll *condition* until it gives something true and return that; AssertionError after *timeout* seconds."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"nothing true within {timeout} s; last: {found!r}")
        time.sleep(every)
