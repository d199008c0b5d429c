"""A replica's sending side on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from tests.kf_session.push.push_support import NOON, Platform, Replica, prepare


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with kf_session's tables."""
    opened = Database.open(database_url, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """Noon in Shanghai."""
    return ManualClock(NOON)


@pytest.fixture
def platform(clock: ManualClock) -> Platform:
    """A platform that counts."""
    return Platform(clock)


@pytest.fixture
def replica(database: Database, clock: ManualClock, platform: Platform) -> Replica:
    """One replica."""
    return Replica(database, clock, platform)
