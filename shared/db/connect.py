"""How connections to each database are made and what every one of them is told first."""

from __future__ import annotations

import asyncio
import re
import select
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import orjson
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.db import one_trip
from shared.db.types import DialectName, json_dumps
from shared.errors import Invalid, Throttled

WRITER_WAIT = 10.0
"""Seconds a transaction waits for its turn to write to an SQLite file before it is refused."""

_CONNECT_TIMEOUT = 5
_POOL_WAIT = 5.0
_SQLITE_READERS = 4
_SESSION = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
    "timezone": "UTC",
}
_SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=5000",
    "foreign_keys=ON",
    "cache_size=-16384",  # KiB: the upper levels of the indexes over a past stay, however much is read in between
)

Gate = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Engines:
    """What `Database` needs to know of one database."""

    dialect: DialectName
    writer: AsyncEngine
    reader: AsyncEngine
    gate: Gate
    """Entered before a write transaction begins."""
    place: str
    """Names the database in messages; never holds a password."""
    conninfo: Mapping[str, Any] | None
    """How to connect without a pool, PostgreSQL only: for the wake-ups."""


def parse(url: str) -> URL:
    """*url* without a driver's name. Raises ``Invalid`` unless it is SQLite's or PostgreSQL's."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid.field("database_url", "is not a URL") from error
    backend = {"postgres": "postgresql"}.get(parsed.get_backend_name(), parsed.get_backend_name())
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise Invalid.field("database_url", "SQLite needs a file (sqlite:///path/file.db)")
    if backend not in ("sqlite", "postgresql"):
        raise Invalid.field("database_url", "must begin with sqlite:/// or postgresql://")
    return parsed.set(drivername=backend)


def check_schema(schema: str) -> str:
    """*schema* if it is a plain lower-case identifier; raises ``Invalid`` otherwise."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise Invalid.field("schema", "must be a lower-case identifier")
    return schema


def open_engines(url: str, schema: str, pool_size: int) -> Engines:
    """Engines for *url*; nothing is connected yet."""
    parsed = parse(url)
    if parsed.drivername == "sqlite":
        return _open_sqlite(parsed)
    return _open_postgresql(parsed, check_schema(schema), pool_size)


# PostgreSQL


def session_options(schema: str, **more: str) -> str:
    """libpq's ``options``: the settings every session starts with."""
    settings = {**_SESSION, "search_path": schema, **more}
    return " ".join(f"-c {key}={value}" for key, value in settings.items())


def postgresql_place(url: URL) -> str:
    """The server's name for messages."""
    return f"PostgreSQL at {url.host or 'local socket'}:{url.port or 5432}"


def _open_postgresql(url: URL, schema: str, pool_size: int) -> Engines:
    arguments = {
        "application_name": f"reach/{schema}",
        "connect_timeout": _CONNECT_TIMEOUT,
        "options": session_options(schema),
    }
    writer = create_async_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT,
        connect_args=arguments,
        json_serializer=json_dumps,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # errors are logged, and values are what people are told
    )
    event.listen(writer.sync_engine, "checkout", _still_there)
    # One snapshot for the whole block, as SQLite gives it, and no write by mistake.
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    _, from_url = writer.dialect.create_connect_args(url)
    conninfo = {**from_url, **arguments, **_KEEPALIVES}
    return Engines("postgresql", writer, reader, nullcontext, postgresql_place(url), conninfo)


def _still_there(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Replace a pooled connection that the server has closed meanwhile.

    A server that goes away says so on the socket, which an idle connection otherwise has nothing to read
    from. Looking at it costs a thousandth of the round trip that SQLAlchemy's own ping makes per transaction.
    """
    driver = connection.driver_connection
    if driver.closed or select.select([driver.fileno()], [], [], 0)[0]:
        raise DisconnectionError("the server has closed this connection")


_KEEPALIVES = {"keepalives_idle": "15", "keepalives_interval": "5", "keepalives_count": "3"}


# SQLite


class WriterLock:
    """One writer at a time per file and process; SQLite's own waiting is a poll with long tails."""

    _by_file: ClassVar[WeakValueDictionary[Path, WriterLock]] = WeakValueDictionary()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    @classmethod
    def of(cls, path: Path) -> WriterLock:
        """The lock all users of *path* in this process share."""
        return cls._by_file.setdefault(path, cls(path))

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lock; raises ``Throttled`` when it is not to be had in `WRITER_WAIT` seconds."""
        try:
            async with asyncio.timeout(WRITER_WAIT):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Throttled("OVERLOADED", f"SQLite file {self._path.name}: too many writers wait") from error
        try:
            yield
        finally:
            self._lock.release()


def _open_sqlite(url: URL) -> Engines:
    path = Path(url.database or "").resolve()
    lock = WriterLock.of(path)
    writer = _sqlite_engine(url, 1, "BEGIN IMMEDIATE")
    # A plain BEGIN keeps one snapshot and never blocks the writer; query_only refuses a write by mistake.
    reader = _sqlite_engine(url, _SQLITE_READERS, "BEGIN", "query_only=ON")
    return Engines("sqlite", writer, reader, lock.held, f"SQLite file {path.name}", None)


class _SqliteConnection(sqlite3.Connection):
    """Gives its locks back when it is closed, whatever it was doing.

    A task that is cancelled leaves its connection to be closed in the middle of a statement. SQLite keeps such a
    connection, and its transaction with the writer lock, until Python happens to collect the last cursor.
    """

    _open = True

    def close(self) -> None:
        """Roll back what is open, then close; a second time is as harmless as with any connection."""
        if not self._open:
            return
        self._open = False
        try:
            if self.in_transaction:
                self.rollback()
        finally:
            super().close()


def _sqlite_engine(url: URL, size: int, begin: str, *pragmas: str) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT,
        connect_args={"factory": _SqliteConnection},
        hide_parameters=True,
    )

    one_trip.install(engine.sync_engine)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        prepare_sqlite(connection, *pragmas)

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def prepare_sqlite(connection: Any, *pragmas: str) -> None:
    """Settings of a new SQLite connection; BEGIN and COMMIT are ours, not the driver's."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (*_SQLITE_PRAGMAS, *pragmas):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
