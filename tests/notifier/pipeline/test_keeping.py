"""What is kept and for how long: old rows, rests, the book."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.books import Books
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.retention import OldRows
from services.notifier.store import bins, escalations
from services.notifier.store.cards import Cards, Sent
from services.notifier.store.tables import card, delivery, rulebook
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.limits import Request, reserve_many
from shared.limits import Limit
from shared.ops.retention import BATCH, Retention
from shared.settings import Limits
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import STORE, Replica, arrival, user


def _retention(database: Database, clock: ManualClock) -> Retention:
    horizon = Limits().dedupe_horizon
    return Retention(database, clock, horizon, [OldRows(horizon).purge])


async def test_old_deliveries_go_however_many_open_ones_are_older(
    replica: Replica, manual_clock: ManualClock
) -> None:
    await replica.admit(*(arrival(f"e{n:04}", replica.clock.now(), user("ann")) for n in range(BATCH + 2)))
    replica.senders.take_back()
    ids = [row.id for row in await replica.deliveries()]
    async with replica.database.write() as conn:
        await conn.execute(delivery.update().values(status="unknown"))
        await conn.execute(delivery.update().where(delivery.c.id == ids[-1]).values(status="accepted"))
    manual_clock.advance(timedelta(days=15))
    retention = _retention(replica.database, manual_clock)
    while await replica.database.transact(retention.tidy):
        pass
    assert [row.id for row in await replica.deliveries()] == ids[:-1]


async def test_a_short_rest_does_not_end_a_longer_one(replica: Replica, manual_clock: ManualClock) -> None:
    waits = {"e1": timedelta(minutes=30), "e2": timedelta(seconds=5)}

    async def answer(job: Job) -> Outcome:
        rest = waits[job.event_id]
        return Outcome(State.REJECTED_RETRYABLE, retry_class=RetryClass.REST, retry_after=rest)

    replica.world.answer = answer
    now = replica.clock.now()
    await replica.admit(arrival("e1", now, user("ann")), arrival("e2", now, user("bob")))
    for job in sorted(replica.senders.take_back(), key=lambda one: one.event_id):
        replica.senders.submit([job])
        await replica.turn()
    fresh = Rests(replica.database.dialect)
    async with replica.database.read() as conn:
        await fresh.load(conn)
    assert fresh.until("app:default", now) == now + timedelta(minutes=30)


async def test_a_book_of_a_version_that_went_back_is_read_again(replica: Replica) -> None:
    async with replica.database.write() as conn:
        await conn.execute(rulebook.update().values(version=7))
    books = Books(replica.database, ZoneInfo("Asia/Shanghai"))
    assert (await books.current()).version == 7
    async with replica.database.write() as conn:
        await conn.execute(rulebook.update().values(version=3))
    assert (await books.newer_than(await books.current())).version == 3


@pytest.mark.parametrize("whose", ["admission", "press"])
async def test_tidying_up_waits_for_others_in_the_order_in_which_they_lock(
    database: Database, manual_clock: ManualClock, whose: str
) -> None:
    """A digest after weeks of silence, a press of an old card: neither they nor the tidying have to begin anew."""
    if database.dialect == "sqlite":
        pytest.skip("writers take turns")
    replica = Replica(database, manual_clock)
    await replica.admit(arrival("e", manual_clock.now(), user("ann")))
    await replica.turn()
    (old,) = await replica.deliveries()
    sent = Sent(old.id, STORE, "e", "", "app:default", "code")
    wish = Request("budget:1/1h:x", [Limit("budget", 1, timedelta(hours=1), exact=False)])
    cards = Cards(database.dialect)
    async with database.write() as conn:
        await bins.hold(conn, ["a bin"], manual_clock.now())
        await reserve_many(conn, [wish], manual_clock.now())
        await cards.keep(conn, [sent], manual_clock.now())
    manual_clock.advance(timedelta(days=15))
    retention, turns = _retention(database, manual_clock), []

    async def tidy(conn: AsyncConnection) -> bool:
        turns.append(1)
        return await retention.tidy(conn)

    async with database.write() as conn:
        if whose == "admission":
            await bins.hold(conn, ["a bin"], manual_clock.now())
        else:
            await escalations.hold(conn, old.id, None)
        tidying = asyncio.create_task(database.transact(tidy))
        await until_somebody_waits(database)
        if whose == "admission":
            await reserve_many(conn, [wish], manual_clock.now())
        else:
            await conn.execute(card.update().where(card.c.id == old.id).values(code="another"))
    await tidying
    assert len(turns) == 1


async def until_somebody_waits(database: Database) -> None:
    """For a lock."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10):
        while True:
            async with database.read() as conn:
                if (await conn.execute(waiting)).scalar_one():
                    return
            await asyncio.sleep(0.01)
