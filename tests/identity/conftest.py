"""An identity schema on both databases, and a counter of the queries made to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from shared.identity import TokenRegistry
from shared.identity.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[tuple[str, str]]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/identity.db", unique
        return
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {unique}".encode())
        yield url, unique
        admin.execute(f"DROP SCHEMA {unique} CASCADE".encode())


@pytest.fixture
async def database(place: tuple[str, str]) -> AsyncIterator[Database]:
    database = Database.open(place[0], schema=place[1])
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    yield database
    await database.close()


@pytest.fixture
def registry(database: Database, manual_clock: ManualClock) -> TokenRegistry:
    return TokenRegistry(database, manual_clock)


class Watched:
    """A database that counts reads and can be cut off."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = 0
        self.fails: Exception | None = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        async with self._database.read() as connection:
            yield connection


@pytest.fixture
def watched(database: Database) -> Watched:
    return Watched(database)
