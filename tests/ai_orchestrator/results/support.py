"""Apps as the results meet them, and a database with the tables of this part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.material import Prompt, Reference
from services.ai_orchestrator.store import result_tables  # noqa: F401  # part of the metadata
from services.ai_orchestrator.store.tables import metadata
from shared.db.engine import Database
from shared.db.tables import shared_metadata

STORE = "s1"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
MEMBER = Subject(STORE, member_id="M1", assistant_id="A1")
CLUES = {
    "type": "object",
    "required": ["clues"],
    "properties": {
        "clues": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["summary"],
                "properties": {
                    "category": {"type": "string"},
                    "emoji": {"type": "string", "maxLength": 8},
                    "summary": {"type": "string", "minLength": 1, "maxLength": 60},
                    "detail": {"type": "string", "maxLength": 400},
                },
            },
        },
        "score": {"type": "integer"},
    },
}
WORDS = {"type": "object", "required": ["summary"], "properties": {"summary": {"type": "string"}}}


def app(app_type="app3_clue", **other):
    given = {
        "version": "v1",
        "title": "消费线索",
        "needs": ("member_id",),
        "facts": ("visits",),
        "inputs": (),
        "prompt": "请提炼线索",
        "schema": CLUES,
        "cache_type": app_type.partition("_")[2],
        "target": "{member_id}",
        **other,
    }
    return AppDefinition(app_type=app_type, **given)


def prompt(fingerprint="f1"):
    return Prompt("…", fingerprint, (Reference("visit", "v1", NOON),))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database.open(url, schema="public")
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)
    await database.start()
    try:
        yield database
    finally:
        await database.close()
