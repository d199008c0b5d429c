"""Wake-ups: at commit, never without one, in this process and in the others."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database
from shared.db.tables import meta
from shared.db.wakeups import Wakeups
from tests.db.conftest import Opener, Place, create

SOON, SHORT = 5.0, 0.05


async def change(database: Database, key: str, *names: str) -> None:
    async with database.write() as connection:
        await connection.execute(insert(meta), {"key": key, "value": "v"})
        database.wakeups.notify(connection, *names)


async def test_a_commit_wakes_every_listener_of_its_names(database: Database) -> None:
    one, two, other = (database.wakeups.listen(name) for name in ("work", "work", "else"))

    await change(database, "a", "work")

    assert [await one.wait(SHORT), await two.wait(SHORT), await other.wait(SHORT)] == [True, True, False]


async def test_a_wake_up_counts_once(database: Database) -> None:
    signal = database.wakeups.listen("work")
    await change(database, "a", "work", "work")
    await change(database, "b", "work")

    assert [await signal.wait(SHORT), await signal.wait(SHORT)] == [True, False]


async def test_nobody_is_woken_before_the_commit_or_without_it(database: Database) -> None:
    signal = database.wakeups.listen("work")

    async def fail(connection: AsyncConnection) -> None:
        database.wakeups.notify(connection, "work")
        assert not await signal.wait(SHORT)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.transact(fail)
    async with database.write():
        pass  # a later transaction on the same connection does not inherit it

    assert not await signal.wait(SHORT)


async def test_a_loop_may_wake_itself(database: Database) -> None:
    signal = database.wakeups.listen("work")
    signal.set()
    assert await signal.wait(SHORT)


async def test_a_wake_up_belongs_to_a_transaction(database: Database) -> None:
    await change(database, "a", "work")
    async with database.read() as connection:
        with pytest.raises(LookupError):
            database.wakeups.notify(connection, "work")


async def test_ones_own_notification_was_delivered_at_commit_and_is_passed_over() -> None:
    wakeups = Wakeups("reach")
    signal = wakeups.listen("work")

    wakeups.receive(f"{wakeups.sender} work")
    assert not await signal.wait(SHORT)
    wakeups.receive("another work")
    assert await signal.wait(SHORT)


async def replicas(postgres: Place, opened: Opener) -> tuple[Database, Database]:
    here, there = await opened(postgres), await opened(postgres)
    await create(here, meta.metadata)
    for database in (here, there):
        await database.start()
        await listening(database)
    return here, there


async def listening(database: Database) -> None:
    """Until the listener's connection stands; connecting sets every signal."""
    assert database._listener is not None
    async with asyncio.timeout(SOON):
        await database._listener.connected.wait()


async def test_a_commit_wakes_other_replicas(postgres: Place, opened: Opener) -> None:
    here, there = await replicas(postgres, opened)
    signal, other = there.wakeups.listen("work"), there.wakeups.listen("else")

    await change(here, "a", "work")

    assert await signal.wait(SOON)
    assert not await other.wait(SHORT)


async def test_a_rollback_wakes_nobody_elsewhere(postgres: Place, opened: Opener) -> None:
    here, there = await replicas(postgres, opened)
    signal, marker = there.wakeups.listen("work"), there.wakeups.listen("marker")

    async def fail(connection: AsyncConnection) -> None:
        here.wakeups.notify(connection, "work")
        await here.wakeups.announce(connection, {"work"})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await here.transact(fail)
    await change(here, "a", "marker")

    assert await marker.wait(SOON)
    assert not await signal.wait(SHORT)


async def test_one_who_notifies_is_not_woken_twice(postgres: Place, opened: Opener) -> None:
    here, there = await replicas(postgres, opened)
    mine, theirs = here.wakeups.listen("work"), there.wakeups.listen("work")

    await change(here, "a", "work")

    assert await mine.wait(SHORT)
    assert await theirs.wait(SOON)
    assert not await mine.wait(SHORT)


async def test_schemas_do_not_hear_each_other(postgres: Place, opened: Opener, unique: str) -> None:
    here, _ = await replicas(postgres, opened)
    stranger = await opened(Place(postgres.url, f"{unique}x"))
    await stranger.start()
    await listening(stranger)
    signal = stranger.wakeups.listen("work")

    await change(here, "a", "work")

    assert not await signal.wait(SHORT * 4)


async def test_a_lost_listener_comes_back_and_assumes_it_has_missed_something(
    postgres: Place, opened: Opener
) -> None:
    here, there = await replicas(postgres, opened)
    signal = there.wakeups.listen("work")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND query ~ 'LISTEN'",
            [f"reach/{postgres.schema}"],
        )

    assert await signal.wait(SOON)
    await change(here, "a", "work")
    assert await signal.wait(SOON)


async def test_closing_ends_the_listener(postgres: Place, opened: Opener) -> None:
    _, there = await replicas(postgres, opened)
    await there.close()
    await there.close()

    assert len([task for task in asyncio.all_tasks() if task.get_name() == "wakeups"]) == 1
