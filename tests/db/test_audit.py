"""The audit log: one unbroken chain, whoever writes at once; what is altered, taken out or cut off is found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.audit import AuditLog, Entry, Examined, NewEntry, Wanted
from shared.db.engine import Database
from shared.db.tables import audit_entry, audit_head
from shared.rpc.principal import Principal, acting_as
from shared.secrets import SecretKey
from tests.db.conftest import Opener, Place

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
KEY = SecretKey(b"k" * 32)
ALICE = Principal("alice", "human", frozenset(), "*", token_id="t1")


async def write(database: Database, count: int, who: Principal = ALICE, pause: float = 0.0) -> None:
    log = AuditLog(database.dialect, KEY)

    async def one(conn: AsyncConnection, at: int) -> None:
        note = NewEntry("SendMessage", f"m{at}", "s1", {"text": "你好"}, {"targets": ["user:anna"], "n": at})
        await log.record(conn, note, NOW + timedelta(seconds=at))
        await asyncio.sleep(pause)

    with acting_as(who):
        for at in range(count):
            await database.transact(lambda conn, at=at: one(conn, at))


async def examine(database: Database, after: int = 0, limit: int = 20_000) -> Examined:
    async with database.read() as conn:
        return await AuditLog(database.dialect, KEY).examine(conn, after, limit)


async def page(database: Database, wanted: Wanted, limit: int = 100) -> list[Entry]:
    async with database.read() as conn:
        return await AuditLog(database.dialect, KEY).page(conn, wanted, before=None, limit=limit)


async def tamper(database: Database, statement: sa.Executable) -> None:
    """What somebody does who may change the schema as well."""
    async with database.write() as conn:
        if database.dialect == "postgresql":
            await conn.execute(sa.text("ALTER TABLE audit_entry DISABLE TRIGGER ALL"))
        else:
            await conn.execute(sa.text("DROP TRIGGER audit_entry_no_update"))
            await conn.execute(sa.text("DROP TRIGGER audit_entry_no_delete"))
        await conn.execute(statement)


async def test_an_empty_chain_is_whole(database: Database) -> None:
    assert await examine(database) == Examined(0, 0, "")


async def test_who_what_and_a_hash_are_kept_and_no_words(database: Database) -> None:
    await write(database, 1)
    (entry,) = await page(database, Wanted())
    assert (entry.seq, entry.at, entry.subject, entry.subject_kind) == (1, NOW, "alice", "human")
    assert (entry.method, entry.object_id, entry.store_id, entry.door) == ("SendMessage", "m0", "s1", "grpc")
    assert entry.content_bytes == len('{"text":"你好"}'.encode())
    assert len(entry.content_hash) == 64
    assert "你好" not in repr(entry)


async def test_writers_at_once_keep_one_chain(database: Database, place: Place, opened: Opener) -> None:
    other = await opened(place)
    bob = Principal("bob", "human", frozenset(), "*")
    await asyncio.gather(
        write(database, 12, pause=0.002), write(other, 12, bob, 0.003), write(other, 6, pause=0.001)
    )
    found = await examine(database)
    assert (found.checked, found.broken, found.head) == (30, 0, 30)
    assert {one.subject for one in await page(database, Wanted())} == {"alice", "bob"}


async def test_what_is_rolled_back_leaves_no_gap(database: Database) -> None:
    async def refused(conn: AsyncConnection) -> None:
        with acting_as(ALICE):
            await AuditLog(database.dialect, KEY).record(conn, NewEntry("SendMessage"), NOW)
        raise RuntimeError

    await write(database, 1)
    with pytest.raises(RuntimeError):
        await database.transact(refused)
    await write(database, 1)
    assert await examine(database) == Examined(2, 2, (await page(database, Wanted()))[0].hash)


@pytest.mark.parametrize(
    ("statement", "broken", "problem"),
    [
        (sa.update(audit_entry).where(audit_entry.c.seq == 3).values(subject="bob"), 3, "altered"),
        (sa.update(audit_entry).where(audit_entry.c.seq == 3).values(detail={"n": 9}), 3, "altered"),
        (
            sa.update(audit_entry).where(audit_entry.c.seq == 3).values(at=NOW + timedelta(hours=1)),
            3,
            "altered",
        ),
        (sa.update(audit_entry).where(audit_entry.c.seq == 3).values(hash="0" * 64), 3, "altered"),
        (sa.delete(audit_entry).where(audit_entry.c.seq == 3), 3, "missing"),
        (sa.delete(audit_entry).where(audit_entry.c.seq == 5), 5, "head_differs"),
        (sa.delete(audit_entry), 1, "head_differs"),
    ],
)
async def test_what_was_tampered_with_is_found(
    database: Database, statement: Any, broken: int, problem: str
) -> None:
    await write(database, 5)
    await tamper(database, statement)
    found = await examine(database)
    assert (found.broken, found.problem) == (broken, problem)


async def test_another_key_cannot_make_a_chain(database: Database) -> None:
    await write(database, 2)
    async with database.read() as conn:
        found = await AuditLog(database.dialect, SecretKey(b"x" * 32)).examine(conn)
    assert (found.broken, found.problem) == (1, "altered")


async def test_an_end_cut_off_with_its_head_shows_against_what_was_noted(database: Database) -> None:
    await write(database, 3)
    noted = await examine(database)
    two = (await page(database, Wanted()))[1]
    await tamper(database, sa.delete(audit_entry).where(audit_entry.c.seq == 3))
    async with database.write() as conn:
        await conn.execute(sa.update(audit_head).values(seq=2, hash=two.hash))
    assert (await examine(database)).broken == 0
    async with database.read() as conn:
        assert await AuditLog(database.dialect, KEY).hash_at(conn, noted.head) != noted.head_hash


async def test_the_database_refuses_to_change_an_entry(database: Database) -> None:
    await write(database, 1)
    for statement in (sa.update(audit_entry).values(subject="bob"), sa.delete(audit_entry)):
        with pytest.raises(Exception, match="append-only"):
            async with database.write() as conn:
                await conn.execute(statement)
    assert (await examine(database)).broken == 0


async def test_a_long_chain_is_examined_piece_by_piece(database: Database) -> None:
    await write(database, 7)
    first = await examine(database, limit=3)
    assert (first.checked, first.broken, first.next) == (3, 0, 3)
    rest = await examine(database, after=first.next)
    assert (rest.checked, rest.broken, rest.next) == (4, 0, 0)
    assert (await examine(database, after=70)).problem == "missing"


async def test_a_list_shows_what_is_asked_for(database: Database) -> None:
    await write(database, 3)
    await write(database, 1, Principal("bob", "service", frozenset(), "*"))
    assert [one.seq for one in await page(database, Wanted(), limit=2)] == [4, 3]
    assert [one.seq for one in await page(database, Wanted(subject="bob"))] == [4]
    assert [one.seq for one in await page(database, Wanted(object_id="m1"))] == [2]
    assert [one.seq for one in await page(database, Wanted(start_at=NOW + timedelta(seconds=1)))] == [3, 2]
    assert [one.seq for one in await page(database, Wanted(end_at=NOW + timedelta(seconds=1)))] == [4, 1]
    assert await page(database, Wanted(stores=["s2"])) == []
    assert await page(database, Wanted(method="UpdateRule")) == []
