"""The service as its callers meet it, beside a sandbox: written, approved, sent, confirmed, reconciled; and what it says
of groups that are full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    campaign_pb2,
    group_pb2,
    preview_pb2,
    reminder_pb2,
    running_pb2,
    writing_pb2,
)
from reach.campaign.v1.campaign_service_pb2_grpc import CampaignServiceStub
from reach.ops.v1 import ops_service_pb2
from sqlalchemy import Connection

from services.campaign.assembly import LOCATIONS, build
from services.campaign.store.tables import metadata
from shared import identity
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from tests.campaign.reconciling.room import CANCEL, REMIND
from tests.campaign.sending.sending_support import ADD, NOON
from tests.e2e.harness import CORP, STORE, Reach, Sandbox, embedded, eventually, refused, sandbox

CUSTOMER = "customer-secret-0123456789"
SCOPES = ("campaign.read", "campaign.write", "campaign.operate", "campaign.approve", "ops.read")
SETTINGS = {
    "default_store": STORE,
    "clock": "sandbox",
    "WECOM_CUSTOMER_SECRET": CUSTOMER,
    "WECOM_CUSTOMER_DRY_RUN": "false",
    "WECOM_CUSTOMER_RECEIVE_LIMITS": "1/day",
    "WECOM_CUSTOMER_SEND_QPS": "40",
    "WECOM_CUSTOMER_READ_QPS": "100",
}


class Service:
    """A campaign service and its sandbox."""

    def __init__(self, reach: Reach, world: Sandbox, tokens: dict[str, str]) -> None:
        self.reach, self.world = reach, world
        self.ops = reach.bearing(tokens["ann"]).ops
        self.by = {
            name: CampaignServiceStub(reach.bearing(token).channel)  # type: ignore[no-untyped-call]
            for name, token in tokens.items()
        }

    async def groups(self, owner: str, *chat_ids: str) -> None:
        """Groups of an owner, which the service has come to know."""
        for chat_id in chat_ids:
            await self.world.post("/sandbox/groups", chat_id=chat_id, owner=owner, name=chat_id)

    async def sync(self, count: int) -> None:
        """Bring the groups up to date."""

        async def look() -> bool:
            # Asked for again: one that was under way may have listed the groups before.
            await self.by["ann"].SyncGroups(group_pb2.SyncGroupsRequest())
            found = await self.by["ann"].ListGroups(group_pb2.ListGroupsRequest(page_size=200))
            return sum(not one.reason for one in found.groups) == count

        await eventually(look, 30, every=0.2)

    async def written(self, text: str) -> str:
        """A draft to every group."""
        spec = campaign_pb2.CampaignSpec(
            name=text,
            content=campaign_pb2.Content(text=text),
            audience=audience_pb2.Audience(every_group=True),
        )
        request = writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec)
        made: str = (await self.by["ann"].CreateCampaign(request)).campaign.id
        return made

    async def run(self, campaign_id: str) -> None:
        """Submit, approve as somebody else, and run for good."""
        submit = approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id)
        seen = (await self.by["ann"].SubmitCampaign(submit)).campaign.content_hash
        approve = approval_pb2.ApproveCampaignRequest(campaign_id=campaign_id, content_hash=seen)
        await self.by["ben"].ApproveCampaign(approve)
        run = running_pb2.RunCampaignRequest(campaign_id=campaign_id, confirm_live=True)
        await self.by["ann"].RunCampaign(run)

    async def until(self, campaign_id: str, status: str) -> None:
        """Wait until it stands so; time passes meanwhile."""
        wanted = campaign_pb2.CampaignStatus.Value(f"CAMPAIGN_STATUS_{status}")

        async def look() -> bool:
            request = writing_pb2.GetCampaignRequest(campaign_id=campaign_id)
            found = (await self.by["ann"].GetCampaign(request)).campaign.status
            if found != wanted:
                await self.world.advance(15)
            return bool(found == wanted)

        await eventually(look, 60, 0.3)

    async def preview(self, campaign_id: str) -> preview_pb2.PreviewCampaignResponse:
        """What it would do."""
        return await self.by["ann"].PreviewCampaign(  # type: ignore[no-any-return]
            preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id)
        )


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    url = f"sqlite:///{home}/{identity.SCHEMA}.db"
    await asyncio.to_thread(migrate, url, identity.SCHEMA, [identity.LOCATION])
    known = Database.open(url, schema=identity.SCHEMA)
    registry = identity.TokenRegistry(known, ManualClock(NOON - timedelta(minutes=1)))
    tokens = {name: await registry.create(name, "human", SCOPES, ["*"]) for name in ("ann", "ben")}
    await known.close()
    async with sandbox(group_sends_per_day=1) as world:
        await world.post("/sandbox/clock", set=NOON.isoformat())
        app = {"agentid": 0, "name": "c", "secret": CUSTOMER, "kind": "customer"}
        users = [{"userid": one, "name": one} for one in ("li", "wu")]
        await world.declare(corp_id=CORP, apps=[app], users=users)
        async with embedded(world.url, home, builds=[build], **SETTINGS) as reach:
            yield Service(reach, world, tokens)


async def test_groups_over_their_cap_are_foreseen_in_the_preview_and_reported_as_a_limit(
    service: Service,
) -> None:
    await service.groups("li", "wr1", "wr2")
    await service.groups("wu", "wr3")
    await service.world.post("/sandbox/owners/li/behaviour", behaviour="at_once")
    await service.world.post("/sandbox/owners/wu/behaviour", behaviour="at_once")
    await service.sync(3)
    first, second = await service.written("周五上新"), await service.written("周六上新")
    assert (await service.preview(second)).no_slot_count == 0
    await service.run(first)
    await service.until(first, "FINISHED")
    await service.groups("wu", "wr4")
    await service.sync(1)

    foreseen = await service.preview(second)
    assert (foreseen.group_count, foreseen.no_slot_count) == (4, 3)
    assert {one.chat_id: one.no_slot for one in foreseen.groups} == {
        "wr1": "1 a day",
        "wr2": "1 a day",
        "wr3": "1 a day",
        "wr4": "",
    }
    listed = await service.by["ann"].ListGroups(group_pb2.ListGroupsRequest())
    assert {one.chat_id: one.reason for one in listed.groups} == {
        "wr1": "no_slot_today",
        "wr2": "no_slot_today",
        "wr3": "no_slot_today",
        "wr4": "",
    }
    before = len(await service.world.requests(ADD))
    await service.run(second)
    await service.until(second, "FINISHED")
    [asked] = (await service.world.requests(ADD))[before:]
    assert asked["body"]["chat_id_list"] == ["wr4"]


async def test_owners_are_reminded_by_hand_and_a_cancel_stops_what_nobody_confirmed(service: Service) -> None:
    await service.groups("li", "wr1")
    await service.groups("wu", "wr2")
    await service.world.post("/sandbox/owners/li/behaviour", behaviour="at_once")
    await service.sync(2)
    campaign_id = await service.written("周五上新")
    asked = reminder_pb2.RemindOwnersRequest(campaign_id=campaign_id, owners=["wu"], idempotency_key="k")
    code, why = await refused(service.by["ann"].RemindOwners(asked))
    assert (code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_INVALID")
    await service.run(campaign_id)
    await service.until(campaign_id, "RECONCILING")
    found = await service.by["ann"].RemindOwners(asked)
    assert (found.asked_count, found.refused_count) == (1, 0)
    assert [(one.owner, one.asked, one.reason) for one in found.reminders] == [("wu", True, "")]
    assert await service.by["ann"].RemindOwners(asked) == found

    async def reminded() -> bool:
        await service.world.advance(2)
        return len(await service.world.requests(REMIND)) == 1

    await eventually(reminded, 20, 0.2)
    wrong = reminder_pb2.RemindOwnersRequest(campaign_id=campaign_id, owners=["nobody"])
    code, why = await refused(service.by["ann"].RemindOwners(wrong))
    assert (code, why.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    cancel = running_pb2.CancelCampaignRequest(campaign_id=campaign_id)
    await service.by["ann"].CancelCampaign(cancel)

    async def stopped() -> bool:
        return len(await service.world.requests(CANCEL)) == 1

    await eventually(stopped, 20)
    limits = await service.ops.ListLimits(ops_service_pb2.ListLimitsRequest())
    assert {one.key: one.max for one in limits.limits} == {
        "campaign:mass_send": 40,
        "campaign:mass_send:follow": 20,
        "customer/groupchat": 100,
    }
    checks = await service.ops.Doctor(ops_service_pb2.DoctorRequest())
    assert [one.name for one in checks.checks if one.name == "campaign_follow_ups"] == ["campaign_follow_ups"]


async def test_the_migrations_end_at_the_tables_of_the_code(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")

    def chosen(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return name in metadata.tables if kind == "table" else True

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": chosen}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    async with database.write() as conn:
        found = await conn.run_sync(differences)
    await database.close()
    assert found == []
