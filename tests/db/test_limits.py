"""Rates kept in rows hold across replicas, restarts and concurrency (I17)."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import limits
from shared.db.engine import Database
from shared.db.limits import Release, Request
from shared.limits import Granted, Limit, Wait
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ROBOT = (Limit("minute", 19, MINUTE),)
MEMBER = (Limit("minute", 3, MINUTE), Limit("hour", 5, timedelta(hours=1), exact=False))


async def reserve(database: Database, *requests: Request, now: datetime = NOW) -> list[Granted | Wait]:
    return await database.transact(lambda connection: limits.reserve_many(connection, requests, now))


async def granted(database: Database, *requests: Request, now: datetime = NOW) -> list[bool]:
    return [isinstance(verdict, Granted) for verdict in await reserve(database, *requests, now=now)]


async def test_requests_on_one_key_see_each_other_and_keep_their_order(database: Database) -> None:
    a, b = Request("user:a", MEMBER), Request("user:b", MEMBER)

    assert await granted(database, a, b, a, a, a, b) == [True, True, True, True, False, True]
    assert await granted(database, a, b) == [False, True]
    assert await granted(database) == []


async def test_a_refusal_says_until_when_and_it_is_true(database: Database) -> None:
    await granted(database, Request("user:a", MEMBER, 3))

    (verdict,) = await reserve(database, Request("user:a", MEMBER), now=NOW + SECOND)

    assert isinstance(verdict, Wait)
    assert (verdict.until, verdict.limit_name) == (NOW + MINUTE, "minute")
    assert await granted(database, Request("user:a", MEMBER), now=verdict.until) == [True]


async def test_what_is_rolled_back_was_not_taken(database: Database) -> None:
    async def take_and_fail(connection: AsyncConnection) -> None:
        await limits.reserve_many(connection, [Request("user:a", MEMBER, 3)], NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.transact(take_and_fail)

    assert await granted(database, Request("user:a", MEMBER, 3)) == [True]


async def test_what_was_not_used_can_be_given_back(database: Database) -> None:
    await granted(database, Request("user:a", MEMBER, 3))
    async with database.write() as connection:
        await limits.release_many(connection, [Release("user:a", MEMBER, NOW, 2)], NOW)
        await limits.release_many(connection, [], NOW)

    assert await granted(database, *[Request("user:a", MEMBER)] * 3) == [True, True, False]


async def test_looking_takes_nothing(database: Database) -> None:
    await granted(database, Request("user:a", MEMBER, 3))
    wishes = [("user:new", MEMBER), ("user:a", MEMBER), ("user:new", MEMBER)]
    for _ in range(3):
        async with database.read() as connection:
            verdicts = await limits.peek_many(connection, wishes, NOW)
            assert await limits.peek_many(connection, [], NOW) == []
        assert [isinstance(verdict, Granted) for verdict in verdicts] == [True, False, True]


async def test_a_stamp_from_the_future_blocks_for_one_window_and_not_for_ever(database: Database) -> None:
    await granted(database, *[Request("robot:a", ROBOT)] * 19, now=NOW + timedelta(days=365))
    wish = Request("robot:a", ROBOT)

    assert await granted(database, wish, now=NOW) == [False]
    assert await granted(database, wish, now=NOW + MINUTE / 2) == [False]
    assert await granted(database, wish, now=NOW + MINUTE) == [True]


async def test_usage_lists_by_prefix_and_page(database: Database) -> None:
    keys = ["robot:1", "user:a", "user:b", "user:%", "userless"]
    await granted(database, *(Request(key, ROBOT) for key in keys))

    async with database.read() as connection:
        assert [one.key for one in await limits.usage(connection, "user:")] == ["user:%", "user:a", "user:b"]
        assert [one.key for one in await limits.usage(connection, "user:", after="user:%")] == [
            "user:a",
            "user:b",
        ]
        assert [one.key for one in await limits.usage(connection, "user:%")] == ["user:%"]
        assert len(await limits.usage(connection, "")) == 5


async def test_the_purge_forgets_only_what_nobody_uses(database: Database) -> None:
    await granted(database, Request("old", ROBOT), now=NOW - timedelta(days=2))
    await granted(database, Request("new", ROBOT))
    async with database.write() as connection:
        assert await limits.purge(connection, NOW - timedelta(days=1)) == 1
        assert [one.key for one in await limits.usage(connection, "")] == ["new"]


async def test_three_replicas_together_never_exceed_the_limit(
    place: Place, database: Database, opened: Opener
) -> None:
    replicas = [database, await opened(place), await opened(place)]
    keys = [f"robot:{n}" for n in range(6)]
    chance = random.Random(7)
    taken = dict.fromkeys(keys, 0)

    async def send(replica: Database) -> None:
        for _ in range(10):
            wishes = [Request(chance.choice(keys), ROBOT) for _ in range(8)]
            for wish, verdict in zip(wishes, await reserve(replica, *wishes), strict=True):
                taken[wish.key] += isinstance(verdict, Granted)

    await asyncio.gather(*(send(replica) for replica in replicas for _ in range(3)))

    assert taken == dict.fromkeys(keys, 19)
