"""SQLite statements in one trip to their connection's thread.

The driver asks its thread four times for each: for a cursor, the execution, the rows and the end of the cursor. Every trip
wakes a thread and the loop again, which costs several times what the statement does.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor


def install(engine: Engine) -> None:
    """Let the connections of *engine*, which is one of aiosqlite's, go once for each statement."""
    event.listen(engine, "do_connect", _connect)


def _connect(dialect: Any, _record: object, arguments: Sequence[Any], named: dict[str, Any]) -> _Connection:
    usual = dialect.connect(*arguments, **named)
    return _Connection(usual.dbapi, usual.driver_connection)


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    def execute(self, operation: Any, parameters: Any = None) -> None:
        try:
            done = self.await_(
                self._connection._execute(_execute, self._connection._conn, operation, parameters or ())
            )
        except Exception as error:
            self._adapt_connection._handle_exception(error)
        self.description, rows, self.lastrowid, self.rowcount = done
        self._rows = deque(rows)

    def executemany(self, operation: Any, seq_of_parameters: Any) -> None:
        try:
            done = self.await_(
                self._connection._execute(_execute_many, self._connection._conn, operation, seq_of_parameters)
            )
        except Exception as error:
            self._adapt_connection._handle_exception(error)
        self.description = None
        self.lastrowid, self.rowcount = done


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    def cursor(self, server_side: bool = False) -> AsyncAdapt_aiosqlite_cursor:
        return super().cursor(server_side) if server_side else _Cursor(self)


def _execute(
    connection: sqlite3.Connection, operation: str, parameters: Any
) -> tuple[Any, Sequence[Any], int, int]:
    cursor = connection.cursor()
    try:
        cursor.execute(operation, parameters)
        if cursor.description:
            return cursor.description, cursor.fetchall(), -1, -1
        return None, (), cursor.lastrowid or 0, cursor.rowcount
    finally:
        cursor.close()


def _execute_many(connection: sqlite3.Connection, operation: str, many: Any) -> tuple[int, int]:
    cursor = connection.cursor()
    try:
        cursor.executemany(operation, many)
        return cursor.lastrowid or 0, cursor.rowcount
    finally:
        cursor.close()
