"""RunCampaign and its sisters with the room behind them: what they say is what the platform sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from reach.campaign.v1 import running_pb2

from services.campaign.approval_side import approval_side
from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.ports import Selection
from services.campaign.store.campaign_tables import campaign_run
from shared.secrets import SecretKey
from tests.campaign.approval.house import House, once
from tests.campaign.sending.sending_support import ADD, Bench, Replica


class Desk:
    """People with the real approval, in front of a real replica."""

    def __init__(self, house: House, bench: Bench) -> None:
        self.house, self.bench = house, bench

    async def act(self, verb: str, campaign_id: str) -> None:
        """PauseCampaign, ResumeCampaign or CancelCampaign."""
        with self.house.by("ann"):
            await getattr(self.house.side.running, verb)(campaign_id, "", once(f"{verb.title()}Campaign"))

    async def status(self, campaign_id: str) -> Status:
        """It as it stands."""
        return (await self.house.now(campaign_id)).status


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> AsyncIterator[Desk]:
    house = House(bench.database, bench.clock, SecretKey.create(tmp_path / "secret.key"))
    first = bench.replica
    bench.replica = Replica(
        bench.database, bench.clock, bench.world.url, bench.groups, follow=first.follow, permit=house.permit
    )
    for owner in ("li", "wu", "xu"):
        await bench.owns(owner, 2)
    house.groups.chosen = Selection(bench.groups.all(), ())
    house.side = approval_side(
        *("campaign", bench.database, house.moving, house.permit, house.groups, house.caps),
        *(bench.replica.side.start, bench.replica.follow, house.audit, bench.clock, house.customer),
    )
    yield Desk(house, bench)
    await bench.replica.close()
    bench.replica = first


async def test_by_default_a_run_is_for_show_and_the_platform_hears_nothing(desk: Desk) -> None:
    live = running_pb2.RunCampaignRequest().confirm_live
    assert live is False
    campaign_id = await desk.house.approved()
    ran = await desk.house.run(campaign_id, live=live)
    await desk.bench.until_idle()
    assert ran.dry
    calls = [one["path"] for one in await desk.bench.world.requests()]
    assert not [path for path in calls if path.startswith("/cgi-bin/externalcontact/")]
    assert await desk.bench.made() == []
    assert set((await desk.bench.targets()).values()) == {("simulated", "")}
    assert len(await desk.bench.targets()) == 6
    [run] = await desk.bench.rows(campaign_run)
    assert (run.dry, run.finished_at is not None) == (True, True)
    assert await desk.status(campaign_id) is Status.APPROVED


async def test_confirmed_and_approved_it_asks_every_owner_once(desk: Desk) -> None:
    campaign_id = await desk.house.running()
    await desk.bench.until_idle()
    assert sorted(one["sender"] for one in await desk.bench.made()) == ["li", "wu", "xu"]
    assert await desk.status(campaign_id) is Status.RECONCILING


async def test_a_resume_is_felt_at_once(desk: Desk) -> None:
    campaign_id = await desk.house.running()
    await desk.act("pause", campaign_id)
    await desk.bench.replica.turn()
    assert await desk.bench.world.requests(ADD) == []
    await desk.act("resume", campaign_id)
    await desk.bench.replica.turn()
    assert len(await desk.bench.made()) == 3


async def test_what_is_cancelled_while_owners_are_being_asked_asks_nobody_else(desk: Desk) -> None:
    campaign_id = await desk.house.running()
    await desk.bench.replica.turn(1)
    await desk.act("cancel", campaign_id)
    await desk.bench.advance(timedelta(hours=1))
    await desk.bench.until_idle()
    assert len(await desk.bench.world.requests(ADD)) == 1
    counted = [status for status, _ in (await desk.bench.targets()).values()]
    assert (counted.count("awaiting_owner"), counted.count("cancelled")) == (2, 4)


async def test_an_approver_who_may_not_any_more_stops_it_before_the_next_request(desk: Desk) -> None:
    campaign_id = await desk.house.running()
    await desk.bench.replica.turn(1)
    desk.house.hire("ben", revoked_at=desk.bench.clock.now())
    await desk.bench.until_idle()
    assert len(await desk.bench.world.requests(ADD)) == 1
    kept = await desk.house.now(campaign_id)
    assert (kept.status, kept.reason) == (Status.PAUSED, "approver_gone")
