"""Leases: one owner at a time, known by an epoch."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from shared.db import lease
from shared.db.engine import Database
from shared.db.lease import Lease
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
LENGTH = timedelta(seconds=30)


async def acquire(database: Database, owner: str, now: datetime = NOW) -> Lease | None:
    return await database.transact(lambda connection: lease.acquire(connection, "scan", owner, now, LENGTH))


async def renew(database: Database, held: Lease, now: datetime) -> Lease | None:
    return await database.transact(lambda connection: lease.renew(connection, held, now, LENGTH))


async def test_one_owner_at_a_time(database: Database) -> None:
    assert await acquire(database, "a") == Lease("scan", "a", 1, NOW + LENGTH)
    assert await acquire(database, "b") is None


async def test_its_owner_may_acquire_again_and_keeps_the_epoch(database: Database) -> None:
    await acquire(database, "a")
    later = NOW + LENGTH / 3

    assert await acquire(database, "a", later) == Lease("scan", "a", 1, later + LENGTH)
    assert await acquire(database, "b", NOW + LENGTH) is None


async def test_a_lease_that_ran_out_goes_to_the_next_under_a_new_epoch(database: Database) -> None:
    first = await acquire(database, "a")
    assert first is not None

    assert await acquire(database, "b", NOW + LENGTH) == Lease("scan", "b", 2, NOW + 2 * LENGTH)
    assert await renew(database, first, NOW + LENGTH) is None
    async with database.write() as connection:
        assert not await lease.release(connection, first, NOW + LENGTH)


async def test_an_owner_that_overslept_gets_a_new_epoch_too(database: Database) -> None:
    first = await acquire(database, "a")
    assert first is not None

    assert await renew(database, first, NOW + LENGTH) is None
    again = await acquire(database, "a", NOW + LENGTH)
    assert again is not None
    assert again.epoch == 2


async def test_renewing_extends_what_is_held(database: Database) -> None:
    first = await acquire(database, "a")
    assert first is not None
    later = NOW + LENGTH / 3

    assert await renew(database, first, later) == Lease("scan", "a", 1, later + LENGTH)
    assert await acquire(database, "b", NOW + LENGTH) is None


async def test_a_released_lease_is_free_at_once(database: Database) -> None:
    first = await acquire(database, "a")
    assert first is not None
    async with database.write() as connection:
        assert await lease.release(connection, first, NOW)
        assert not await lease.release(connection, first, NOW)

    second = await acquire(database, "b")
    assert second is not None
    assert second.epoch == 2


async def test_of_many_who_ask_at_once_one_gets_it(place: Place, database: Database, opened: Opener) -> None:
    replicas = [database, await opened(place), await opened(place)]

    held = await asyncio.gather(*(acquire(replicas[n % 3], f"owner{n}") for n in range(12)))

    assert len([one for one in held if one is not None]) == 1
