"""A kf_session in this process with a sandbox beside it, once on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.harness import Sandbox, sandbox
from tests.kf_session.shop import Shop, shop


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
async def kf(world: Sandbox, tmp_path: Path, postgres: str | None) -> AsyncIterator[Shop]:
    """The shop, on SQLite and on PostgreSQL."""
    async with shop(world, tmp_path / "home", postgres) as made:
        yield made
