"""The migrations make the tables that the code expects, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.kf_session.assembly import LOCATIONS
from services.kf_session.store import matching_tables
from shared.db.engine import Database
from shared.db.migrate import migrate


async def test_the_migrations_end_at_the_tables_of_the_code(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")
    ours = {
        table.name
        for table in (
            matching_tables.profile,
            matching_tables.question,
            matching_tables.profile_term,
            matching_tables.intent,
            matching_tables.intent_anchor,
            matching_tables.match,
            matching_tables.match_work,
        )
    }

    def chosen(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return name in ours if kind == "table" else True

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": chosen}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, matching_tables.metadata))

    async with database.read() as conn:
        assert await conn.run_sync(differences) == []
    await database.close()
