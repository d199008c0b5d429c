"""A house on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.secrets import SecretKey
from tests.campaign.approval.house import opened
from tests.campaign.playbooks.house import NOON, House


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """At noon of a Monday."""
    database = await opened(database_url)
    try:
        yield House(database, ManualClock(NOON), SecretKey.create(tmp_path / "secret.key"))
    finally:
        await database.close()
