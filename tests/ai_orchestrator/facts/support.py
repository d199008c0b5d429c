"""A database with the fact tables, the applications as they ship, and facts put down in one line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from services.ai_orchestrator import assembly
from services.ai_orchestrator.domain.definitions import AppDefinition
from services.ai_orchestrator.domain.facts.kinds import Fact, Kind
from services.ai_orchestrator.store import fact_tables, facts, result_tables
from services.ai_orchestrator.store.tables import metadata
from shared.db.engine import Database
from shared.db.tables import shared_metadata

STORE = "club-1"
SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
"""A Sunday, 10:00 in Shanghai."""
TABLES = (
    fact_tables.store_profile,
    fact_tables.member,
    fact_tables.assistant,
    fact_tables.visit,
    fact_tables.visit_item,
    fact_tables.note,
    fact_tables.task,
    result_tables.clue,
    result_tables.member_news,
)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database.open(url, schema="public")
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(lambda sync: metadata.create_all(sync, tables=TABLES))
    yield database
    await database.close()


async def put(
    database: Database, kind: Kind, *given: Fact, store_id: str = STORE, now: datetime = NOW
) -> int:
    return len(await database.transact(lambda conn: facts.save(conn, store_id, kind, given, now)))


def apps() -> Mapping[str, AppDefinition]:
    """By name, read as plainly as can be."""
    folder = Path(assembly.__file__).parent / "presets" / "apps"
    return {path.stem: _app(path) for path in sorted(folder.glob("*.toml"))}


def _app(path: Path) -> AppDefinition:
    said = tomllib.loads(path.read_text())
    return AppDefinition(
        app_type=path.stem,
        version="1",
        title=said["title"],
        needs=tuple(said["needs"]),
        facts=tuple(said["facts"]),
        inputs=tuple(said["inputs"]),
        prompt=said["prompt"],
        schema=json.loads(said["schema"]),
        cache_type=said["cache_type"],
        target=said["target"],
        clues=said.get("clues", ""),
    )
