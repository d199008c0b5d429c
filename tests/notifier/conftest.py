"""A notifier in this process with a sandbox beside it, as every RPC test wants them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.harness import STORE, Names, Publisher, Reach, Sandbox, embedded, names_on, publisher, sandbox


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    """An empty sandbox."""
    async with sandbox() as made:
        yield made


@pytest.fixture
async def bare(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """A notifier as it comes: nobody holds a role yet."""
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as made:
        yield made


@pytest.fixture(scope="session")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first `reach` leaves a copy of its home for the others to begin with."""
    return tmp_path_factory.mktemp("staffed") / "home"


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path, staffed: Path) -> AsyncIterator[Reach]:
    """A notifier in which each role is held by the user of its name."""
    if not await asyncio.to_thread(staffed.exists):
        async with embedded(world.url, tmp_path / "staffed", default_store=STORE) as made:
            await made.staff()
        (tmp_path / "staffed").rename(staffed)
    shutil.copytree(staffed, tmp_path / "home")
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as made:
        yield made


@pytest.fixture
async def names(amqp_url: str) -> AsyncIterator[Names]:
    """Names of this test's own on the broker."""
    async with names_on(amqp_url) as made:
        yield made


@pytest.fixture
async def joined(world: Sandbox, amqp_url: str, names: Names, tmp_path: Path) -> AsyncIterator[Reach]:
    """A notifier on the broker, staffed."""
    settings = {"amqp_url": amqp_url, **names.settings}
    async with embedded(world.url, tmp_path / "home", default_store=STORE, **settings) as made:
        await made.staff()
        yield made


@pytest.fixture
async def till(joined: Reach, amqp_url: str, names: Names) -> AsyncIterator[Publisher]:
    """A plain AMQP client of the exchange that ``joined`` listens to."""
    async with publisher(amqp_url, names.exchange) as made:
        yield made
