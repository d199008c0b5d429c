"""A desk on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.secrets import SecretKey
from tests.campaign.approval.house import NOON, opened
from tests.campaign.reporting.desk import Desk


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """One at noon, in a deployment that sends."""
    database = await opened(database_url)
    try:
        yield Desk(database, ManualClock(NOON), SecretKey.create(tmp_path / "secret.key"))
    finally:
        await database.close()
