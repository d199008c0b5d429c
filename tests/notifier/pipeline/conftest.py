"""A replica on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from tests.notifier.pipeline.bench import Replica, prepare


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the notifier's tables, on each of the two in turn."""
    opened = Database.open(database_url, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
def replica(database: Database, manual_clock: ManualClock) -> Replica:
    """One replica."""
    return Replica(database, manual_clock)
