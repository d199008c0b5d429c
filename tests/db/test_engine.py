"""Transactions: what commits, what rolls back, what a failing database looks like to the rest."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import connect
from shared.db.engine import Database
from shared.db.tables import meta
from shared.errors import Invalid, Overtaken, Throttled, Unavailable
from tests.db.conftest import Opener, Place, create
from tests.support.node import Node


async def put(database: Database, key: str, value: str = "v") -> None:
    async with database.write() as connection:
        await connection.execute(insert(meta), {"key": key, "value": value})


async def keys(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(meta.c.key))).scalars())


async def test_the_end_of_the_block_commits_and_an_exception_rolls_back(database: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(insert(meta), {"key": "b", "value": "v"})
        raise RuntimeError("mine")

    await put(database, "a")
    with pytest.raises(RuntimeError, match="mine"):
        await database.transact(fail)

    assert await keys(database) == {"a"}


async def test_a_read_sees_one_snapshot(place: Place, database: Database) -> None:
    async with database.read() as connection:
        before = (await connection.execute(select(meta.c.key))).scalars().all()
        await put(database, "a")
        after = (await connection.execute(select(meta.c.key))).scalars().all()

    assert before == after == []


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises((exc.DBAPIError, Unavailable)):
        async with database.read() as connection:
            await connection.execute(insert(meta), {"key": "a", "value": "v"})

    assert await keys(database) == set()


async def test_a_broken_constraint_is_told_as_it_is(database: Database) -> None:
    await put(database, "a")
    with pytest.raises(exc.IntegrityError):
        await put(database, "a")


async def test_a_failure_does_not_repeat_what_was_to_be_written(database: Database) -> None:
    """It ends in logs and spans, and what is written are people's names and the words of their messages."""
    await put(database, "a")
    with pytest.raises(exc.IntegrityError) as failed:
        await put(database, "a", "张三，您有新订单")
    assert "张三" not in str(failed.value)


async def test_a_task_that_is_cancelled_rolls_back_and_leaves_the_database_usable(database: Database) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        async with database.write() as connection:
            await connection.execute(insert(meta), {"key": "half", "value": "v"})
            started.set()
            await asyncio.sleep(60)

    for _ in range(10):
        started.clear()
        task = asyncio.create_task(hang())
        await started.wait()
        task.cancel()
        await asyncio.wait({task})

    await put(database, "whole")
    assert await keys(database) == {"whole"}


async def test_a_task_cancelled_amid_a_statement_gives_its_lock_back_at_once(database: Database) -> None:
    """A statement that returns rows is what keeps a closed SQLite connection, and its lock, alive."""
    many = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
        "INSERT INTO meta (key, value) SELECT 'k' || i, 'v' FROM n RETURNING key"
    )

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(many)

    for turn in range(40):
        task = asyncio.create_task(write())
        await asyncio.sleep(turn * 0.0002)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(2):
            await put(database, f"after {turn}")
            async with database.write() as connection:
                await connection.execute(text("DELETE FROM meta"))


async def test_tasks_cancelled_at_any_moment_do_no_harm(database: Database) -> None:
    async def cut_short(n: int) -> None:
        try:
            async with asyncio.timeout(0.0004 * n):
                await put(database, f"{n}")
        except TimeoutError:
            pass

    for n in range(40):
        await cut_short(n)

    await put(database, "last")
    assert "last" in await keys(database)


async def test_a_hundred_writers_wait_their_turn(database: Database) -> None:
    await put(database, "count", "0")

    async def add(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE meta SET value = CAST(CAST(value AS integer) + 1 AS text)"))

    await asyncio.gather(*(database.transact(add) for _ in range(100)))

    async with database.read() as connection:
        assert (await connection.execute(select(meta.c.value))).scalar_one() == "100"


async def test_ping_and_the_servers_time(database: Database) -> None:
    await database.ping()
    assert abs(await database.server_time() - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Database.open(url, schema="reach")


# PostgreSQL


async def two_who_collide(
    database: Database, options: str, first: tuple[str, str], second: tuple[str, str]
) -> list[int]:
    """Two transactions that read both rows, meet, and write crosswise; how often each ran."""
    runs = [0, 0]
    met = asyncio.Barrier(2)

    async def cross(n: int, mine: str, other: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            runs[n] += 1
            if options:
                await connection.execute(text(options))
            await connection.execute(select(meta.c.value))
            await connection.execute(meta.update().where(meta.c.key == mine).values(value=str(n)))
            if runs == [1, 1] or sum(runs) < 2:
                async with asyncio.timeout(5):
                    await met.wait()
            await connection.execute(meta.update().where(meta.c.key == other).values(value=str(n)))

        await database.transact(work)

    await asyncio.gather(cross(0, *first), cross(1, *second))
    return runs


async def test_a_deadlock_is_repeated_until_both_have_gone_through(postgres: Place, opened: Opener) -> None:
    database = await opened(postgres)
    await create(database, meta.metadata)
    await put(database, "a")
    await put(database, "b")

    runs = await two_who_collide(database, "", ("a", "b"), ("b", "a"))

    assert sorted(runs) == [1, 2]


async def test_a_race_that_is_always_lost_ends_as_overtaken(postgres: Place, opened: Opener) -> None:
    database = await opened(postgres)
    runs = 0

    async def lose(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await connection.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"))

    with pytest.raises(Overtaken):
        await database.transact(lose)
    assert runs == 6


async def test_every_session_has_its_limits(postgres: Place, opened: Opener) -> None:
    database = await opened(postgres)
    names = [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "search_path",
        "TimeZone",
    ]
    async with database.read() as connection:
        found = [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]

    assert found == ["5s", "3s", "15s", postgres.schema, "UTC"]


async def test_a_server_that_is_not_there_is_named_without_its_password(opened: Opener) -> None:
    database = await opened(Place("postgresql://user:hunter2@127.0.0.1:1/db", "reach"))

    with pytest.raises(Unavailable, match=r"^PostgreSQL at 127\.0\.0\.1:1: .*refused[^\n]*$") as refused:
        await database.ping()

    assert refused.value.reason == "DEPENDENCY_DOWN"
    assert "hunter2" not in repr(refused.value) + str(refused.value.facts)


async def test_connections_the_server_has_closed_are_replaced_unseen(postgres: Place, opened: Opener) -> None:
    database = await opened(postgres)
    await create(database, meta.metadata)
    await put(database, "a")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        ended = admin.execute(  # with a wait: a backend only signalled may still answer one statement
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = %s",
            [f"reach/{postgres.schema}"],
        ).fetchall()
    assert ended
    assert all(gone for (gone,) in ended)

    await put(database, "b")
    assert await keys(database) == {"a", "b"}


@pytest.mark.fault
async def test_the_database_is_usable_again_as_soon_as_the_server_is(
    postgres_node: Node, opened: Opener, unique: str
) -> None:
    with psycopg.connect(postgres_node.url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {unique}".encode())
    database = await opened(Place(postgres_node.url, unique))
    await database.start()
    await create(database, meta.metadata)
    await put(database, "before")
    signal = database.wakeups.listen("news")

    await asyncio.to_thread(postgres_node.kill)
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            await put(database, "during")
        assert refused.value.reason == "DEPENDENCY_DOWN"
    await asyncio.to_thread(postgres_node.start)

    await put(database, "after")
    assert await keys(database) == {"before", "after"}
    assert await signal.wait(20)  # the listener is back too, and says that something may have been missed


class Cut:
    """A connection to PostgreSQL that is cut when COMMIT passes: before the server sees it, or after."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.when = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._up(reader, forth, writer))
                both.create_task(self._down(back, writer))
        except* OSError:
            pass
        finally:
            forth.close()
            writer.close()

    async def _up(
        self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            commits = b"COMMIT" in data
            if commits and self.when == "before":
                writer.transport.abort()
                break
            if commits and self.when == "after":
                writer.transport.abort()
            forth.write(data)
            await forth.drain()
            if commits and self.when == "after":
                break
        if forth.can_write_eof():
            forth.write_eof()

    async def _down(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(65536):
            if not writer.transport.is_closing():
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_without_an_answer_is_told_apart_and_the_key_decides(
    postgres: Place, opened: Opener, when: str
) -> None:
    direct = await opened(postgres)
    await create(direct, meta.metadata)
    parsed = connect.parse(postgres.url)
    cut = Cut(parsed.host or "127.0.0.1", parsed.port or 5432)
    async with cut.open() as port:
        url = parsed.set(host="127.0.0.1", port=port).update_query_dict({"sslmode": "disable"})
        database = await opened(Place(url.render_as_string(hide_password=False), postgres.schema))
        await put(database, "first")
        cut.when = when

        with pytest.raises(Unavailable) as unclear:
            await put(database, "second")

        assert unclear.value.reason == "COMMIT_UNCLEAR"
        cut.when = ""
        expected = {"first"} if when == "before" else {"first", "second"}
        async with asyncio.timeout(5):
            while await keys(database) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the server may still be at it
        await database.close()


# SQLite


@pytest.fixture
async def file(tmp_path: Path, opened: Opener) -> Database:
    database = await opened(Place(f"sqlite:///{tmp_path}/file.db", "reach"))
    await create(database, meta.metadata)
    return database


async def test_sqlite_is_told_how_to_be_safe(file: Database) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000, "foreign_keys": 1}
    async with file.write() as writing, file.read() as reading:
        for connection in (writing, reading):
            found = {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in wanted}
            assert found == wanted


async def test_a_full_disk_is_overload_and_heals(file: Database) -> None:
    async with file.write() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages + 1}"))

    with pytest.raises(Throttled) as refused:
        await put(file, "big", "x" * 100_000)
    assert refused.value.reason == "OVERLOADED"

    async with file.write() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await put(file, "big", "x" * 100_000)
    assert await keys(file) == {"big"}


async def test_a_file_another_process_holds_is_waited_for_within_bounds(
    file: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "file.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        async with file.read() as connection:  # readers go on
            await connection.execute(select(meta))
        before = time.monotonic()
        with pytest.raises(Throttled) as refused:
            await put(file, "a")
        assert 4 < time.monotonic() - before < 8
        other.execute("ROLLBACK")
    other.close()
    assert refused.value.reason == "OVERLOADED"
    await put(file, "a")


async def test_a_writer_that_never_ends_holds_the_others_up_within_bounds(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "WRITER_WAIT", 0.05)
    async with file.write():
        with pytest.raises(Throttled, match="too many writers"):
            await put(file, "a")
    await put(file, "a")


async def test_a_read_only_file_is_a_dependency_down(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "folder.db").mkdir()
    database = await opened(Place(f"sqlite:///{tmp_path}/folder.db", "reach"))

    with pytest.raises(Unavailable, match=r"SQLite file folder\.db") as refused:
        await database.ping()
    assert refused.value.reason == "DEPENDENCY_DOWN"


async def test_two_databases_on_one_file_share_the_writers_turn(
    file: Database, opened: Opener, tmp_path: Path
) -> None:
    other = await opened(Place(f"sqlite:///{tmp_path}/file.db", "reach"))
    await put(file, "count", "0")

    async def add(connection: AsyncConnection) -> None:
        value = int((await connection.execute(select(meta.c.value))).scalar_one())
        await connection.execute(meta.update().values(value=str(value + 1)))

    await asyncio.gather(*(database.transact(add) for database in (file, other) for _ in range(30)))

    async with file.read() as connection:
        assert (await connection.execute(select(meta.c.value))).scalar_one() == "60"


def test_a_file_s_connection_may_be_closed_twice(tmp_path: Path) -> None:
    """Whoever is cancelled in the middle of a statement closes it, and so does the pool."""
    connection = sqlite3.connect(tmp_path / "twice.db", factory=connect._SqliteConnection)
    connection.execute("CREATE TABLE one (id)")
    connection.execute("INSERT INTO one VALUES (1)")
    assert connection.in_transaction
    connection.close()
    connection.close()
