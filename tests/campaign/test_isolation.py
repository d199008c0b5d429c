"""What a token may do: its scopes, and its stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    audit_pb2,
    campaign_pb2,
    candidate_pb2,
    explain_pb2,
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

from services.campaign.service import SCOPES as NEEDED
from shared.rpc.principal import SCOPES
from tests.campaign.office import OTHER, PEOPLE, PLAYBOOK, WRITER, Office, opened
from tests.e2e.harness import STORE, refused

METHODS = service.DESCRIPTOR.services_by_name["CampaignService"].methods
PNG = b"\x89PNG\r\n\x1a\n"
EVERYBODYS = {"ListCapabilities", "ListPlaybooks", "SyncGroups", "GetGroupSync", "ListGroupSyncs"}
"""What concerns no store: what the platform can do, playbooks as such, and the one sync of all groups."""


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    people = {
        **PEOPLE,
        **{f"only {scope}": ([scope], ["*"]) for scope in set(NEEDED.values())},
        **{f"without {scope}": (sorted(SCOPES - {scope}), ["*"]) for scope in set(NEEDED.values())},
    }
    async with opened(tmp_path / "home", people=people) as made:
        yield made


async def test_every_method_needs_exactly_its_scope(office: Office) -> None:
    assert {f"{one.containing_service.full_name}/{one.name}" for one in METHODS} == set(NEEDED)
    for method in METHODS:
        scope = NEEDED[f"{method.containing_service.full_name}/{method.name}"]
        request = GetMessageClass(method.input_type)()
        without, only = (
            getattr(office[f"{kind} {scope}"], method.name)(request, timeout=5)
            for kind in ("without", "only")
        )
        code, error = await refused(without.read() if method.server_streaming else without)
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"), method.name
        assert error.facts["scope"] == scope, method.name
        with suppress(grpc.RpcError):
            await (only.read() if method.server_streaming else only)
        only.cancel()
        assert await only.code() is not grpc.StatusCode.PERMISSION_DENIED, method.name


async def test_what_another_store_has_cannot_be_named_nor_found(office: Office) -> None:
    writer, other = office[WRITER], office[OTHER]
    (chat_id, *_) = await office.have_groups()
    campaign = await office.drafted()
    way = (
        await writer.CreateJoinWay(
            join_way_pb2.CreateJoinWayRequest(
                store_id=STORE,
                spec=join_way_pb2.JoinWaySpec(
                    scene=join_way_pb2.JOIN_WAY_SCENE_QR_CODE, chat_ids=[chat_id], state="poster"
                ),
            )
        )
    ).join_way
    asked = candidate_pb2.GenerateContentRequest(campaign_id=campaign.id)
    campaign.spec.theme = "上新"
    changing = writing_pb2.UpdateCampaignRequest(campaign_id=campaign.id, spec=campaign.spec)
    changing.update_mask.paths.append("theme")
    await writer.UpdateCampaign(changing)
    found = (await writer.GenerateContent(asked)).candidate_set
    tone = tone_pb2.Tone(store_id=STORE, name="warm", description="亲切")
    await writer.SetTone(tone_pb2.SetToneRequest(tone=tone))

    starting = playbook_pb2.StartPlaybookRequest(store_id=STORE, **PLAYBOOK)
    started = (await writer.StartPlaybook(starting)).run

    spec = campaign_pb2.CampaignSpec(name="x", audience=audience_pb2.Audience(every_group=True))
    named = {
        "ListGroups": group_pb2.ListGroupsRequest(store_id=STORE),
        "CreateJoinWay": join_way_pb2.CreateJoinWayRequest(store_id=STORE, spec=way.spec),
        "ListJoinWays": join_way_pb2.ListJoinWaysRequest(store_id=STORE),
        "GetJoinWayAttribution": join_way_pb2.GetJoinWayAttributionRequest(store_id=STORE, state="poster"),
        "CreateCampaign": writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec),
        "ListCampaigns": writing_pb2.ListCampaignsRequest(store_id=STORE),
        "UploadMaterial": material_pb2.UploadMaterialRequest(
            store_id=STORE,
            name="menu.png",
            kind=material_pb2.MATERIAL_KIND_IMAGE,
            filename="menu.png",
            size_bytes=len(PNG),
            content=PNG,
        ),
        "ListMaterials": material_pb2.ListMaterialsRequest(store_id=STORE),
        "DeleteMaterial": material_pb2.DeleteMaterialRequest(store_id=STORE, name="menu.png"),
        "SetTone": tone_pb2.SetToneRequest(tone=tone),
        "ListTones": tone_pb2.ListTonesRequest(store_id=STORE),
        "DeleteTone": tone_pb2.DeleteToneRequest(store_id=STORE, name="warm"),
        "PreviewPlaybook": playbook_pb2.PreviewPlaybookRequest(store_id=STORE, **PLAYBOOK),
        "StartPlaybook": playbook_pb2.StartPlaybookRequest(store_id=STORE, **PLAYBOOK),
        "ListPlaybookRuns": playbook_pb2.ListPlaybookRunsRequest(store_id=STORE),
        "ListAuditLog": audit_pb2.ListAuditLogRequest(store_id=STORE),
        # It tells of every store.
        "VerifyAudit": audit_pb2.VerifyAuditRequest(),
    }
    hidden = {
        "GetGroup": group_pb2.GetGroupRequest(chat_id=chat_id),
        "LabelGroups": group_pb2.LabelGroupsRequest(chat_ids=[chat_id], add=["x"]),
        "GetJoinWay": join_way_pb2.GetJoinWayRequest(id=way.id),
        "UpdateJoinWay": join_way_pb2.UpdateJoinWayRequest(id=way.id, spec=way.spec),
        "DeleteJoinWay": join_way_pb2.DeleteJoinWayRequest(id=way.id),
        "GetCampaign": writing_pb2.GetCampaignRequest(campaign_id=campaign.id),
        "UpdateCampaign": changing,
        "GenerateContent": asked,
        "GetCandidates": candidate_pb2.GetCandidatesRequest(candidate_set_id=found.id),
        "ListCandidates": candidate_pb2.ListCandidatesRequest(campaign_id=campaign.id),
        "UseCandidate": candidate_pb2.UseCandidateRequest(candidate_set_id=found.id, number=1),
        "SubmitCampaign": approval_pb2.SubmitCampaignRequest(campaign_id=campaign.id),
        "ApproveCampaign": approval_pb2.ApproveCampaignRequest(
            campaign_id=campaign.id, content_hash="0" * 64
        ),
        "RejectCampaign": approval_pb2.RejectCampaignRequest(campaign_id=campaign.id, comment="x"),
        "PreviewCampaign": preview_pb2.PreviewCampaignRequest(campaign_id=campaign.id),
        "RunCampaign": running_pb2.RunCampaignRequest(campaign_id=campaign.id),
        "PauseCampaign": running_pb2.PauseCampaignRequest(campaign_id=campaign.id),
        "ResumeCampaign": running_pb2.ResumeCampaignRequest(campaign_id=campaign.id),
        "CancelCampaign": running_pb2.CancelCampaignRequest(campaign_id=campaign.id),
        "ListCampaignHistory": approval_pb2.ListCampaignHistoryRequest(campaign_id=campaign.id),
        "RemindOwners": reminder_pb2.RemindOwnersRequest(campaign_id=campaign.id),
        "ListPlaybookOccurrences": playbook_pb2.ListPlaybookOccurrencesRequest(run_id=started.id),
        "StopPlaybook": playbook_pb2.StopPlaybookRequest(run_id=started.id),
        "ListTargets": target_pb2.ListTargetsRequest(campaign_id=campaign.id),
        "GetReport": report_pb2.GetReportRequest(campaign_id=campaign.id),
        "ExportReport": report_pb2.ExportReportRequest(campaign_id=campaign.id),
        "TopUpCampaign": top_up_pb2.TopUpCampaignRequest(campaign_id=campaign.id),
        "Explain": explain_pb2.ExplainRequest(id=campaign.id),
    }
    assert {one.name for one in METHODS} == named.keys() | hidden.keys() | EVERYBODYS
    for kind, calls in (("STORE_FORBIDDEN", named), ("NOT_FOUND", hidden)):
        for name, request in calls.items():
            call = getattr(other, name)(request)
            streams = service.DESCRIPTOR.services_by_name["CampaignService"].methods_by_name[name]
            code, error = await refused(call.read() if streams.server_streaming else call)
            assert error.reason == kind, f"{name}: {code} {error}"
    assert not (await other.ListGroups(group_pb2.ListGroupsRequest())).groups
    assert not (await other.ListCampaigns(writing_pb2.ListCampaignsRequest())).campaigns
    assert not (await other.ListJoinWays(join_way_pb2.ListJoinWaysRequest())).join_ways
    assert not (await other.ListAuditLog(audit_pb2.ListAuditLogRequest())).entries
