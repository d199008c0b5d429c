"""A replica's runs on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from shared.rpc import principal
from tests.ai_orchestrator.runs.bench import NOON, Replica, World, prepare


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the tables of runs."""
    opened = Database.open(database_url, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """Noon in Shanghai."""
    return ManualClock(NOON)


@pytest.fixture
def world() -> World:
    """All gates open, all answers good."""
    return World()


@pytest.fixture
async def replica(database: Database, world: World, clock: ManualClock) -> Replica:
    """One replica, its caller the local operator."""
    principal.enter(principal.LOCAL_OPERATOR)
    return Replica(database, world, clock)
