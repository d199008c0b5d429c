"""A provider and the sandbox it calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clock import ManualClock
from tests.ai_orchestrator.provider.door import Door, provider
from tests.e2e.harness import sandbox


@pytest.fixture
async def door(manual_clock: ManualClock) -> AsyncIterator[Door]:
    async with sandbox() as world, provider(world.url, manual_clock) as made:
        yield Door(made, world)
