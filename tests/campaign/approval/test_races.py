"""Edits race approvals, runs and claims on PostgreSQL: what nobody approved never leaves.

Whoever plays the claims looks, in the transaction in which it may send, at what it would send.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.campaign.domain.campaign import Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store import campaigns
from shared.clock import ManualClock
from shared.errors import Conflict
from shared.secrets import SecretKey
from tests.campaign.approval.house import NOON, House, opened

ROUNDS = 60
APPROVED = "春日上新"


@pytest.fixture
async def houses(postgres_database: str, tmp_path: Path) -> AsyncIterator[tuple[House, House, House]]:
    """Three replicas on one PostgreSQL: who writes, who approves, who sends."""
    clock, key = ManualClock(NOON), SecretKey.create(tmp_path / "secret.key")
    databases = [await opened(postgres_database) for _ in range(3)]
    writer, approver, sender = (House(database, clock, key) for database in databases)
    yield writer, approver, sender
    for database in databases:
        await database.close()


async def attempt(call: Any) -> str:
    """'' where it was done, else the reason why not."""
    try:
        await call
    except Conflict as refused:
        return refused.reason
    return ""


STAGES = (Status.PENDING_APPROVAL, Status.PENDING_APPROVAL, Status.APPROVED, Status.RUNNING)
"""What an edit waits to see before it races what comes next."""


async def race(houses: tuple[House, House, House], rounds: int, seed: int = 7) -> Counter[str]:
    """Let an edit race an approval with its run, and claims; how often each of them won."""
    writer, approver, sender = houses
    chance, outcomes = random.Random(seed), Counter[str]()
    for _ in range(rounds):
        campaign_id = await writer.write(APPROVED)
        seen = await writer.submit(campaign_id)
        sent: list[str] = []
        over = asyncio.Event()

        async def edits(campaign_id: str = campaign_id, over: asyncio.Event = over) -> str:
            stage, turns = chance.choice(STAGES), chance.randrange(12)
            while not over.is_set() and (await writer.now(campaign_id)).status is not stage:
                pass
            for _ in range(turns):
                await asyncio.sleep(0)
            return "" if await writer.edit(campaign_id, content=Content(f"{APPROVED}!")) else "begun"

        async def approves(campaign_id: str = campaign_id, seen: str = seen) -> str:
            refused = await attempt(approver.approve(campaign_id, seen))
            return refused or await attempt(approver.run(campaign_id))

        async def claims(
            campaign_id: str = campaign_id,
            seen: str = seen,
            over: asyncio.Event = over,
            sent: list[str] = sent,
        ) -> None:
            async def claim(conn: Any) -> str | None:
                held = await campaigns.share(conn, campaign_id)
                assert held is not None
                now = sender.clock.now()
                for version in (held.version, 1):
                    if not await sender.permit.refusal(conn, held, version, seen, now):
                        return held.spec.content.text
                return None

            last = False
            while not last:
                last = over.is_set()  # once more after all is said and done
                text = await sender.database.transact(claim)
                if text is not None:
                    sent.append(text)

        claiming = [asyncio.create_task(claims()) for _ in range(2)]
        editing = asyncio.create_task(edits())
        approved = await approves()
        over.set()
        edited = await editing
        await asyncio.gather(*claiming)

        assert set(sent) <= {APPROVED}
        found = await writer.now(campaign_id)
        if edited == "":
            assert found.status is Status.DRAFT
            assert found.version == 2
            assert await writer.claim(campaign_id, version=1, content_hash=seen) == "not_running"
        else:
            assert (found.status, found.version, approved) == (Status.RUNNING, 1, "")
            assert sent
        outcomes[f"{edited or 'edited'}, {approved or 'ran'}"] += 1
    return outcomes


async def test_an_edit_that_races_an_approval_and_claims_lets_nothing_unapproved_leave(
    houses: tuple[House, House, House],
) -> None:
    outcomes = await race(houses, ROUNDS)
    assert sum(outcomes.values()) == ROUNDS
    assert len(outcomes) > 1, outcomes  # neither of them always comes first
