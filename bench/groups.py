"""``python -m bench.groups``: how long 50,000 customer groups take, how much memory, and whether the rate is kept.

The clock is steered: waits cost nothing, so the seconds are those of the work itself, and the rate is counted on that
clock. The sandbox is a program of its own. Exit code 1 when a group is missing, the rate was not kept, or memory grew
with the number of groups.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.campaign.domain.groups import SyncStatus
from services.campaign.store.group_syncs import Sync
from tests.campaign.groups.house import House, house
from tests.e2e.harness import sandbox_program
from tests.support.servers import Kind, private

PER_SECOND = 100
"""Calls a second that are allowed, as the setting has them at most."""
GROWTH = 32.0
"""MiB that memory may grow while nine tenths of the groups are read."""
_SECOND = timedelta(seconds=1)


@dataclass
class Meter:
    """Counts calls on the steered clock."""

    calls: int = 0
    most: int = 0
    """In any second."""
    _recent: deque[tuple[datetime, int]] = field(default_factory=deque)

    def asked(self, at: datetime, count: int) -> None:
        """So many left at an instant."""
        self.calls += count
        self._recent.append((at, count))
        while self._recent[0][0] <= at - _SECOND:
            self._recent.popleft()
        self.most = max(self.most, sum(n for _, n in self._recent))


@dataclass
class Figures:
    """What one sync took."""

    sync: Sync
    seconds: float
    steered: float
    meter: Meter
    early: float
    """MiB at its most, when a tenth was read."""
    peak: float


def memory() -> float:
    """What this process has used at its most, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def synchronised(room: House, groups: int) -> Figures:
    """One sync to its end."""
    side, meter = room.side(), Meter()
    syncing: Any = side.syncing
    reader, lister = syncing._reader, syncing._list
    ask = reader.ask

    async def asking(api: Any, batch: Sequence[Any]) -> Any:
        meter.asked(room.clock.now(), len(batch))
        return await ask(api, batch)

    async def listing(*asked: Any) -> Any:
        meter.asked(room.clock.now(), 1)
        return await lister(*asked)

    reader.ask, syncing._list = asking, listing
    began, start, early = time.monotonic(), room.clock.now(), 0.0
    while True:
        wait = await side.syncing.step()
        if not wait:
            early = early or (memory() if meter.calls > groups / 10 else 0.0)
            continue
        sync = await room.last()
        if sync.status is not SyncStatus.RUNNING and sync.started_at >= start:
            break
        await room.later(wait.total_seconds())
    spent, steered = time.monotonic() - began, (room.clock.now() - start).total_seconds()
    return Figures(sync, spent, steered, meter, early or memory(), memory())


async def measured(groups: int, url: str | None) -> bool:
    """Measure a first sync and a second one; whether all was as it must be."""
    with TemporaryDirectory(prefix="reach-bench-") as folder:
        async with sandbox_program() as world:
            setting = {"WECOM_CUSTOMER_READ_QPS": str(PER_SECOND)}
            async with house(world, Path(folder), url, **setting) as room:
                owners = ["ann", "ben", "cy"]
                await world.post("/sandbox/groups", count=groups, prefix="wr", owners=owners, customers=20)
                first = await synchronised(room, groups)
                await room.later(601)
                second = await synchronised(room, groups)
                return report("sqlite" if url is None else "postgresql", groups, first, second)


def report(name: str, groups: int, first: Figures, second: Figures) -> bool:
    """Print it."""
    sync, meter = first.sync, first.meter
    print(
        f"{name}: {sync.listed:,} groups listed, {sync.added:,} added, {sync.read:,} read in {first.seconds:.0f} s "
        f"({meter.calls / first.seconds:.0f} calls/s of work), {first.steered:.0f} s on the steered clock; "
        f"at most {meter.most} calls in a second of {PER_SECOND}; "
        f"memory {first.early:.0f} MiB after a tenth, {first.peak:.0f} MiB at its most"
    )
    print(
        f"{name}: the next sync lists {second.sync.listed:,} and reads {second.sync.read:,} in {second.seconds:.1f} s"
    )
    whole = sync.listed == sync.added == sync.read == second.sync.listed == groups
    kept = max(meter.most, second.meter.most) <= PER_SECOND
    return whole and kept and first.peak - first.early <= GROWTH


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on both databases."""
    parser = argparse.ArgumentParser(prog="python -m bench.groups", description=__doc__)
    parser.add_argument("--groups", type=int, default=50_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    chosen = parser.parse_args(arguments)
    good = True
    for name in (chosen.only,) if chosen.only else ("sqlite", "postgresql"):
        with ExitStack() as stack:
            url = None if name == "sqlite" else stack.enter_context(private(Kind.POSTGRESQL)).url
            good = asyncio.run(measured(chosen.groups, url)) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
