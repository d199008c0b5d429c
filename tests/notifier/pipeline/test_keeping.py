"""What is kept and for how long: old rows, rests, the book."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from services.notifier.pipeline.books import Books
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.retention import BATCH, Retention
from services.notifier.store.tables import delivery, rulebook
from shared.clock import ManualClock
from shared.settings import Limits
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import Replica, arrival, user


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
    retention = Retention(replica.database, manual_clock, Limits())
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
