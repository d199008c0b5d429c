"""CPU seconds and memory of process trees, from /proc, cheap enough to be read while the race is on."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)
MACHINE = "machine"
"""The group of everything that runs here, whoever started it."""


def tree(pid: int) -> Iterator[int]:
    """*pid* and its descendants, as they are now."""
    yield pid
    with suppress(*_GONE):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree of *pid*, ended and awaited children included."""
    ticks = 0
    for member in tree(pid):
        with suppress(*_GONE):
            # The name in parentheses may hold anything; fields are counted behind it.
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICK


def machine_seconds() -> float:
    """Busy time of all cores: what is neither idle nor waiting for a disk."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (
            int(x) for x in file.readline().split()[1:9]
        )
    return (user + nice + system + irq + softirq + steal) / _TICK


def peak_bytes(pid: int) -> int:
    """The most resident memory each process of the tree ever had, added up; shared pages count for each."""
    total = 0
    for member in tree(pid):
        with suppress(*_GONE):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


class Meter:
    """Samples of CPU time by group, to be asked later what was spent between two instants."""

    def __init__(self, groups: Mapping[str, int], *, every: float = 0.05) -> None:
        """*groups* are root processes by name; samples are at least *every* seconds apart."""
        self._groups = groups
        self._every = every
        self._at: list[float] = []
        self._values: list[dict[str, float]] = []

    def sample(self) -> None:
        """Take a sample if one is due."""
        if self._at and time.monotonic() - self._at[-1] < self._every:
            return
        self.sample_now()

    def sample_now(self) -> None:
        """Take a sample."""
        values = {name: cpu_seconds(pid) for name, pid in self._groups.items()}
        values[MACHINE] = machine_seconds()
        self._at.append(time.monotonic())
        self._values.append(values)

    def between(self, start: float, end: float) -> dict[str, float]:
        """CPU seconds by group from *start* to *end*, straight lines assumed between samples."""
        return {name: self._value(name, end) - self._value(name, start) for name in self._values[0]}

    def _value(self, name: str, instant: float) -> float:
        after = bisect_left(self._at, instant)
        if after == 0:
            return self._values[0][name]
        if after == len(self._at):
            return self._values[-1][name]
        low, high = self._at[after - 1], self._at[after]
        share = (instant - low) / (high - low)
        a, b = self._values[after - 1][name], self._values[after][name]
        return a + (b - a) * share
