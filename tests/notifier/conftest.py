"""A notifier in this process with a sandbox beside it, as every RPC test wants them."""

from __future__ import annotations

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


@pytest.fixture
async def reach(bare: Reach) -> Reach:
    """A notifier in which each role is held by the user of its name."""
    await bare.staff()
    return bare


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
