"""Readiness, told through grpc.health.v1.

Names and what they say:

    ""            every check passes
    reach.live    the process is there and its event loop turns
    reach.NAME    the check of that name passes (``reach.db``, ``reach.amqp``)
    a service     the checks that it cannot work without pass; with the broker down a service still
                  takes writes, because they wait in the outbox
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import structlog
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from shared.values import value_class

SERVING: Final = HealthCheckResponse.SERVING
NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING
LIVE: Final = "reach.live"

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises what is wrong."""

_log = structlog.get_logger("reach.health")


@value_class
class _Entry:
    name: str
    check: Check
    carries: frozenset[str]


class HealthBoard:
    """Polls named checks and keeps the health statuses current.

    Everything is NOT_SERVING until the first round, and for good after ``shut``.
    """

    def __init__(self, services: Collection[str], *, period: float = 5.0, limit: float = 4.5) -> None:
        self.servicer = health.aio.HealthServicer()
        self._services = tuple(services)
        self._period = period
        self._limit = limit
        self._entries: list[_Entry] = []
        self._statuses: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._reported: set[str] = set()
        self._round = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._is_shut = False

    def add(self, name: str, check: Check, *, carries: Collection[str] = ()) -> None:
        """Add *check* under ``reach.NAME``; the services in *carries* do not serve while it fails.

        Several checks may share a name (one database for each service); all must pass. To be called
        before ``start``. A check that takes longer than the limit counts as failed.
        """
        self._entries.append(_Entry(name, check, frozenset(carries)))

    @property
    def failures(self) -> Mapping[str, str]:
        """What is wrong, by check name, as of the last round."""
        return self._failures

    @property
    def ready(self) -> bool:
        """Whether every check passed in the last round."""
        return not self._is_shut and self._statuses.get("") == SERVING

    async def start(self) -> None:
        """Run the first round, then one every period."""
        for name in ("", *self._services, *(f"reach.{entry.name}" for entry in self._entries)):
            await self._show(name, NOT_SERVING)
        await self._show(LIVE, SERVING)
        # What is not there yet while a process starts is no news; the next round says what is missing still.
        await self._look()
        self._poller = asyncio.create_task(self._poll(), name="health")

    async def refresh(self) -> None:
        """Run every check now and show the result; for whoever knows that something changed."""
        await self._look()
        self._report()

    async def _look(self) -> None:
        async with self._round:
            found = await asyncio.gather(*(self._run(entry) for entry in self._entries))
            self._failures = {
                entry.name: text for entry, text in zip(self._entries, found, strict=True) if text
            }
            await self._show_all({entry for entry, text in zip(self._entries, found, strict=True) if text})

    async def shut(self) -> None:
        """Show NOT_SERVING everywhere and stop polling. The first step of every shutdown; may be repeated."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
            self._poller = None
        self._is_shut = True
        await self.servicer.enter_graceful_shutdown()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            await self.refresh()

    async def _run(self, entry: _Entry) -> str:
        """What is wrong, or nothing. A check is foreign code: whatever it raises is an answer."""
        try:
            async with asyncio.timeout(self._limit):
                await entry.check()
        except TimeoutError:
            return f"no answer within {self._limit:g} s"
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:200]
        return ""

    def _report(self) -> None:
        for name in self._failures.keys() - self._reported:
            _log.warning("check failed", check=name, detail=self._failures[name])
        for name in self._reported - self._failures.keys():
            _log.info("check passes again", check=name)
        self._reported = set(self._failures)

    async def _show_all(self, failed: set[_Entry]) -> None:
        broken = {name for entry in failed for name in (*entry.carries, f"reach.{entry.name}")}
        for name in (*(f"reach.{entry.name}" for entry in self._entries), *self._services):
            await self._show(name, NOT_SERVING if name in broken else SERVING)
        await self._show("", NOT_SERVING if failed else SERVING)

    async def _show(self, name: str, status: int) -> None:
        if self._statuses.get(name) != status:
            self._statuses[name] = status
            await self.servicer.set(name, status)
