"""The RPCs about words by an application: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import candidate_pb2 as pb

from services.campaign.campaign_wire import to_campaign
from services.campaign.contract import SERVICE
from services.campaign.domain.candidates import Form, SetStatus
from services.campaign.store.candidates import KeptCandidate, KeptSet
from services.campaign.usecases.candidates import Candidates, Wish
from shared.rpc.fields import EnumMap, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import visible_stores

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "GenerateContent": "campaign.write",
        "GetCandidates": "campaign.read",
        "ListCandidates": "campaign.read",
        "UseCandidate": "campaign.write",
    }.items()
}
"""The scope each method needs."""

_FORMS: EnumMap[Form] = EnumMap(
    pb.CandidateForm, {one: pb.CandidateForm.Value(f"CANDIDATE_FORM_{one.name}") for one in Form}
)
_STATUSES: Final = {
    SetStatus.READY.value: pb.CANDIDATE_SET_STATUS_READY,
    SetStatus.FAILED.value: pb.CANDIDATE_SET_STATUS_FAILED,
}


class CandidateMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _candidates: Candidates
    _tokens: PageTokens

    async def GenerateContent(
        self, request: pb.GenerateContentRequest, context: Any
    ) -> pb.GenerateContentResponse:
        """Have an application write."""
        wish = Wish(
            request.campaign_id,
            _FORMS.to_domain_or(request.form, Form.TEXT, "form"),
            request.candidate_count,
            request.max_chars,
            request.audience,
            tuple(request.language_rules),
        )
        once = once_of(SERVICE, "GenerateContent", request)
        asked = await self._candidates.ask(wish, visible_stores(), once=once)
        return pb.GenerateContentResponse(candidate_set=_to_set(asked))

    async def GetCandidates(self, request: pb.GetCandidatesRequest, context: Any) -> pb.GetCandidatesResponse:
        """One set."""
        found = await self._candidates.get(request.candidate_set_id, visible_stores())
        return pb.GetCandidatesResponse(candidate_set=_to_set(found))

    async def ListCandidates(
        self, request: pb.ListCandidatesRequest, context: Any
    ) -> pb.ListCandidatesResponse:
        """The sets of a campaign, the newest first."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        found = await self._candidates.page(request.campaign_id, visible_stores(), before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = self._tokens.issue(request, [last.created_at.astimezone(UTC).isoformat(), last.id])
        return pb.ListCandidatesResponse(candidate_sets=map(_to_set, found[:size]), next_page_token=token)

    async def UseCandidate(self, request: pb.UseCandidateRequest, context: Any) -> pb.UseCandidateResponse:
        """Make a candidate the words of its campaign."""
        view = await self._candidates.use(
            request.candidate_set_id,
            request.number,
            visible_stores(),
            expected=request.expected_version,
            once=once_of(SERVICE, "UseCandidate", request),
        )
        return pb.UseCandidateResponse(campaign=to_campaign(view))


def _to_set(kept: KeptSet) -> pb.CandidateSet:
    return pb.CandidateSet(
        id=kept.id,
        campaign_id=kept.campaign_id,
        version=kept.version,
        status=_STATUSES.get(kept.status, pb.CANDIDATE_SET_STATUS_PENDING),
        reason=kept.reason,
        form=_FORMS.to_wire(kept.asked.form),
        candidates=map(_to_candidate, kept.candidates),
        asked_by=kept.asked_by,
        run_id=kept.run_id,
        app_version=kept.app_version,
        prompt_hash=kept.prompt_hash,
        models=kept.models,
        input_tokens=kept.input_tokens,
        output_tokens=kept.output_tokens,
        total_tokens=kept.total_tokens,
        create_time=to_timestamp(kept.created_at),
        finish_time=None if kept.finished_at is None else to_timestamp(kept.finished_at),
    )


def _to_candidate(one: KeptCandidate) -> pb.Candidate:
    return pb.Candidate(
        number=one.number,
        text=one.text,
        title=one.title,
        angle=one.angle,
        tokens=one.tokens,
        hits=[pb.CandidateHit(**hit) for hit in one.hits],
        used_version=one.used_version,
    )
