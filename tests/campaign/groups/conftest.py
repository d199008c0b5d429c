"""The room of groups beside an empty sandbox, once on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.campaign.groups.house import House, house
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
async def room(world: Sandbox, tmp_path: Path, postgres: str | None) -> AsyncIterator[House]:
    """The room, on SQLite and on PostgreSQL."""
    async with house(world, tmp_path / "home", postgres) as made:
        yield made
