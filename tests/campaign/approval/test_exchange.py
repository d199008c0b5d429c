"""A campaign service of its own on a real broker: what anybody publishes there approves and begins nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from reach.campaign.v1 import approval_pb2, campaign_pb2, campaign_service_pb2_grpc, group_pb2, writing_pb2
from reach.events.v1 import campaign_events_pb2

from shared.secrets import SecretKey
from tests.campaign.office import LIVE, OWNERS, declare_groups, drafted, run
from tests.e2e.harness import (
    STORE,
    Sandbox,
    environment,
    eventually,
    names_on,
    publisher,
    reach_at,
    refused,
    sandbox,
)
from tests.support.process import Program

ADD = "/cgi-bin/externalcontact/add_msg_template"
WORDS = ("approved", "scheduled", "started", "resumed", "run", "approve")


async def submitted(stub: Any, world: Sandbox) -> campaign_pb2.Campaign:
    """A campaign that waits for an approval."""
    await declare_groups(world, 1, OWNERS)

    async def known() -> bool:
        # Asked for again: one that was under way may have listed the groups before.
        await stub.SyncGroups(group_pb2.SyncGroupsRequest(whole=True))
        found = (await stub.ListGroups(group_pb2.ListGroupsRequest())).groups
        return len(found) == 3 and all(one.eligible for one in found)

    await eventually(known, timeout=30, every=0.2)
    campaign = await drafted(stub)
    request = approval_pb2.SubmitCampaignRequest(campaign_id=campaign.id)
    found: campaign_pb2.Campaign = (await stub.SubmitCampaign(request)).campaign
    return found


async def test_nothing_on_the_exchange_approves_or_begins_a_campaign(
    amqp_url: str, postgres_database: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(SecretKey.create, tmp_path / "secret.key")
    async with sandbox() as world, names_on(amqp_url) as names:
        environ = environment(
            world.url,
            tmp_path,
            amqp_url=amqp_url,
            database_url=postgres_database,
            secret_key_file=str(tmp_path / "secret.key"),
            default_store=STORE,
            **names.settings,
            **LIVE,
        )
        del environ["WECOM_SECRET"]  # an alias of the customer's, to a service of its own
        with Program("campaign", ["-m", "cli.main", "serve", "campaign"], environ) as program:
            await asyncio.to_thread(program.ready, 90)
            async with reach_at(program.facts, tmp_path, program) as reach:
                stub: Any = campaign_service_pb2_grpc.CampaignServiceStub(reach.channel)  # type: ignore[no-untyped-call]
                campaign = await submitted(stub, world)
                told = campaign_events_pb2.CampaignMoved(
                    campaign_id=campaign.id, version=1, status="approved"
                )
                async with publisher(amqp_url, names.exchange) as bus:
                    for word in WORDS:
                        name, said = f"campaign.{word}", {"campaign_id": campaign.id, "status": "approved"}
                        await bus.event(name, said, f"json-{word}")
                        await bus.publish(name, said, message_id=f"plain-{word}", headers={"store_id": STORE})
                        headers = {
                            "cloudEvents:specversion": "1.0",
                            "cloudEvents:id": f"binary-{word}",
                            "cloudEvents:type": name,
                            "cloudEvents:source": "reach/campaign",
                            "cloudEvents:storeid": STORE,
                        }
                        content = "application/protobuf"
                        body = told.SerializeToString()
                        await bus.publish(name, body, headers=headers, content_type=content)
                await asyncio.sleep(3)  # longer than any loop of it takes to go round
                asked = writing_pb2.GetCampaignRequest(campaign_id=campaign.id)
                found = (await stub.GetCampaign(asked)).campaign
                assert found == campaign
                assert found.status == campaign_pb2.CAMPAIGN_STATUS_PENDING_APPROVAL
                assert (await refused(run(stub, campaign.id, live=True)))[1].reason == "STATE_INVALID"
                request = approval_pb2.ApproveCampaignRequest(
                    campaign_id=campaign.id, content_hash=found.content_hash
                )
                assert (await refused(stub.ApproveCampaign(request)))[1].reason == "LOGIN_STALE"
                assert await world.requests(ADD) == []
