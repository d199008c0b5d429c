"""Matching on each of the two databases, with a clock one can push."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from tests.kf_session.matching_support import Bench, prepare


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with kf_session's tables, on each of the two in turn."""
    opened = Database.open(database_url, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
def bench(database: Database, manual_clock: ManualClock) -> Bench:
    """One replica."""
    return Bench(database, manual_clock)
