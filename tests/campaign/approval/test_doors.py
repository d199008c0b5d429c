"""Every door that leads to sending, tried by those who must not open it; over gRPC, with real tokens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import (
    approval_pb2,
    audit_pb2,
    campaign_pb2,
    campaign_service_pb2,
    preview_pb2,
    running_pb2,
)
from reach.events.v1 import event_service_pb2

from services.campaign import approval_service, audit_service
from services.campaign.approval_service import ApprovalMethods
from services.campaign.audit_service import AuditMethods
from services.campaign.contract import SERVICE
from services.campaign.domain.campaign import Content
from services.campaign.domain.lifecycle import Status
from services.campaign.pipeline.ports import LeftOut, Selection
from shared.environment import ConfigurationError
from shared.settings import Customer, load
from tests.campaign.approval.doors import NOWHERE, Doors, employ, refused, served
from tests.campaign.approval.house import STORE, TOWN
from tests.e2e.harness import environment, eventually, struct
from tests.support.process import Program


async def test_a_campaign_goes_from_draft_to_running_by_two_people(doors: Doors) -> None:
    campaign_id, seen = await doors.submitted()
    answer = await doors.approve("ben", campaign_id, seen)
    assert (answer.approval.approver, answer.campaign.status) == (
        "ben",
        campaign_pb2.CAMPAIGN_STATUS_APPROVED,
    )
    dry = await doors.of("ann").RunCampaign(running_pb2.RunCampaignRequest(campaign_id=campaign_id))
    assert dry.dry
    answer = await doors.run("ann", campaign_id, idempotency_key="k")
    assert (answer.dry, answer.campaign.status) == (False, campaign_pb2.CAMPAIGN_STATUS_RUNNING)
    assert await doors.run("ann", campaign_id, idempotency_key="k") == answer
    assert await doors.house.claim(campaign_id) == ""
    for verb, status in (("Pause", "PAUSED"), ("Resume", "RUNNING"), ("Cancel", "CANCELLED")):
        request = getattr(running_pb2, f"{verb}CampaignRequest")(campaign_id=campaign_id, comment="c")
        found = await getattr(doors.of("ann"), f"{verb}Campaign")(request)
        assert found.campaign.status == campaign_pb2.CampaignStatus.Value(f"CAMPAIGN_STATUS_{status}")
    asked = approval_pb2.ListCampaignHistoryRequest(campaign_id=campaign_id, page_size=4)
    first = await doors.of("ben").ListCampaignHistory(asked)
    asked.page_token = first.next_page_token
    rest = await doors.of("ben").ListCampaignHistory(asked)
    entries = [*first.entries, *rest.entries]
    assert (len(first.entries), rest.next_page_token) == (4, "")
    assert [one.WhichOneof("what") for one in entries][:4] == ["written", "move", "approval", "move"]
    assert [one.move.after for one in entries if one.HasField("move")][-1] == (
        campaign_pb2.CAMPAIGN_STATUS_CANCELLED
    )


async def test_no_door_but_a_persons_fresh_login_leads_to_an_approval(doors: Doors) -> None:
    campaign_id, seen = await doors.submitted()
    await refused(doors.approve("robot", campaign_id, seen), "LOGIN_STALE")
    await refused(doors.approve("old", campaign_id, seen), "LOGIN_STALE")
    await refused(doors.approve("ann", campaign_id, seen), "FOUR_EYES")
    await refused(doors.approve("clerk", campaign_id, seen), "SCOPE_MISSING")
    await refused(doors.approve("far", campaign_id, seen), "NOT_FOUND")
    await refused(doors.approve("", campaign_id, seen), "TOKEN_MISSING")
    for person in ("ann", "robot"):
        await refused(doors.run(person, campaign_id), "STATE_INVALID")
    await refused(doors.run("ben", campaign_id), "SCOPE_MISSING")
    assert (await doors.house.now(campaign_id)).status is Status.PENDING_APPROVAL
    assert doors.house.start.planned == []


async def test_an_event_that_says_approved_approves_nothing(doors: Doors) -> None:
    campaign_id, _ = await doors.submitted()
    ann = doors.reach.bearing(doors.tokens["ann"])
    for word in ("approved", "scheduled", "started", "resumed"):
        said = {"campaign_id": campaign_id, "version": 1, "status": word}
        request = event_service_pb2.PublishEventRequest(
            type=f"campaign.{word}", store_id=STORE, id=f"e-{word}", json=struct(said)
        )
        answer = await ann.events.PublishEvent(request)
        assert answer.event_id == f"e-{word}"
    assert (await doors.house.now(campaign_id)).status is Status.PENDING_APPROVAL
    await refused(doors.run("ann", campaign_id), "STATE_INVALID")
    assert doors.house.start.planned == []


async def test_without_tokens_the_operator_of_the_machine_writes_and_runs_but_never_approves(
    tmp_path: Path,
) -> None:
    async with served(tmp_path / "home", {}) as doors:
        campaign_id = await doors.house.write()
        mine = doors.of("")
        answer = await mine.SubmitCampaign(approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id))
        found = await refused(doors.approve("", campaign_id, answer.campaign.content_hash), "LOGIN_STALE")
        assert found.facts["kind"] == "local"
        await refused(doors.run("", campaign_id), "STATE_INVALID")


async def test_by_default_nothing_is_sent_whoever_confirms_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with served(home, await employ(home), WECOM_CUSTOMER_DRY_RUN="true") as doors:
        campaign_id, seen = await doors.submitted()
        await doors.approve("ben", campaign_id, seen)
        await refused(doors.run("ann", campaign_id), "LIVE_NOT_CONFIRMED")
        ran = await doors.of("ann").RunCampaign(running_pb2.RunCampaignRequest(campaign_id=campaign_id))
        assert (ran.dry, ran.campaign.status) == (True, campaign_pb2.CAMPAIGN_STATUS_APPROVED)
        assert [one[1] for one in doors.house.start.planned] == [True]


async def test_within_five_seconds_of_the_approvers_token_being_revoked_nothing_leaves(doors: Doors) -> None:
    campaign_id, seen = await doors.submitted()
    await doors.approve("ben", campaign_id, seen)
    await doors.run("ann", campaign_id)
    assert await doors.house.claim(campaign_id) == ""
    await doors.revoke("ben")
    began = asyncio.get_running_loop().time()

    async def look() -> bool:
        return await doors.house.claim(campaign_id) == "approver_gone"

    assert await eventually(look)
    assert asyncio.get_running_loop().time() - began < 5


def test_every_method_of_these_rooms_has_a_scope_and_none_but_run_and_resume_begins_anything() -> None:
    methods = {
        one.name for one in campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"].methods
    }
    scoped = {name.rpartition("/")[2] for name in (*approval_service.SCOPES, *audit_service.SCOPES)}
    assert scoped <= methods
    assert {one for one in scoped if hasattr(ApprovalMethods, one) or hasattr(AuditMethods, one)} == scoped
    approving = {name for name, scope in approval_service.SCOPES.items() if scope == "campaign.approve"}
    assert approving == {f"{SERVICE}/ApproveCampaign", f"{SERVICE}/RejectCampaign"}


async def test_a_preview_says_what_would_happen_and_what_is_missing(doors: Doors) -> None:
    house = doors.house
    house.groups.chosen = Selection(TOWN[:3], (LeftOut(TOWN[3], "owner_left", "since Friday"),))
    house.caps.known = {"wr1": "1 a day"}
    campaign_id = await house.write("春日返现", by="ann")
    asked = preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id, page_size=3)
    found = await doors.of("clerk").PreviewCampaign(asked)
    assert (found.frozen, found.content_hash) == (False, "")
    assert (found.group_count, found.excluded_count, found.no_slot_count) == (3, 1, 1)
    assert (found.owner_count, found.task_count) == (2, 2)
    assert [(one.owner, one.group_count) for one in found.owners] == [("owner0", 2), ("owner1", 1)]
    assert [(one.reason, one.count) for one in found.excluded_reasons] == [("owner_left", 1)]
    assert [(one.word, one.start, one.end) for one in found.hits] == [("返现", 2, 4)]
    assert list(found.missing) == ["block_word", "not_submitted"]
    assert [(one.chat_id, one.no_slot) for one in found.groups] == [
        ("wr0", ""),
        ("wr1", "1 a day"),
        ("wr2", ""),
    ]
    asked.page_token = found.next_page_token
    found = await doors.of("clerk").PreviewCampaign(asked)
    assert [(one.chat_id, one.excluded_reason, one.detail) for one in found.groups] == [
        ("wr3", "owner_left", "since Friday")
    ]
    (opening,) = found.openings
    assert opening.task_count == 2
    await house.edit(campaign_id, content=Content("春日"))
    submitted = await doors.of("ann").SubmitCampaign(
        approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id)
    )
    assert submitted.excluded_count == 1
    asked.ClearField("page_token")
    found = await doors.of("clerk").PreviewCampaign(asked)
    assert (found.frozen, found.content_hash) == (True, submitted.campaign.content_hash)
    assert list(found.missing) == ["not_approved"]
    await doors.approve("ben", campaign_id, found.content_hash)
    found = await doors.of("clerk").PreviewCampaign(asked)
    assert (found.approval.approver, list(found.missing)) == ("ben", ["not_run"])
    await doors.run("ann", campaign_id)
    assert list((await doors.of("clerk").PreviewCampaign(asked)).missing) == []
    await refused(doors.of("far").PreviewCampaign(asked), "NOT_FOUND")


async def test_what_was_done_by_hand_is_in_a_log_whose_alteration_is_found(doors: Doors) -> None:
    campaign_id, seen = await doors.submitted()
    await doors.approve("ben", campaign_id, seen)
    await doors.run("ann", campaign_id)
    listed = await doors.of("ann").ListAuditLog(audit_pb2.ListAuditLogRequest(object_id=campaign_id))
    assert [(one.method, one.subject) for one in listed.entries] == [
        ("RunCampaign", "ann"),
        ("ApproveCampaign", "ben"),
        ("SubmitCampaign", "ann"),
    ]
    assert all(one.store_id == STORE for one in listed.entries)
    only = await doors.of("ann").ListAuditLog(audit_pb2.ListAuditLogRequest(subject="ben", page_size=1))
    assert [one.method for one in only.entries] == ["ApproveCampaign"]
    await refused(doors.of("ann").VerifyAudit(audit_pb2.VerifyAuditRequest()), "STORE_FORBIDDEN")
    whole = await doors.of("chief").VerifyAudit(audit_pb2.VerifyAuditRequest())
    assert (whole.ok, whole.checked_count, whole.head_sequence) == (True, 3, 3)
    noted = {"known_sequence": whole.head_sequence, "known_hash": whole.head_hash}

    async def verified(*statements: str) -> tuple[bool, int, str]:
        # Whoever alters rows has taken the database's own guard away first.
        async with doors.house.database.write() as conn:
            for trigger in ("audit_entry_no_update", "audit_entry_no_delete"):
                await conn.execute(sa.text(f"DROP TRIGGER IF EXISTS {trigger}"))
            for statement in statements:
                await conn.execute(sa.text(statement))
        found = await doors.of("chief").VerifyAudit(audit_pb2.VerifyAuditRequest(**noted))
        return found.ok, found.first_broken_sequence, found.problem

    assert await verified() == (True, 0, "")
    assert await verified("UPDATE audit_entry SET subject = 'eve' WHERE seq = 2") == (False, 2, "altered")
    assert await verified("UPDATE audit_entry SET subject = 'ben' WHERE seq = 2") == (True, 0, "")
    assert await verified("DELETE FROM audit_entry WHERE seq = 3") == (False, 3, "head_differs")
    assert await verified("DELETE FROM audit_entry WHERE seq = 1") == (False, 1, "missing")


async def test_no_setting_lets_a_login_of_yesterday_approve(tmp_path: Path) -> None:
    home = tmp_path / "home"
    tokens = await employ(home)
    async with served(home, tokens, WECOM_CUSTOMER_LOGIN_MAX_AGE="24h") as doors:
        campaign_id, seen = await doors.submitted()
        await refused(doors.approve("old", campaign_id, seen), "LOGIN_STALE")
    with pytest.raises(ConfigurationError, match="WECOM_CUSTOMER_LOGIN_MAX_AGE"):
        load({"WECOM_CUSTOMER_LOGIN_MAX_AGE": "25h"})


@pytest.mark.parametrize("value", ["false", "0", "no", "off"])
async def test_an_environment_that_switches_approval_off_starts_no_campaign_service(
    tmp_path: Path, value: str
) -> None:
    environ = environment(NOWHERE, tmp_path / "home", WECOM_CUSTOMER_MANUAL_APPROVAL=value)
    with Program("serve campaign", ["-m", "cli.main", "serve", "campaign"], environ) as program:
        assert await asyncio.to_thread(program.wait, 90) == 2
        told = [line for line in program.lines if line.startswith("reach: ")]
    assert any(
        "WECOM_CUSTOMER_MANUAL_APPROVAL" in line and "always approved by a person" in line for line in told
    )


def test_approving_is_in_no_setting() -> None:
    """What a deployment may say of approvals makes them stricter, or is refused."""
    for name in Customer.model_fields:
        if "approv" in name or "login" in name:
            assert name in {"manual_approval", "approval_valid", "login_max_age"}
    for wrong in ("WECOM_CUSTOMER_APPROVAL_VALID=31d", "WECOM_CUSTOMER_LOGIN_MAX_AGE=25h"):
        with pytest.raises(ConfigurationError):
            load(dict([wrong.split("=")]))
