"""A room of those who write in this process with a sandbox beside it, once on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.campaign.writing.room import Room, Script, room
from tests.e2e.harness import Sandbox, sandbox


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    """An empty sandbox."""
    async with sandbox() as made:
        yield made


@pytest.fixture
def postgres(database_url: str) -> str | None:
    """The URL of an empty PostgreSQL; None for the run on SQLite."""
    return None if database_url.startswith("sqlite") else database_url


@pytest.fixture
def script() -> Script:
    """Who writes."""
    return Script()


@pytest.fixture
async def desk(world: Sandbox, tmp_path: Path, postgres: str | None, script: Script) -> AsyncIterator[Room]:
    """The room, on SQLite and on PostgreSQL."""
    async with room(world, tmp_path / "home", postgres, script) as made:
        yield made
