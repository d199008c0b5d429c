"""Whoever watches sees every change once, however many come at the same instant."""

from __future__ import annotations

import asyncio

from services.notifier.pipeline.waiting import Settling
from services.notifier.store.reading import Filter
from services.notifier.usecases.watching import PAGE, Watching
from tests.notifier.pipeline.bench import STORE, Replica, arrival, user


async def test_more_changes_at_one_instant_than_fit_on_a_page_are_all_seen_once(replica: Replica) -> None:
    watching = Watching(replica.database, Settling(replica.database), replica.clock)
    now, total = replica.clock.now(), 2 * PAGE + 1
    seen: list[str] = []

    async def watch() -> None:
        wanted = Filter(stores=(STORE,), event_types=("test.said",))
        async for view in watching.changes(wanted, now):
            seen.append(view.id)
            assert [one.target.id for one in view.recipients] == ["ann"]

    watcher = asyncio.create_task(watch())
    await replica.admit(*(arrival(f"e{n}", now, user("ann")) for n in range(total)))
    try:
        async with asyncio.timeout(20):
            while len(seen) < total:  # noqa: ASYNC110  # the watcher is the one under test
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
    finally:
        watcher.cancel()
    assert sorted(seen) == sorted(row.id for row in await replica.deliveries())
