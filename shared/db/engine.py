"""The database of one service: transactions that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import DateTime, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

from shared.db.connect import Engines, open_engines
from shared.db.faults import REPEATS, Raced, commit_unclear, first_line, translated
from shared.db.types import DialectName
from shared.db.wakeups import Listener, Noted, Wakeups
from shared.errors import Unavailable

T = TypeVar("T")

_SERVER_TIME = select(func.clock_timestamp(type_=DateTime(timezone=True)))
_ONE = select(1)


class Database:
    """Opens connections when asked to and heals by itself when the server comes back.

    Failures of the database surface as ``Unavailable`` (``DEPENDENCY_DOWN``: nothing was committed;
    ``COMMIT_UNCLEAR``: look your keys up again before you decide) or ``Throttled`` (``OVERLOADED``:
    disk full, locked for too long, no connection free).
    """

    def __init__(self, engines: Engines, wakeups: Wakeups) -> None:
        self._engines = engines
        self._listener = Listener(engines.conninfo, wakeups) if engines.conninfo else None
        self.wakeups = wakeups
        self.dialect: DialectName = engines.dialect
        self.place = engines.place

    @classmethod
    def open(cls, url: str, *, schema: str, pool_size: int = 8) -> Database:
        """A database at ``sqlite:///path/file.db`` or ``postgresql://…``; connects on first use.

        *schema* is PostgreSQL's, set as search path; SQLite ignores it. *pool_size* bounds the
        connections on PostgreSQL (one more for wake-ups). Raises ``Invalid`` for another URL.
        """
        return cls(open_engines(url, schema, pool_size), Wakeups(f"reach_{schema}"[:63]))

    async def start(self) -> None:
        """Begin to receive wake-ups from other replicas; needs no reachable server."""
        if self._listener:
            self._listener.start()

    async def close(self) -> None:
        """Stop listening and close all connections; `Database` is of no use afterwards."""
        if self._listener:
            await self._listener.close()
        await self._engines.reader.dispose()
        await self._engines.writer.dispose()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: commits at the end of the block, rolls back when the block raises.

        On SQLite it holds the file's writer lock from the start, so a read inside it is current.
        """
        noted = Noted()
        async with self._engines.gate():
            with translated(self.place):
                async with self._engines.writer.connect() as connection:
                    transaction = await connection.begin()
                    with self.wakeups.noting(connection, noted):
                        yield connection
                    if noted.elsewhere and self._listener:
                        await self.wakeups.announce(connection, noted.elsewhere)
                    await self._commit(transaction)
        self.wakeups.deliver(noted.here)

    async def _commit(self, transaction: AsyncTransaction) -> None:
        try:
            await transaction.commit()
        except DBAPIError as error:
            if commit_unclear(error):
                text = f"{self.place}: no answer to COMMIT ({first_line(error.orig)})"
                raise Unavailable("COMMIT_UNCLEAR", text) from error
            raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot for all reads of the block; writing in it fails on both databases."""
        with translated(self.place):
            async with self._engines.reader.connect() as connection:
                yield connection
                # Rather than roll back: psycopg forgets its prepared statements with a rollback.
                await connection.commit()

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run *work* in `write`, the whole of it again when the database made it lose a race.

        *work* must have no effect besides the database: it may run up to six times. When it keeps
        losing, the last ``Overtaken`` is raised.
        """
        turn = 0
        while True:
            try:
                async with self.write() as connection:
                    return await work(connection)
            except Raced as race:
                turn += 1
                if turn > REPEATS[race.state]:
                    raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**turn))

    async def ping(self) -> None:
        """Return when the database answers; raises ``Unavailable`` with one line saying why not."""
        async with self.read() as connection:
            await connection.execute(_ONE)

    async def server_time(self) -> datetime:
        """What time it is where the rows are: PostgreSQL's clock, or this host's for SQLite."""
        if self.dialect == "sqlite":
            return datetime.now(UTC)
        async with self.read() as connection:
            answer: datetime = (await connection.execute(_SERVER_TIME)).scalar_one()
            return answer.astimezone(UTC)
