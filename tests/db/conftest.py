"""One suite, both databases: a fresh SQLite file, and a fresh schema on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData

from shared.db.engine import Database
from shared.db.tables import shared_metadata


@dataclass(frozen=True)
class Place:
    """Where a test's database is."""

    url: str
    schema: str


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[Place]:
    """An empty database, on each of the two in turn."""
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/reach.db", unique)
        return
    yield from fresh_schema(request.getfixturevalue("postgres_url"), unique)


@pytest.fixture
def postgres(postgres_url: str, unique: str) -> Iterator[Place]:
    """An empty schema, for what only PostgreSQL does."""
    yield from fresh_schema(postgres_url, unique)


def fresh_schema(url: str, schema: str) -> Iterator[Place]:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {schema}".encode())
        yield Place(url, schema)
        admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


async def create(database: Database, metadata: MetaData) -> None:
    """The tables of *metadata*, without migrations."""
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)


Opener = Callable[[Place], Awaitable[Database]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens databases and closes them after the test: each call is a replica."""
    databases: list[Database] = []

    async def open_one(place: Place) -> Database:
        database = Database.open(place.url, schema=place.schema)
        databases.append(database)
        return database

    yield open_one
    for database in databases:
        await database.close()
    async with asyncio.timeout(10):
        while sqlite_threads():  # noqa: ASYNC110  # the thread of a connection that was cut short ends a little later
            await asyncio.sleep(0.005)


def sqlite_threads() -> list[str]:
    """Threads of SQLite connections, which must not outlive their database."""
    return [thread.name for thread in threading.enumerate() if "_connection_worker" in thread.name]


@pytest.fixture
async def database(place: Place, opened: Opener) -> Database:
    """A database that has the shared tables."""
    database = await opened(place)
    await create(database, shared_metadata)
    return database
