"""Campaigns are written: saved whole, looked through at every save, and any edit leads back to a draft."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from reach.campaign.v1 import audience_pb2, tone_pb2
from reach.campaign.v1 import campaign_pb2 as wire
from reach.campaign.v1 import writing_pb2 as pb

from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.moving import Moving
from services.campaign.store import campaigns
from services.campaign.store.campaign_tables import campaign, campaign_log, campaign_version
from shared.db.tables import audit_entry, outbox
from shared.rpc.fields import to_timestamp
from tests.campaign.writing.room import Room, refused, room, spec, tokens
from tests.e2e.harness import STORE, Sandbox


def link(url: str = "https://shop.example.com/new") -> wire.Attachment:
    return wire.Attachment(link=wire.LinkAttachment(title="新品", url=url, description="到店看看"))


async def moved(desk: Room, campaign_id: str, *states: Status) -> None:
    """What approving and sending do to a campaign."""
    for state in states:

        async def move(conn: Any, state: Status = state) -> None:
            held = await campaigns.hold(conn, campaign_id)
            assert held is not None
            await Moving(desk.database).move(conn, held, state, desk.resources.clock.now(), by="ben")

        await desk.database.transact(move)


async def test_what_was_written_is_read_back_whole(desk: Room) -> None:
    later = to_timestamp(desk.resources.clock.now() + timedelta(days=3))
    said = spec(
        "周五新品到店",
        content=wire.Content(text="周五新品到店", attachments=[link()]),
        window=wire.SendWindow(
            time_zone="Asia/Shanghai",
            weekdays=[
                wire.WeekdayHours(weekday=1, hours=[wire.SendHours(start="10:00", end="18:00")]),
                wire.WeekdayHours(weekday=5, hours=[wire.SendHours(start="10:00", end="24:00")]),
            ],
            dates=[wire.DateHours(date="2027-01-01")],
        ),
        schedule_time=later,
        canary=wire.Canary(owners=3, wait=Duration(seconds=3600)),
        confirm_within=Duration(seconds=7200),
        banned_words=["最低价"],
    )
    asked = pb.CreateCampaignRequest(store_id=STORE, spec=said, idempotency_key="k1")
    made = (await desk.stub.CreateCampaign(asked)).campaign
    assert (made.status, made.version) == (wire.CAMPAIGN_STATUS_DRAFT, 1)
    assert (made.spec, made.created_by, list(made.editors)) == (said, "local", ["local"])
    again = (await desk.stub.CreateCampaign(asked)).campaign
    assert again == made
    got = await desk.stub.GetCampaign(pb.GetCampaignRequest(campaign_id=made.id))
    assert got.campaign == made
    assert [(one.version, one.editor, one.kind) for one in got.edits] == [
        (1, "local", pb.CAMPAIGN_EDIT_KIND_CREATED)
    ]
    assert len(await desk.rows(campaign)) == 1
    (entry,) = await desk.rows(audit_entry)
    assert (entry.method, entry.object_id) == ("CreateCampaign", made.id)
    plain = (await desk.stub.CreateCampaign(pb.CreateCampaignRequest(store_id=STORE, spec=spec()))).campaign
    assert plain.spec.window.time_zone == "Asia/Shanghai"
    assert [day.weekday for day in plain.spec.window.weekdays] == [1, 2, 3, 4, 5, 6, 7]
    assert plain.spec.confirm_within.seconds == 72 * 3600


@pytest.mark.parametrize(
    ("text", "found"),
    [("限时返\u3000现", "返\u3000现"), ("限时返現", "返現"), ("返丶现", "返丶现"), ("ー起返️现", "返️现")],
)
async def test_a_block_word_is_refused_with_its_place_however_it_is_written(
    desk: Room, text: str, found: str
) -> None:
    failure = await refused(desk.creates(text))
    assert failure.reason == "BLOCK_WORD"
    (one,) = failure.violations
    start = text.index(found)
    assert one.field == "spec.content.text"
    assert one.description.startswith(
        f"characters {start} to {start + len(found)}: “{found}” is the word “返现”"
    )
    assert not await desk.rows(campaign)


async def test_words_of_the_campaign_and_its_tone_count_as_those_of_the_deployment(desk: Room) -> None:
    assert (await refused(desk.creates("全网最 低 价", banned_words=["最低价"]))).reason == "BLOCK_WORD"
    assert (await refused(desk.creates(tone="warm"))).violations[0].field == "spec.tone"
    tone = tone_pb2.Tone(store_id="", name="warm", description="亲切", banned_words=["亲亲"])
    await desk.stub.SetTone(tone_pb2.SetToneRequest(tone=tone))
    assert (await refused(desk.creates("親 親快来", tone="warm"))).reason == "BLOCK_WORD"
    made = await desk.creates(tone="warm", banned_words=["最低价"])
    assert list(made.spec.banned_words) == ["最低价", "亲亲"]
    assert (await refused(desk.creates(banned_words=["\u200b"]))).violations[
        0
    ].field == "spec.banned_words[0]"


async def test_links_lead_to_allowed_hosts_only(desk: Room) -> None:
    wrong = await refused(desk.creates(content=wire.Content(attachments=[link("https://evil.com/a")])))
    assert (wrong.reason, wrong.violations[0].field) == (
        "URL_NOT_ALLOWED",
        "spec.content.attachments[0].link.url",
    )
    assert (await refused(desk.creates("看 evil.com 哦"))).violations[0].field == "spec.content.text"
    await desk.creates("看 https://shop.example.com/a 哦")


async def test_what_is_wrong_is_named_by_its_field(desk: Room) -> None:
    past = to_timestamp(desk.resources.clock.now() - timedelta(seconds=1))
    image = wire.Attachment(image=wire.ImageAttachment(material="pic"))
    hours = [wire.SendHours(start="18:00", end="10:00")]
    for said, field in [
        ({"schedule_time": past}, "spec.schedule_time"),
        ({"audience": audience_pb2.Audience()}, "spec.audience.every_group"),
        ({"window": wire.SendWindow(time_zone="Mars/Base")}, "spec.window.time_zone"),
        (
            {"window": wire.SendWindow(weekdays=[wire.WeekdayHours(weekday=1, hours=hours)])},
            "spec.window.weekdays[0].hours[0]",
        ),
        (
            {"content": wire.Content(attachments=[image])},
            "spec.content.attachments[0].image.material",
        ),
        ({"content": wire.Content(text="字" * 1334)}, "spec.content.text"),
    ]:
        failure = await refused(desk.creates(**said))
        assert [one.field for one in failure.violations] == [field]


async def test_an_edit_of_some_fields_leaves_the_others_and_makes_a_version(desk: Room) -> None:
    made = await desk.creates(content=wire.Content(text="一", attachments=[link()]), banned_words=["最低价"])
    text = await desk.updates(made.id, "content.text", content=wire.Content(text="二"), expected=1, key="k")
    assert (text.version, text.spec.content.text, len(text.spec.content.attachments)) == (2, "二", 1)
    again = await desk.updates(made.id, "content.text", content=wire.Content(text="二"), expected=1, key="k")
    assert again == text
    same = await desk.updates(made.id, "content.text", content=wire.Content(text="二"))
    assert same.version == 2
    cleared = await desk.updates(made.id, "banned_words", "theme")
    assert (list(cleared.spec.banned_words), cleared.spec.theme) == ([], "")
    assert cleared.spec.content == text.spec.content
    whole = await desk.stub.UpdateCampaign(pb.UpdateCampaignRequest(campaign_id=made.id, spec=spec("三")))
    assert (whole.campaign.version, whole.campaign.spec.content.attachments) == (4, [])
    for paths, failing in [(["nothing"], "update_mask"), (["name"], "spec.name")]:
        asked = pb.UpdateCampaignRequest(campaign_id=made.id, update_mask=FieldMask(paths=paths))
        assert (await refused(desk.stub.UpdateCampaign(asked))).violations[0].field == failing
    late = await refused(desk.updates(made.id, "name", name="新", expected=1))
    assert (late.reason, late.facts["version"]) == ("VERSION_CONFLICT", "4")
    wrong = await refused(desk.updates(made.id, "content.text", content=wire.Content(text="返 现")))
    assert wrong.reason == "BLOCK_WORD"
    assert [row.version for row in await desk.rows(campaign_version)] == [1, 2, 3, 4]
    missing = await refused(desk.updates("nowhere", "name", name="新"))
    assert missing.reason == "NOT_FOUND"


async def test_an_edit_of_what_was_approved_leads_back_to_a_draft_and_is_announced(desk: Room) -> None:
    later = to_timestamp(desk.resources.clock.now() + timedelta(days=1))
    made = await desk.creates(schedule_time=later)
    await moved(desk, made.id, Status.PENDING_APPROVAL, Status.APPROVED, Status.SCHEDULED)
    edited = await desk.updates(made.id, "name", name="新名")
    assert (edited.status, edited.version) == (wire.CAMPAIGN_STATUS_DRAFT, 2)
    assert [row.after for row in await desk.rows(campaign_log)].count("draft") == 1
    assert "campaign.reopened" in [row.type for row in await desk.rows(outbox)]


@pytest.mark.parametrize("state", [Status.RUNNING, Status.CANCELLED])
async def test_once_it_has_begun_nothing_can_be_edited(desk: Room, state: Status) -> None:
    made = await desk.creates()
    before = [] if state is Status.CANCELLED else [Status.PENDING_APPROVAL, Status.APPROVED]
    await moved(desk, made.id, *before, state)
    failure = await refused(desk.updates(made.id, "name", name="新"))
    assert (failure.reason, failure.facts["state"]) == ("STATE_INVALID", state.value)
    got = await desk.stub.GetCampaign(pb.GetCampaignRequest(campaign_id=made.id))
    assert (got.campaign.version, got.campaign.spec.name) == (1, "新品")


async def test_of_two_edits_of_one_version_one_is_first(desk: Room) -> None:
    made = await desk.creates()
    edits = [desk.updates(made.id, "name", name=f"名{number}", expected=1) for number in range(6)]
    found = await asyncio.gather(*edits, return_exceptions=True)
    assert len([one for one in found if not isinstance(one, grpc.aio.AioRpcError)]) == 1
    async with desk.database.read() as conn:
        count = await conn.scalar(sa.select(sa.func.count()).select_from(campaign_version))
    assert count == 2


async def test_campaigns_are_listed_page_by_page_and_by_state(desk: Room) -> None:
    made = [await desk.creates(f"文案{number}") for number in range(5)]
    await moved(desk, made[0].id, Status.CANCELLED)
    seen: list[str] = []
    token = ""
    while True:
        asked = pb.ListCampaignsRequest(store_id=STORE, page_size=2, page_token=token)
        page = await desk.stub.ListCampaigns(asked)
        seen += [one.id for one in page.campaigns]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(one.id for one in made)
    drafts = pb.ListCampaignsRequest(statuses=[wire.CAMPAIGN_STATUS_CANCELLED])
    assert [one.id for one in (await desk.stub.ListCampaigns(drafts)).campaigns] == [made[0].id]


async def test_what_is_another_stores_is_not_there(
    world: Sandbox, tmp_path: Path, postgres: str | None, script: Any
) -> None:
    bearers = await tokens(tmp_path / "home", postgres)
    async with room(world, tmp_path / "home", postgres, script) as desk:
        ann, cat, reader = (desk.bearing(bearers[name]) for name in ("ann", "cat", "reader"))
        made = (await ann.CreateCampaign(pb.CreateCampaignRequest(store_id=STORE, spec=spec()))).campaign
        assert made.created_by == "ann"
        foreign = pb.CreateCampaignRequest(store_id=STORE, spec=spec())
        assert (await refused(cat.CreateCampaign(foreign))).reason == "STORE_FORBIDDEN"
        one = pb.GetCampaignRequest(campaign_id=made.id)
        assert (await refused(cat.GetCampaign(one))).reason == "NOT_FOUND"
        change = pb.UpdateCampaignRequest(campaign_id=made.id, spec=spec("二"))
        assert (await refused(cat.UpdateCampaign(change))).reason == "NOT_FOUND"
        assert (await refused(reader.UpdateCampaign(change))).reason == "SCOPE_MISSING"
        assert not (await cat.ListCampaigns(pb.ListCampaignsRequest())).campaigns
        ben = desk.bearing(bearers["ben"])
        edited = (await ben.UpdateCampaign(change)).campaign
        assert list(edited.editors) == ["ann", "ben"]


async def test_what_customer_groups_cannot_is_said_before_anything_is_written(desk: Room) -> None:
    told = {
        one.capability: one
        for one in (await desk.stub.ListCapabilities(pb.ListCapabilitiesRequest())).capabilities
    }
    assert len(told) == len(pb.Capability.values()) - 1
    for missing in (pb.CAPABILITY_ROBOT, pb.CAPABILITY_MENTION, pb.CAPABILITY_STREAM, pb.CAPABILITY_REPLY):
        assert not told[missing].available
        assert told[missing].text_zh
        asked = pb.CreateCampaignRequest(store_id=STORE, spec=spec(), capabilities=[missing])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.stub.CreateCampaign(asked)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert (await refused(desk.stub.CreateCampaign(asked))).reason == "CAPABILITY_MISSING"
    fine = pb.CreateCampaignRequest(store_id=STORE, spec=spec(), capabilities=[pb.CAPABILITY_IMAGE])
    assert (await desk.stub.CreateCampaign(fine)).campaign.id
