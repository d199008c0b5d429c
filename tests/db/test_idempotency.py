"""Idempotency keys: one effect, one answer, however many call at once (I5)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import idempotency
from shared.db.engine import Database
from shared.errors import Conflict, Overtaken
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
SAME = ("s1", "Send", "k1")


async def call(
    database: Database, answer: bytes, key: str = "k1", request: str = "h1", now: datetime = NOW
) -> bytes:
    async def work(connection: AsyncConnection) -> bytes:
        stored = await idempotency.begin(connection, "s1", "Send", key, request, now)
        if stored is not None:
            return stored
        await asyncio.sleep(0.01)  # lets the others arrive while this one is at work
        await idempotency.finish(connection, "s1", "Send", key, answer)
        return answer

    return await database.transact(work)


async def test_the_second_call_gets_the_first_answer(database: Database) -> None:
    assert await call(database, b"\x00one\xff") == b"\x00one\xff"
    assert await call(database, b"two") == b"\x00one\xff"
    assert await call(database, b"three", key="k2") == b"three"


async def test_an_empty_answer_is_an_answer(database: Database) -> None:
    assert await call(database, b"") == b""
    assert await call(database, b"two") == b""


async def test_another_request_under_the_same_key_is_refused(database: Database) -> None:
    await call(database, b"one")

    with pytest.raises(Conflict) as refused:
        await call(database, b"two", request="h2")
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_call_that_failed_leaves_the_key_free(database: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await idempotency.begin(connection, *SAME, "h1", NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.transact(fail)

    assert await call(database, b"one", request="h2") == b"one"


async def test_stores_and_methods_have_keys_of_their_own(database: Database) -> None:
    await call(database, b"one")
    async with database.write() as connection:
        assert await idempotency.begin(connection, "s2", "Send", "k1", "h1", NOW) is None
        assert await idempotency.begin(connection, "s1", "Push", "k1", "h1", NOW) is None


async def test_a_key_past_its_horizon_begins_anew(database: Database) -> None:
    await call(database, b"one")

    assert await call(database, b"two", request="h2", now=NOW + idempotency.HORIZON) == b"two"
    assert await call(database, b"three", request="h2", now=NOW + idempotency.HORIZON) == b"two"


async def test_a_key_that_was_begun_and_never_finished_says_so(database: Database) -> None:
    async with database.write() as connection:
        assert await idempotency.begin(connection, *SAME, "h1", NOW) is None

    with pytest.raises(Overtaken):
        await call(database, b"one")


async def test_finishing_what_was_not_begun_is_a_bug(database: Database) -> None:
    with pytest.raises(LookupError):
        await database.transact(lambda connection: idempotency.finish(connection, *SAME, b""))


async def test_the_purge_forgets_only_what_has_expired(database: Database) -> None:
    await call(database, b"one")
    async with database.write() as connection:
        assert await idempotency.purge(connection, NOW + idempotency.HORIZON) == 0
        assert await idempotency.purge(connection, NOW + idempotency.HORIZON * 2) == 1


async def test_calls_at_once_from_three_replicas_agree_on_one_answer(
    place: Place, database: Database, opened: Opener
) -> None:
    replicas = [database, await opened(place), await opened(place)]

    answers = await asyncio.gather(*(call(replicas[n % 3], b"%d" % n) for n in range(12)))

    assert len(set(answers)) == 1
