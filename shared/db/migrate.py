"""Brings a database up to date: all or nothing, one process at a time, as often as you like (I42).

Each location (shared first, then the service's) is a folder of Alembic revisions with a version table
of its own. Everything runs in one transaction under a lock, so a migration that is killed never was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Select, create_engine, event, inspect, select, text
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.expression import column, table

from shared.db.connect import check_schema, parse, postgresql_place, prepare_sqlite, session_options
from shared.db.engine import Database
from shared.db.faults import translated
from shared.errors import Unavailable
from shared.values import value_class

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK_KEY = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


@value_class
class Location:
    """A folder of revisions."""

    name: str
    """Lower-case identifier; the version table is called after it."""
    versions: Path
    """The folder that holds ``0001_….py`` and so on."""

    @property
    def version_table(self) -> str:
        """Where the database keeps the revision it is at."""
        return f"revision_{self.name}"


SHARED = Location("shared", _SCRIPTS / "versions")
"""The tables of `shared.db.tables`; the first location of every service."""


def migrate(url: str, schema: str, locations: Sequence[Location]) -> None:
    """Upgrade *schema* (created when missing) of the database at *url* through *locations*, in order.

    A second process waits for the first and finds nothing left to do. Blocks: call it before the event
    loop starts, or in a thread. Raises ``Unavailable`` or ``Throttled`` as `Database` does.
    """
    check_schema(schema)
    engine, place = _engine(url, schema)
    try:
        with translated(place), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_LOCK_KEY, {"name": f"reach migrate {schema}"})
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
            for location in locations:
                command.upgrade(_config(location, connection), "head")
    finally:
        engine.dispose()


async def check(database: Database, locations: Sequence[Location]) -> None:
    """Return when the schema has what this program needs; raises ``Unavailable`` (``SCHEMA_BEHIND``) if not.

    A revision this program does not know is a newer one's: the two run side by side (I40).
    """
    async with database.read() as connection:
        behind = [
            location.name for location in locations if not await connection.run_sync(_is_current, location)
        ]
    if behind:
        text = f"{database.place}: the schema is behind ({', '.join(behind)}): run `reach migrate`"
        raise Unavailable("SCHEMA_BEHIND", text)


def _is_current(connection: Connection, location: Location) -> bool:
    if not inspect(connection).has_table(location.version_table):
        return False
    versions: Select[Any] = select(column("version_num")).select_from(table(location.version_table))
    present = set(connection.execute(versions).scalars())
    scripts = ScriptDirectory.from_config(_config(location, connection))
    known = {revision.revision for revision in scripts.walk_revisions()}
    return bool(present) and (set(scripts.get_heads()) <= present or not present <= known)


def _config(location: Location, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", _escaped(_SCRIPTS))
    config.set_main_option("version_locations", _escaped(location.versions))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = location.version_table
    return config


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")  # the configuration's own interpolation


def _engine(url: str, schema: str) -> tuple[Engine, str]:
    parsed = parse(url)
    if parsed.drivername == "sqlite":
        path = Path(parsed.database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, poolclass=NullPool)
        event.listen(engine, "connect", lambda connection, _record: prepare_sqlite(connection))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN EXCLUSIVE"))
        return engine, f"SQLite file {path.name}"
    # Building an index takes its time, and so does waiting for another process that migrates.
    patient = {
        "statement_timeout": "10min",
        "lock_timeout": "60s",
        "idle_in_transaction_session_timeout": "0",
    }
    options = session_options(schema, **patient)
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={
            "options": options,
            "application_name": f"reach migrate {schema}",
            "connect_timeout": 5,
        },
    )
    return engine, postgresql_place(parsed)
