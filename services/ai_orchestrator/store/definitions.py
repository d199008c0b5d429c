"""The versions of apps and chains that runs began with: written once, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store.run_tables import definition
from shared.db.rows import dialect_of, insert_into

APP: Final = "app"
CHAIN: Final = "chain"


async def keep(
    conn: AsyncConnection, kind: str, name: str, version: str, spec: Mapping[str, Any], now: datetime
) -> None:
    """Write a version, unless it is there."""
    insert = insert_into(dialect_of(conn), definition).values(
        kind=kind, name=name, version=version, spec=dict(spec), created_at=now
    )
    await conn.execute(insert.on_conflict_do_nothing())


async def find(conn: AsyncConnection, kind: str, name: str, version: str) -> Mapping[str, Any] | None:
    """The content of a version."""
    d = definition
    query = sa.select(d.c.spec).where(d.c.kind == kind, d.c.name == name, d.c.version == version)
    found: Mapping[str, Any] | None = (await conn.execute(query)).scalar()
    return found
