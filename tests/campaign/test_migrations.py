"""The migrations make the tables that the code expects, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.campaign.assembly import LOCATIONS
from services.campaign.store.tables import metadata
from shared.db.engine import Database
from shared.db.migrate import migrate


async def test_the_migrations_end_at_the_tables_of_the_code(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")

    def chosen(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return (
            name in metadata.tables if kind == "table" else True
        )  # those that all services have are not ours

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": chosen}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.read() as conn:
        assert await conn.run_sync(differences) == []
    await database.close()
    assert {"run_left_out", "top_up_group", "campaign_target", "customer_group"} <= set(metadata.tables)
