"""A house on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.secrets import SecretKey
from tests.campaign.approval.doors import Doors, employ, served
from tests.campaign.approval.house import NOON, House, opened


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """One that really sends, at noon."""
    database = await opened(database_url)
    try:
        yield House(database, ManualClock(NOON), SecretKey.create(tmp_path / "secret.key"))
    finally:
        await database.close()


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    """With everybody employed."""
    home = tmp_path / "home"
    async with served(home, await employ(home)) as made:
        yield made
