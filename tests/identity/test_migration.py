"""The migration makes what the code expects, on both databases."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection

import shared.identity
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.identity import TokenRegistry
from shared.identity.tables import metadata

VERSIONS = Path(shared.identity.__file__).parent / "migrations" / "versions"


def upgrade(connection: Connection) -> list[Any]:
    """Run every migration in order; what still differs from the tables in the code."""
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for path in sorted(VERSIONS.glob("*.py")):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.upgrade()
    return compare_metadata(context, metadata)


async def test_the_migrations_end_at_the_tables_of_the_code(
    place: tuple[str, str], manual_clock: ManualClock
):
    database = Database.open(place[0], schema=place[1])
    async with database.write() as connection:
        assert await connection.run_sync(upgrade) == []
    registry = TokenRegistry(database, manual_clock)
    await registry.create("alice", "human", ["notify.read"], ["*"])
    assert [record.principal.subject for record in await registry.list()] == ["alice"]
    await database.close()
