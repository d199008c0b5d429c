"""A room beside a sandbox, on each of the two databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from tests.campaign.reconciling.room import Room, Site
from tests.campaign.sending.sending_support import CORP, NOON, SECRET, KnownGroups, prepare
from tests.e2e.harness import Sandbox, sandbox


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with campaign's tables."""
    opened = Database.open(database_url, schema="public")
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    """A sandbox whose clock stands at noon."""
    async with sandbox() as made:
        await made.post("/sandbox/clock", set=NOON.isoformat(), freeze=True)
        await made.declare(
            corp_id=CORP, apps=[{"agentid": 0, "name": "c", "secret": SECRET, "kind": "customer"}]
        )
        yield made


@pytest.fixture
async def room(database: Database, world: Sandbox) -> AsyncIterator[Room]:
    """The workbench."""
    clock = ManualClock(NOON)
    made = Room(Site(database, clock, world.url, KnownGroups()), world, clock)
    yield made
    await made.close()
