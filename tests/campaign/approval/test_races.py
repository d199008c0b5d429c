"""Edits and refusals race approvals, runs and claims: what nobody approved never leaves, what was stopped stays so.

Whoever plays the claims looks, in the transaction in which it may send, at what it would send. On PostgreSQL there are
three replicas, on SQLite there is one process. ``make chaos`` runs a thousand rounds of each race.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.campaign.domain.campaign import Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store import campaigns
from services.campaign.store.campaign_tables import approval, campaign_run
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.errors import Conflict
from shared.secrets import SecretKey
from tests.campaign.approval.house import NOON, House, once, opened

ROUNDS = int(os.environ.get("REACH_TEST_RACES", "40"))
APPROVED = "春日上新"

STAGES = (Status.PENDING_APPROVAL, Status.PENDING_APPROVAL, Status.APPROVED, Status.RUNNING)
"""What a rival waits to see before it races what comes next."""


@dataclass
class Cast:
    """Who writes, who approves, who sends."""

    writer: House
    approver: House
    sender: House


@pytest.fixture
async def cast(database_url: str, tmp_path: Path) -> AsyncIterator[Cast]:
    """Three replicas on one PostgreSQL, or the three parts of one process on SQLite."""
    clock, key = ManualClock(NOON), SecretKey.create(tmp_path / "secret.key")
    first: Database = await opened(database_url)
    alone = first.dialect == "sqlite"
    databases = [first, *([first] * 2 if alone else [await opened(database_url) for _ in range(2)])]
    made = [House(database, clock, key) for database in databases]
    for house in made:
        house.hire("eve")
    yield Cast(*made)
    for database in dict.fromkeys(databases):
        await database.close()


async def attempt(call: Awaitable[Any]) -> str:
    """'' where it was done, else the reason why not."""
    try:
        await call
    except Conflict as refused:
        return refused.reason
    return ""


# --- Rivals: each answers '' where it was done ----------------------------------------------------------


async def edit(cast: Cast, campaign_id: str) -> str:
    """Another version, a draft."""
    return "" if await cast.writer.edit(campaign_id, content=Content(f"{APPROVED}!")) else "begun"


async def cancel(cast: Cast, campaign_id: str) -> str:
    """Stopped for good."""
    with cast.writer.by("ann"):
        return await attempt(cast.writer.side.running.cancel(campaign_id, "", once("CancelCampaign")))


async def pause(cast: Cast, campaign_id: str) -> str:
    """Held."""
    with cast.writer.by("ann"):
        return await attempt(cast.writer.side.running.pause(campaign_id, "", once("PauseCampaign")))


async def reject(cast: Cast, campaign_id: str) -> str:
    """Another one who may approve says no."""
    with cast.writer.by("eve"):
        call = cast.writer.side.approving.reject(campaign_id, "", expected=0, once=once("RejectCampaign"))
        return await attempt(call)


RIVALS: dict[Callable[[Cast, str], Awaitable[str]], tuple[Status, int, str]] = {
    edit: (Status.DRAFT, 2, "not_running"),
    cancel: (Status.CANCELLED, 1, "not_running"),
    pause: (Status.PAUSED, 1, "paused"),
    reject: (Status.DRAFT, 1, "not_running"),
}
"""What is so once it was done: the state, the version, and what a claim is answered."""


@dataclass
class Race:
    """One campaign, submitted; a rival against its approval, its run and its claims."""

    cast: Cast
    campaign_id: str
    seen: str
    stopped: bool = False
    """Whether the rival was told that it is done."""
    over: bool = False
    sent: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """What would have left by a claim that began after that."""

    async def rival(self, act: Callable[[Cast, str], Awaitable[str]], stage: Status, turns: int) -> str:
        """Wait for the stage, a little more, and act."""
        while not self.over and (await self.cast.writer.now(self.campaign_id)).status is not stage:
            pass
        for _ in range(turns):
            await asyncio.sleep(0)
        done = await act(self.cast, self.campaign_id)
        self.stopped = done == ""
        return done

    async def approve(self, looks: int) -> str:
        """Look at it so often, approve it and run it."""
        for _ in range(looks):
            await self.cast.approver.now(self.campaign_id)
        refused = await attempt(self.cast.approver.approve(self.campaign_id, self.seen))
        return refused or await attempt(self.cast.approver.run(self.campaign_id))

    async def claims(self) -> None:
        """Claim until all is over, and once more."""
        last = False
        while not last:
            last, late = self.over, self.stopped
            text = await self.cast.sender.database.transact(self._claim)
            if text is not None:
                self.sent.append(text)
                self.late += [text] * late

    async def _claim(self, conn: Any) -> str | None:
        held = await campaigns.share(conn, self.campaign_id)
        assert held is not None
        now = self.cast.sender.clock.now()
        for version in (held.version, 1):
            if not await self.cast.sender.permit.refusal(conn, held, version, self.seen, now):
                return held.spec.content.text
        return None


async def run_one(cast: Cast, act: Callable[[Cast, str], Awaitable[str]], chance: random.Random) -> str:
    """One race; who won."""
    campaign_id = await cast.writer.write(APPROVED)
    race = Race(cast, campaign_id, await cast.writer.submit(campaign_id))
    claiming = [asyncio.create_task(race.claims()) for _ in range(2)]
    rival = asyncio.create_task(race.rival(act, chance.choice(STAGES), chance.randrange(12)))
    ran = await race.approve(chance.randrange(5))
    race.over = True
    done = await rival
    await asyncio.gather(*claiming)

    assert set(race.sent) <= {APPROVED}
    assert race.late == []
    found = await cast.writer.now(campaign_id)
    runs = await of(cast, campaign_run, campaign_id)
    if done == "":
        status, version, answer = RIVALS[act]
        assert (found.status, found.version) == (status, version)
        assert await cast.writer.claim(campaign_id, version=1, content_hash=race.seen) == answer
    else:
        assert (found.status, found.version, ran) == (Status.RUNNING, 1, "")
        assert race.sent
    assert len(runs) == (1 if ran == "" else 0)
    approved = [one for one in await of(cast, approval, campaign_id) if one.decision == "approved"]
    assert approved or not (runs or race.sent)
    return f"{done or 'stopped'}, {ran or 'ran'}"


async def of(cast: Cast, table: sa.Table, campaign_id: str) -> list[Any]:
    """Rows of a campaign."""
    async with cast.writer.database.read() as conn:
        return list(await conn.execute(sa.select(table).where(table.c.campaign_id == campaign_id)))


@pytest.mark.fault
@pytest.mark.timeout(900)
@pytest.mark.parametrize("act", RIVALS, ids=lambda one: one.__name__)
async def test_whatever_races_an_approval_and_claims_nothing_unapproved_or_stopped_leaves(
    cast: Cast, act: Callable[[Cast, str], Awaitable[str]]
) -> None:
    chance = random.Random(7)
    outcomes = Counter([await run_one(cast, act, chance) for _ in range(ROUNDS)])
    assert sum(outcomes.values()) == ROUNDS
    assert len(outcomes) > 1, outcomes  # neither of them always comes first


async def test_of_two_who_decide_at_once_one_does(cast: Cast) -> None:
    for _ in range(20):
        campaign_id = await cast.writer.write(APPROVED)
        seen = await cast.writer.submit(campaign_id)
        done = await asyncio.gather(
            attempt(cast.approver.approve(campaign_id, seen)),
            attempt(cast.sender.approve(campaign_id, seen, by="eve")),
            reject(cast, campaign_id),
        )
        assert sorted(done) == ["", "STATE_INVALID", "STATE_INVALID"]
        assert len(await of(cast, approval, campaign_id)) == 1
