"""The whole service beside a sandbox: what was approved reaches the platform, and nothing else ever does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    campaign_pb2,
    group_pb2,
    running_pb2,
    target_pb2,
    writing_pb2,
)
from reach.events.v1 import event_service_pb2

from shared.errors import ReachError
from tests.campaign.office import APPROVER, NOON, TEXT, WRITER, Office, opened, run
from tests.e2e.harness import STORE, eventually, refused, struct

ADD = "/cgi-bin/externalcontact/add_msg_template"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path / "home") as made:
        await made.have_groups()
        yield made


async def reason(call: Any) -> str:
    """Why a call was refused."""
    found: ReachError = (await refused(call))[1]
    return found.reason


async def approve(office: Office, person: str, campaign_id: str, seen: str) -> Any:
    request = approval_pb2.ApproveCampaignRequest(campaign_id=campaign_id, content_hash=seen)
    return await office[person].ApproveCampaign(request)


async def update(office: Office, campaign_id: str, path: str, **values: Any) -> campaign_pb2.Campaign:
    request = writing_pb2.UpdateCampaignRequest(
        campaign_id=campaign_id,
        spec=campaign_pb2.CampaignSpec(**values),
        update_mask=FieldMask(paths=[path]),
    )
    found: campaign_pb2.Campaign = (await office[WRITER].UpdateCampaign(request)).campaign
    return found


def at(hours: float) -> Timestamp:
    """An instant so long behind noon."""
    made = Timestamp()
    made.FromDatetime(NOON + timedelta(hours=hours))
    return made


async def test_before_another_person_has_approved_no_door_leads_to_the_platform(office: Office) -> None:
    campaign = await office.drafted()
    assert await reason(run(office[WRITER], campaign.id, live=True)) == "STATE_INVALID"
    submitted = await office[WRITER].SubmitCampaign(
        approval_pb2.SubmitCampaignRequest(campaign_id=campaign.id)
    )
    seen = submitted.campaign.content_hash
    assert await reason(approve(office, WRITER, campaign.id, seen)) == "FOUR_EYES"
    writer = office.reach.bearing(office._tokens[WRITER])
    for word in ("approved", "scheduled", "started", "resumed"):
        said = struct({"campaign_id": campaign.id, "version": 1, "status": word})
        await writer.events.PublishEvent(
            event_service_pb2.PublishEventRequest(
                type=f"campaign.{word}", store_id=STORE, id=f"e-{word}", json=said
            )
        )
    assert await reason(run(office[WRITER], campaign.id, live=True)) == "STATE_INVALID"
    resume = running_pb2.ResumeCampaignRequest(campaign_id=campaign.id)
    assert await reason(office[WRITER].ResumeCampaign(resume)) == "STATE_INVALID"
    await run(office[WRITER], campaign.id, live=False)
    await office.world.advance(60)
    assert await office.world.requests(ADD) == []
    assert (await office.stands(campaign.id, campaign_pb2.CAMPAIGN_STATUS_PENDING_APPROVAL)).version == 1


async def test_whatever_is_changed_of_what_was_approved_makes_it_a_draft_that_nobody_can_run(
    office: Office,
) -> None:
    everything = [f"wr-{owner}-{n:06d}" for owner in ("lisi", "wangwu", "zhaoliu") for n in (1, 2)]
    hours = [campaign_pb2.SendHours(start="10:00", end="17:59")]
    window = campaign_pb2.SendWindow(
        weekdays=[campaign_pb2.WeekdayHours(weekday=day, hours=hours) for day in range(1, 8)]
    )
    changes: dict[str, dict[str, Any]] = {
        "content.text": {"content": campaign_pb2.Content(text=TEXT + "。")},
        "audience": {"audience": audience_pb2.Audience(chat_ids=everything[1:])},
        "window": {"window": window},
        "schedule_time": {"schedule_time": at(1)},
        "banned_words": {"banned_words": ["最低价"]},
    }
    for path, values in changes.items():
        campaign = await office.approved()
        changed = await update(office, campaign.id, path, **values)
        assert (changed.status, changed.version) == (campaign_pb2.CAMPAIGN_STATUS_DRAFT, 2), path
        assert await reason(run(office[WRITER], campaign.id, live=True)) == "STATE_INVALID", path
        seen = campaign.content_hash
        assert await reason(approve(office, APPROVER, campaign.id, seen)) == "STATE_INVALID", path
        await office[WRITER].SubmitCampaign(approval_pb2.SubmitCampaignRequest(campaign_id=campaign.id))
        assert await reason(approve(office, APPROVER, campaign.id, seen)) == "APPROVAL_STALE", path
    await office.world.advance(7200)
    assert await office.world.requests(ADD) == []


async def test_a_sender_who_changed_since_the_approval_is_not_asked_in_the_stead_of_the_other(
    office: Office,
) -> None:
    campaign = await office.approved()
    await office.world.post("/sandbox/groups/wr-lisi-000001", owner="wangwu")

    async def known() -> bool:
        await office[WRITER].SyncGroups(group_pb2.SyncGroupsRequest(whole=True))
        found = await office[WRITER].GetGroup(group_pb2.GetGroupRequest(chat_id="wr-lisi-000001"))
        return bool(found.group.owner == "wangwu")

    await eventually(known, every=0.2)
    await run(office[WRITER], campaign.id, live=True)

    async def asked() -> bool:
        await office.world.advance(1)
        return len(await office.world.requests(ADD)) == 3

    await eventually(asked)
    chats = {one["body"]["sender"]: one["body"]["chat_id_list"] for one in await office.world.requests(ADD)}
    assert chats == {
        "lisi": ["wr-lisi-000002"],
        "wangwu": ["wr-wangwu-000001", "wr-wangwu-000002"],
        "zhaoliu": ["wr-zhaoliu-000001", "wr-zhaoliu-000002"],
    }

    async def told() -> Any:
        request = target_pb2.ListTargetsRequest(campaign_id=campaign.id)
        found = (await office[WRITER].ListTargets(request)).targets
        return next((one for one in found if one.chat_id == "wr-lisi-000001" and one.reason), None)

    assert (await eventually(told)).reason == "owner_changed"
