"""From the first request to the top-up, beside a sandbox: what is told is what happened there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from typing import Any

import pytest
from reach.campaign.v1 import campaign_pb2, explain_pb2, report_pb2, target_pb2, top_up_pb2

from services.campaign.campaign_wire import to_campaign
from services.campaign.explain_service import ExplainMethods
from services.campaign.pipeline.linting import Linter
from services.campaign.report_service import ReportMethods
from services.campaign.reporting_side import reporting_side
from services.campaign.store.campaign_tables import campaign_run
from services.campaign.target_service import TargetMethods
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.usecases.targets import Targets
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.rpc.paging import PageTokens
from shared.rpc.principal import Principal, acting_as, visible_stores
from shared.settings import Customer
from tests.campaign.reconciling.conftest import database, world
from tests.campaign.reconciling.room import Room, Site
from tests.campaign.reporting.desk import counts, funnel
from tests.campaign.sending.sending_support import ADD, KEY, NOON, STORE, KnownGroups
from tests.e2e.harness import Sandbox

__all__ = ["database", "world"]

ANN = Principal("ann", "human", frozenset({"campaign.read", "campaign.write"}), frozenset({STORE}))


class Willing:
    """Whatever stands there was approved."""

    async def consent_refusal(self, conn: Any, campaign: Any, now: Any) -> str:
        """Nothing is in the way."""
        return ""


class Told(TargetMethods, ReportMethods, ExplainMethods):  # type: ignore[misc]  # what it lacks nobody asks
    """What is told of the campaigns of a room."""

    def __init__(self, room: Room) -> None:
        self.room, database, clock = room, room.database, room.clock
        audit, groups = AuditLog(database.dialect, KEY), room.groups
        writing = Campaigns(database, Linter((), ()), groups, room.site.moving, audit, clock)
        side = reporting_side(database, writing, Willing(), audit, clock, Customer())
        self._targets, self._tokens = Targets(database), PageTokens(b"k" * 32)
        self._reporting, self._topping_up, self._explaining = side.reporting, side.topping_up, side.explaining
        self._shown = self
        self._writing = writing

    async def shown(self, campaign_id: str) -> campaign_pb2.Campaign:
        """See ``approval_service.Shown``."""
        return to_campaign(await self._writing.get(campaign_id, visible_stores()))

    async def report(self, campaign_id: str) -> report_pb2.CampaignReport:
        """GetReport."""
        with acting_as(ANN):
            return (await self.GetReport(report_pb2.GetReportRequest(campaign_id=campaign_id), None)).report

    async def top_up(self, campaign_id: str) -> top_up_pb2.TopUpCampaignResponse:
        """TopUpCampaign."""
        with acting_as(ANN):
            return await self.TopUpCampaign(top_up_pb2.TopUpCampaignRequest(campaign_id=campaign_id), None)

    async def verdicts(self, campaign_id: str, chat_ids: Collection[str]) -> set[tuple[str, str]]:
        """What Explain says of groups, and whether it is what ListTargets says."""
        with acting_as(ANN):
            request = target_pb2.ListTargetsRequest(campaign_id=campaign_id, page_size=200)
            listed = {one.chat_id: one for one in (await self.ListTargets(request, None)).targets}
            found = set()
            for chat_id in chat_ids:
                [story] = (await self.Explain(explain_pb2.ExplainRequest(id=chat_id), None)).explanations
                shown = target_pb2.TargetStatus.Name(listed[chat_id].status).removeprefix("TARGET_STATUS_")
                assert story.verdict == shown.lower()
                found.add((story.verdict, [one.code for one in story.steps][-1]))
            return found


@pytest.fixture
async def room(database: Any, world: Sandbox) -> AsyncIterator[Room]:  # pytest's way
    """Both rooms beside a sandbox."""
    clock = ManualClock(NOON)
    made = Room(
        Site(database, clock, world.url, KnownGroups(), remind_every=timedelta(hours=6)), world, clock
    )
    yield made
    await made.close()


async def test_owners_who_never_confirm_are_reported_and_the_top_up_holds_exactly_their_groups(
    room: Room,
) -> None:
    told = Told(room)
    never: list[str] = []
    for owner, manner in (("li", "at_once"), ("wu", "never"), ("xu", "at_once"), ("zhao", "never")):
        groups = await room.owns(owner, 3)
        never += groups if manner == "never" else []
        await room.behave(owner, manner)
    campaign_id = await room.asked()
    moving = await told.report(campaign_id)
    assert (moving.final, counts(moving)) == (False, {"awaiting_owner": 12})
    ends = moving.planned_end_time.ToDatetime(tzinfo=NOON.tzinfo)
    await room.pass_time(timedelta(hours=80))
    assert await room.status() == ("finished", "")
    done = await told.report(campaign_id)
    assert done.final
    [run] = await room.rows(campaign_run)
    assert run.finished_at <= ends + timedelta(minutes=30)
    assert funnel(done) == (12, 12, 12, 6, 6)
    truth = Counter(row["outcome"] for one in await room.made() for row in one["outcomes"])
    assert done.funnel.sent == truth["sent"] == 6
    assert counts(done) == {"sent": 6, "owner_never_confirmed": 6}
    given = {owner: len(times) for owner, times in (await room.reminded()).items() if times}
    assert {one.owner: one.reminder_count for one in done.owners if one.reminder_count} == given
    assert set(given) == {"wu", "zhao"}
    assert [one.owner for one in done.owners][:2] == ["wu", "zhao"]
    assert done.time_to_confirm.tasks == 2
    assert await told.verdicts(campaign_id, never) == {("owner_never_confirmed", "owner_never_confirmed")}
    top_up = await told.top_up(campaign_id)
    assert list(top_up.campaign.spec.audience.chat_ids) == sorted(never)
    assert top_up.campaign.top_up_of == campaign_id


async def test_a_cancel_is_told_apart_by_whether_the_owner_had_been_asked(room: Room) -> None:
    told = Told(room)
    for owner in ("li", "wu", "xu"):
        await room.owns(owner, 2)
    campaign_id = await room.start()
    await room.replica.turn(1)
    await room.cancel(campaign_id)
    await room.look()
    found = await told.report(campaign_id)
    assert found.final
    assert {one.reason: one.count for one in found.outcomes} == {
        "campaign_cancelled": 4,
        "cancelled_at_platform": 2,
    }
    assert funnel(found) == (6, 6, 2, 0, 0)


async def test_a_dry_run_asks_nobody_and_is_reported_like_a_real_one(room: Room) -> None:
    told = Told(room)
    for owner in ("li", "wu"):
        await room.owns(owner, 2)
    dry_id = await room.start(dry=True)
    await room.until_idle()
    assert await room.world.requests(ADD) == []
    dry = await told.report(dry_id)
    assert (dry.final, dry.run.dry, counts(dry), funnel(dry)) == (
        True,
        True,
        {"simulated": 4},
        (4, 4, 4, 0, 0),
    )
    real_id = await room.asked()
    real = await told.report(real_id)
    moving = {"planned_end_time", "final", "time_to_confirm"}
    shapes = [{field.name for field, _ in one.ListFields()} - moving for one in (dry, real)]
    assert shapes[0] == shapes[1]
    assert funnel(real)[:3] == funnel(dry)[:3]
