"""A keyed call repeated is the same call; the key with another request is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    audit_pb2,
    campaign_pb2,
    candidate_pb2,
    group_pb2,
    join_way_pb2,
    material_pb2,
    playbook_pb2,
    preview_pb2,
    reminder_pb2,
    report_pb2,
    running_pb2,
    target_pb2,
    tone_pb2,
    top_up_pb2,
    writing_pb2,
)
from reach.campaign.v1 import campaign_service_pb2 as service

from shared.rpc.fields import to_duration
from tests.campaign.office import APPROVER, PLAYBOOK, WRITER, Office, approve, opened, run
from tests.e2e.harness import STORE, eventually, refused

PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"

Case = tuple[str, Message, Mapping[str, Any]]
"""Who calls, a request, and what another one says instead."""


async def _submitted(office: Office) -> str:
    campaign = await office.drafted()
    await office[WRITER].SubmitCampaign(approval_pb2.SubmitCampaignRequest(campaign_id=campaign.id))
    return campaign.id


async def _running(office: Office) -> str:
    """One that is not done soon: after the first owner it waits."""
    canary = campaign_pb2.Canary(owners=1, wait=to_duration(timedelta(hours=1)))
    campaign = await office.approved(canary=canary)
    await run(office[WRITER], campaign.id, live=True)
    return campaign.id


async def _settled(office: Office, campaign_id: str) -> None:
    """Wait until every group of it has its outcome."""
    asked = report_pb2.GetReportRequest(campaign_id=campaign_id)

    async def look() -> bool:
        return bool((await office[WRITER].GetReport(asked)).report.final)

    await eventually(look, timeout=30)


async def _way(office: Office, chat_id: str, state: str) -> join_way_pb2.JoinWay:
    spec = join_way_pb2.JoinWaySpec(
        scene=join_way_pb2.JOIN_WAY_SCENE_QR_CODE, chat_ids=[chat_id], state=state
    )
    request = join_way_pb2.CreateJoinWayRequest(store_id=STORE, spec=spec)
    made: join_way_pb2.JoinWay = (await office[WRITER].CreateJoinWay(request)).join_way
    return made


async def _hash(office: Office, campaign_id: str) -> str:
    request = preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id)
    return str((await office[APPROVER].PreviewCampaign(request)).content_hash)


async def _cases(office: Office) -> dict[str, Case]:
    """Every method with a request that is new, and the part of it that another one has otherwise."""
    writer = office[WRITER]
    chat_id, *_ = await office.have_groups()
    spec = campaign_pb2.CampaignSpec(name="a", theme="上新", audience=audience_pb2.Audience(every_group=True))
    other = campaign_pb2.CampaignSpec()
    other.CopyFrom(spec)
    other.name = "b"
    draft, second = await office.drafted(theme="上新"), await office.drafted()
    submitted, to_reject, to_cancel = [await _submitted(office) for _ in range(3)]
    asked = candidate_pb2.GenerateContentRequest(campaign_id=draft.id)
    written = (await writer.GenerateContent(asked)).candidate_set

    async def look() -> bool:
        request = candidate_pb2.GetCandidatesRequest(candidate_set_id=written.id)
        found = (await writer.GetCandidates(request)).candidate_set
        return bool(found.status == candidate_pb2.CANDIDATE_SET_STATUS_READY)

    await eventually(look, timeout=30)
    for name in ("menu", "card"):
        await writer.UploadMaterial(
            material_pb2.UploadMaterialRequest(
                store_id=STORE,
                name=name,
                kind=material_pb2.MATERIAL_KIND_FILE,
                filename=f"{name}.pdf",
                size_bytes=len(PDF),
                content=PDF,
            )
        )
    ways = [await _way(office, chat_id, state) for state in ("one", "two")]
    for name in ("warm", "cool"):
        tone = tone_pb2.Tone(store_id=STORE, name=name, description="亲切")
        await writer.SetTone(tone_pb2.SetToneRequest(tone=tone))
    paused, held = await _running(office), await _running(office)
    await writer.PauseCampaign(running_pb2.PauseCampaignRequest(campaign_id=held))
    stopped, before = await _running(office), target_pb2.TARGET_STATUS_CANCELLED
    await writer.CancelCampaign(running_pb2.CancelCampaignRequest(campaign_id=stopped))
    await _settled(office, stopped)
    starting = playbook_pb2.StartPlaybookRequest(store_id=STORE, **PLAYBOOK)
    books = [(await writer.StartPlaybook(starting)).run.id for _ in range(2)]
    ready = await approve(writer, office[APPROVER], (await office.drafted()).id)
    renamed = campaign_pb2.CampaignSpec(name="b")
    update = writing_pb2.UpdateCampaignRequest(campaign_id=draft.id, spec=renamed)
    update.update_mask.paths.append("name")
    remark = join_way_pb2.JoinWaySpec()
    remark.CopyFrom(ways[0].spec)
    remark.remark = "海报"
    change = join_way_pb2.UpdateJoinWayRequest(id=ways[0].id, spec=remark)
    change.update_mask.paths.append("remark")
    by_writer: dict[str, tuple[Message, Mapping[str, Any]]] = {
        "LabelGroups": (
            group_pb2.LabelGroupsRequest(chat_ids=[chat_id], add=["老客"]),
            {"add": ["新客"]},
        ),
        "SyncGroups": (group_pb2.SyncGroupsRequest(whole=True), {"whole": False}),
        "CreateJoinWay": (
            join_way_pb2.CreateJoinWayRequest(
                store_id=STORE,
                spec=join_way_pb2.JoinWaySpec(
                    scene=join_way_pb2.JOIN_WAY_SCENE_QR_CODE, chat_ids=[chat_id], state="three"
                ),
            ),
            {"spec": ways[0].spec},
        ),
        "UpdateJoinWay": (change, {"id": ways[1].id}),
        "DeleteJoinWay": (join_way_pb2.DeleteJoinWayRequest(id=ways[1].id), {"id": ways[0].id}),
        "CreateCampaign": (writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec), {"spec": other}),
        "UpdateCampaign": (update, {"campaign_id": second.id}),
        "GenerateContent": (
            candidate_pb2.GenerateContentRequest(campaign_id=draft.id),
            {"candidate_count": 5},
        ),
        "UseCandidate": (
            candidate_pb2.UseCandidateRequest(candidate_set_id=written.id, number=1),
            {"number": 2},
        ),
        "DeleteMaterial": (
            material_pb2.DeleteMaterialRequest(store_id=STORE, name="menu"),
            {"name": "card"},
        ),
        "RemindOwners": (
            reminder_pb2.RemindOwnersRequest(campaign_id=paused),
            {"campaign_id": held},
        ),
        "StartPlaybook": (
            playbook_pb2.StartPlaybookRequest(store_id=STORE, **PLAYBOOK),
            {"start_date": "2026-03-09"},
        ),
        "StopPlaybook": (
            playbook_pb2.StopPlaybookRequest(run_id=books[0]),
            {"run_id": books[1]},
        ),
        "TopUpCampaign": (
            top_up_pb2.TopUpCampaignRequest(campaign_id=stopped, outcomes=[before]),
            {"name": "再来一次"},
        ),
        "SetTone": (
            tone_pb2.SetToneRequest(tone=tone_pb2.Tone(store_id=STORE, name="new", description="亲切")),
            {"tone": tone_pb2.Tone(store_id=STORE, name="new", description="客气")},
        ),
        "DeleteTone": (tone_pb2.DeleteToneRequest(store_id=STORE, name="warm"), {"name": "cool"}),
        "SubmitCampaign": (
            approval_pb2.SubmitCampaignRequest(campaign_id=second.id),
            {"campaign_id": draft.id},
        ),
        "RunCampaign": (
            running_pb2.RunCampaignRequest(campaign_id=ready.id, confirm_live=True),
            {"confirm_live": False},
        ),
        "PauseCampaign": (
            running_pb2.PauseCampaignRequest(campaign_id=paused),
            {"campaign_id": held},
        ),
        "ResumeCampaign": (
            running_pb2.ResumeCampaignRequest(campaign_id=held),
            {"campaign_id": paused},
        ),
        "CancelCampaign": (
            running_pb2.CancelCampaignRequest(campaign_id=to_cancel),
            {"campaign_id": paused},
        ),
    }
    by_approver: dict[str, tuple[Message, Mapping[str, Any]]] = {
        "ApproveCampaign": (
            approval_pb2.ApproveCampaignRequest(
                campaign_id=submitted, content_hash=await _hash(office, submitted)
            ),
            {"content_hash": "0" * 64},
        ),
        "RejectCampaign": (
            approval_pb2.RejectCampaignRequest(campaign_id=to_reject, comment="再改改"),
            {"comment": "不行"},
        ),
    }
    cases = {name: (WRITER, *case) for name, case in by_writer.items()}
    return cases | {name: (APPROVER, *case) for name, case in by_approver.items()}


def _changed(request: Message, changes: Mapping[str, Any]) -> Message:
    other = type(request)()
    other.CopyFrom(request)
    for name, value in changes.items():
        other.ClearField(name)
        if isinstance(value, Message):
            getattr(other, name).CopyFrom(value)
        elif isinstance(value, list):
            getattr(other, name).extend(value)
        else:
            setattr(other, name, value)
    return other


async def test_every_keyed_method_repeats_and_refuses_another_request(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", writes=True) as office:
        cases = await _cases(office)
        methods = service.DESCRIPTOR.services_by_name["CampaignService"].methods
        keyed = {one.name for one in methods if "idempotency_key" in one.input_type.fields_by_name}
        assert keyed == set(cases)
        for name, (who, request, changes) in cases.items():
            call = getattr(office[who], name)
            request.idempotency_key = f"key-{name}"  # type: ignore[attr-defined]
            await call(request)
            history = await _trail(office)
            await call(request)
            assert await _trail(office) == history, name
            code, error = await refused(call(_changed(request, changes)))
            assert (code, error.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "IDEMPOTENCY_KEY_REUSED",
            ), name
            await call(request)
            assert await _trail(office) == history, name


async def _trail(office: Office) -> int:
    """How many things were done by hand: a repeat does nothing."""
    answer = await office[WRITER].VerifyAudit(audit_pb2.VerifyAuditRequest())
    assert answer.ok
    return int(answer.head_sequence)
