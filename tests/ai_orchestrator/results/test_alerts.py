"""Alerts: each once, none passed by, and a person told of the first."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest
from reach.events.v1 import ai_events_pb2

from services.ai_orchestrator.pipeline.alerting import QUIET, Alerting
from services.ai_orchestrator.store import alerts
from services.ai_orchestrator.store.alerts import Wanted
from services.ai_orchestrator.usecases.watching import SILENT_MOST, Watching
from shared.db import outbox
from shared.errors import Conflict
from tests.ai_orchestrator.results.support import NOON, STORE, opened

EVERY = Wanted(None)
DAY = timedelta(days=1)


class Desk:
    def __init__(self, database):
        self.database = database
        self.alerting = Alerting(database)
        self.watching = Watching(database, poll=0.2)

    async def tell(self, conn, step="app3_clue", at=NOON, **other):
        given = {
            "store_id": STORE,
            "app_type": "app3_clue",
            "kind": "circuit_open",
            "message": "断路器打开，电话 13800138000",
            "run_id": "r1",
            **other,
        }
        await self.alerting.tell(conn, step=step, now=at, **given)

    async def told(self, *steps, **other):
        async with self.database.write() as conn:
            for step in steps:
                await self.tell(conn, step, **other)

    async def read(self, count, after=None, wanted=EVERY):
        """The steps of *count* alerts behind *after*, and the last cursor."""
        steps, cursor = [], after
        async with asyncio.timeout(10), aclosing(self.watching.alerts(wanted, after)) as stream:
            async for one in stream:
                cursor = one.cursor
                if one.alert is not None:
                    steps.append(one.alert.step)
                if len(steps) == count:
                    break
        return steps, cursor

    async def announced(self, now=NOON):
        async with self.database.write() as conn:
            return await outbox.claim(conn, "test", now, DAY)


@pytest.fixture
async def desk(database_url):
    async with opened(database_url) as database:
        yield Desk(database)


async def test_a_step_gives_one_alert_of_a_kind_and_nobodys_number_is_kept(desk):
    await desk.told("a", "a", "b")
    await desk.told("a", kind="timeout")
    await desk.told("", "", run_id="")
    assert (await desk.read(5, 0))[0] == ["a", "b", "a", "", ""]
    async with desk.database.read() as conn:
        first = (await alerts.behind(conn, EVERY, 0, 1, 10))[0]
    assert (first.message, first.kind, first.seq) == ("断路器打开，电话 138****8000", "circuit_open", 1)


async def test_the_exchange_hears_of_the_first_and_is_left_alone_for_a_while(desk):
    await desk.told("a", "b")
    await desk.told("c", store_id="s2")
    await desk.told("d", at=NOON + QUIET / 2)
    await desk.told("e", at=NOON + QUIET)
    events = await desk.announced(NOON + QUIET)
    assert {event.type for event in events} == {"ai.alert.created"}
    told = [ai_events_pb2.AiAlertCreated.FromString(event.body) for event in events]
    assert sorted(one.step for one in told) == ["a", "c", "e"]
    assert {one.alert_kind for one in told} == {"circuit_open"}


async def test_who_comes_back_with_the_last_cursor_misses_none_and_sees_none_twice(desk):
    written = [f"{writer}-{at}" for writer in range(4) for at in range(10)]

    async def write(writer):
        for at in range(10):
            await desk.told(f"{writer}-{at}")

    _, cursor = await desk.read(0)  # from now on: told the cursor before any alert came
    seen = []
    async with asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))
        for pieces in (1, 2, 7, 30):
            steps, cursor = await desk.read(pieces, cursor)
            seen += steps
    assert sorted(seen) == sorted(written)
    assert len(seen) == len(written)


async def test_what_was_begun_first_and_committed_last_is_passed_by_for_nobody(postgres_database):
    async with opened(postgres_database) as database:
        desk = Desk(database)
        async with database.write() as slow:
            await desk.tell(slow, "slow")
            await desk.told("quick")
            steps, cursor = await desk.read(1, 0)
            assert steps == ["quick"]
        assert (await desk.read(1, cursor))[0] == ["slow"]


async def test_a_watcher_sees_its_stores_and_kinds_and_keeps_up_with_those_of_others(desk):
    await desk.told("a")
    await desk.told("b", store_id="s2", kind="failed")
    assert (await desk.read(1, 0, Wanted(frozenset({"s2"}))))[0] == ["b"]
    assert (await desk.read(1, 0, Wanted(None, ("failed",))))[0] == ["b"]
    await desk.told(*(f"n{number}" for number in range(SILENT_MOST)))
    async with asyncio.timeout(10), aclosing(desk.watching.alerts(Wanted(frozenset({"s3"})), 0)) as stream:
        async for one in stream:
            assert one.alert is None
            if one.cursor:
                break
    assert one.cursor >= SILENT_MOST


async def test_a_cursor_that_cannot_be_gone_on_from_is_refused(desk):
    await desk.told("a", "b", "c")
    _, last = await desk.read(3, 0)
    async with desk.database.write() as conn:
        assert await alerts.purge(conn, NOON + DAY, 2) == 2
    for cursor in (last + 1, 1):
        with pytest.raises(Conflict) as refused:
            await desk.read(1, cursor)
        assert refused.value.reason == "CURSOR_INVALID"
    assert (await desk.read(1, 2))[0] == ["c"]
    assert (await desk.read(1, 0))[0] == ["c"]
