"""Statements compiled for good.

SQLAlchemy caches what it compiles, but not an INSERT with ON CONFLICT, and finding the cached form of
a wide statement costs more than running it on one row. A frozen statement is its SQL text with typed
parameters and results, so that executing it costs nothing of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable, Select, bindparam, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert, UpdateBase

from shared.db.types import DialectName

_DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
}


def frozen(dialect: DialectName, statement: UpdateBase | Select[Any]) -> Executable:
    """*statement*, compiled once for *dialect*; execute it as before, with the same parameters and rows.

    For statements of fixed shape: an ``IN`` over a bound list has none, so use `rows` there.
    """
    compiled = statement.compile(dialect=_DIALECTS[dialect])
    parameters = []
    for bind, name in compiled.bind_names.items():
        if bind.expanding or bind.literal_execute:
            raise ValueError(f"{name} changes the statement's shape")
        typed = bindparam(name, type_=bind.type)
        parameters.append(typed if bind.required else bindparam(name, bind.value, type_=bind.type))
    sql = text(str(compiled)).bindparams(*parameters)
    results = list(statement.exported_columns)
    return sql.columns(*results) if results else sql


class Together:
    """Writes that are independent of each other: one statement on PostgreSQL, one after the other on SQLite.

    Each is fed by the rows of one parameter (`shared.db.rows`), which no other shares. On PostgreSQL none sees what
    another wrote.
    """

    def __init__(self, dialect: DialectName, **writes: Insert) -> None:
        """The writes, by the names of their parameters."""
        if dialect == "postgresql":
            *first, last = writes.values()
            ctes = [write.cte(f"write_{number}") for number, write in enumerate(first)]
            self._statements = {tuple(writes): frozen(dialect, last.add_cte(*ctes))}
        else:
            self._statements = {(name,): frozen(dialect, write) for name, write in writes.items()}

    async def execute(self, connection: AsyncConnection, documents: Mapping[str, str]) -> None:
        """Make all the writes; *documents* has the rows of each (`shared.db.rows.pack`)."""
        for names, statement in self._statements.items():
            await connection.execute(statement, {name: documents[name] for name in names})
