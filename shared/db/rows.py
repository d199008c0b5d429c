"""Many rows in one statement, on both databases: a source of rows fed by one JSON document.

A batch of a hundred rows is one bound parameter, so the statement never changes with the size of
the batch and is compiled once. Bulk INSERT … SELECT, UPDATE … FROM and joins are ordinary Core
statements over it:

    arriving = rows(dialect, "arriving", id=Id, due_at=Instant())
    statement = update(queue).where(queue.c.id == arriving.c.id).values(due_at=arriving.c.due_at)
    await connection.execute(statement, {"arriving": pack(dictionaries)})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from typing import cast as cast_type

from sqlalchemy import Table, bindparam, cast, column, func, literal_column, select, true, type_coerce
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import ColumnElement, FromClause
from sqlalchemy.types import Text, TypeEngine

from shared.db.types import DialectName, Json, json_text
from shared.errors import Invalid

Types = TypeEngine[Any] | type[TypeEngine[Any]]
Insert = postgresql.Insert | sqlite.Insert


def rows(dialect: DialectName, name: str, /, **columns: Types) -> FromClause:
    """A table-valued source named *name*, fed by the bound parameter *name* (see `pack`).

    A key that a row lacks, like one that is None, is SQL NULL.
    """
    document = bindparam(name, type_=Text())
    if dialect == "postgresql":
        typed = [column(key, kind) for key, kind in columns.items()]
        source = func.json_to_recordset(cast(document, postgresql.JSON())).table_valued(*typed)
        return source.render_derived(name=name, with_types=True)
    element = func.json_each(document).table_valued("value", name=f"{name}_each")
    fields = [_field(element.c.value, key, kind).label(key) for key, kind in columns.items()]
    return select(*fields).select_from(element).subquery(name)


def _field(element: ColumnElement[Any], key: str, kind: Types) -> ColumnElement[Any]:
    path: ColumnElement[str] = literal_column(f"'$.{key}'")
    if isinstance(kind, Json) or kind is Json:
        # "->" keeps the value as JSON text (a string keeps its quotes), where json_extract unwraps it.
        return type_coerce(func.nullif(element.op("->")(path), literal_column("'null'")), kind)
    return type_coerce(func.json_extract(element, path), kind)


def pack(rows: Iterable[Mapping[str, object]]) -> str:
    """The document for `rows`. Raises ``Invalid`` naming the key of a value that cannot be stored."""
    listed = list(rows)
    try:
        return json_text(listed, "rows")
    except Invalid:
        _blame(listed)
        raise


def _blame(listed: Sequence[Mapping[str, object]]) -> None:
    for row in listed:
        for key, value in row.items():
            json_text(value, key)


def dialect_of(conn: AsyncConnection) -> DialectName:
    """Which of the two databases *conn* talks to."""
    return cast_type(DialectName, conn.dialect.name)


def insert_into(dialect: DialectName, table: Table) -> Insert:
    """``INSERT`` with the dialect's ``on_conflict_…``."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def insert_rows(dialect: DialectName, table: Table, name: str, columns: Sequence[str] = ()) -> Insert:
    """``INSERT INTO table (columns) SELECT … FROM rows``, fed by parameter *name*; all columns by default."""
    wanted = [table.c[key] for key in columns] if columns else list(table.c)
    source = rows(dialect, name, **{col.name: col.type for col in wanted})
    # SQLite would read a following ON CONFLICT as a join's condition if there were no WHERE.
    chosen = select(*source.c).where(true())
    return insert_into(dialect, table).from_select([col.name for col in wanted], chosen)
