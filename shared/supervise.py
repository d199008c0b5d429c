"""Background loops that outlive their failures, and are seen when they stand still."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

STALL = timedelta(seconds=60)
"""A loop that has completed no turn for so long makes the process unhealthy."""

_BACKOFF_CAP = 5.0
"""Seconds: what a loop waits for is mostly a server that is away, and it must go on soon after that is back."""
_BACKOFF_BASE = 0.5

Turn = Callable[[], None]
Loop = Callable[[Turn], Awaitable[None]]
"""A loop calls the turn it is given each time it has gone round once, work or no work."""

_log = structlog.get_logger("reach.supervise")


@dataclass(slots=True)
class _Kept:
    name: str
    loop: Loop
    stall: float
    turned_at: float
    failures: int = 0
    in_a_row: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Owns the background loops of a process.

    A loop that raises is logged once with its traceback, counted, and started again after a random
    wait that grows to 5 s at most. So is one that returns: these loops have no end. ``monotonic``
    and ``jitter`` (a random number in [0, 1)) are handed in by tests.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        on_failure: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._monotonic = monotonic
        self._jitter = jitter
        self._on_failure = on_failure
        self._kept: dict[str, _Kept] = {}
        self._started = False
        self._stopping = False

    def add(self, name: str, loop: Loop, *, stall: timedelta = STALL) -> None:
        """Take charge of *loop*; it starts with ``start``, or now if that has been called.

        *name* is unique and stable: it is a metric's label.
        """
        if name in self._kept:
            raise ValueError(f"a loop named {name} is already supervised")
        if self._stopping:
            raise RuntimeError("the supervisor is stopping; no loop can be added")
        kept = _Kept(name, loop, stall.total_seconds(), self._monotonic())
        self._kept[name] = kept
        if self._started:
            self._spawn(kept)

    def start(self) -> None:
        """Start every loop, in the order they were added. Call it inside a running event loop."""
        if self._started:
            raise RuntimeError("the supervisor is already started")
        self._started = True
        for kept in self._kept.values():
            self._spawn(kept)

    def _spawn(self, kept: _Kept) -> None:
        kept.turned_at = self._monotonic()
        kept.task = asyncio.create_task(self._keep(kept), name=f"loop:{kept.name}")

    async def _keep(self, kept: _Kept) -> None:
        def turn() -> None:
            kept.turned_at = self._monotonic()
            kept.in_a_row = 0

        while True:
            try:
                await kept.loop(turn)
            except asyncio.CancelledError as error:
                if kept.task is None or kept.task.cancelling():
                    raise
                # Not ours: something the loop awaited was cancelled. It must not end the loop in silence.
                _log.error("loop failed", loop=kept.name, failures=kept.failures + 1, exc_info=error)
            except Exception as error:
                _log.error("loop failed", loop=kept.name, failures=kept.failures + 1, exc_info=error)
            else:
                _log.error("loop ended without being asked", loop=kept.name, failures=kept.failures + 1)
            kept.failures += 1
            self._on_failure(kept.name)
            await asyncio.sleep(self._wait(kept.in_a_row))
            kept.in_a_row += 1

    def _wait(self, in_a_row: int) -> float:
        """Full jitter: anything from nothing to the ceiling, so that replicas do not come back as one."""
        return self._jitter() * min(_BACKOFF_CAP, _BACKOFF_BASE * 2.0 ** min(in_a_row, 16))

    def failures(self) -> dict[str, int]:
        """How often each loop has failed since the start."""
        return {name: kept.failures for name, kept in self._kept.items()}

    def ages(self) -> dict[str, timedelta]:
        """How long ago each loop completed a turn."""
        now = self._monotonic()
        return {name: timedelta(seconds=now - kept.turned_at) for name, kept in self._kept.items()}

    def stalled(self) -> list[str]:
        """The loops that stand still; empty before the start and when all is well."""
        if not self._started:
            return []
        now = self._monotonic()
        return [name for name, kept in self._kept.items() if now - kept.turned_at > kept.stall]

    @property
    def healthy(self) -> bool:
        """Whether every loop has turned lately."""
        return not self.stalled()

    async def stop(self, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Cancel the loops, the last added first, and wait for each; all together at most *timeout*.

        A loop that ignores its cancellation is logged and left behind.
        """
        self._stopping = True
        until = self._monotonic() + timeout.total_seconds()
        tasks = [(kept.name, kept.task) for kept in reversed(self._kept.values()) if kept.task is not None]
        for left, (name, task) in zip(range(len(tasks), 0, -1), tasks, strict=True):
            task.cancel()
            # An even share of what is left: one stubborn loop must not take the others' time.
            share = max(0.0, until - self._monotonic()) / left
            _, pending = await asyncio.wait({task}, timeout=share)
            if pending:
                _log.error("loop did not stop in time", loop=name)

    async def __aenter__(self) -> Supervisor:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
