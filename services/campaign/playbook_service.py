"""The RPCs about playbooks: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import playbook_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.playbook_wire import STATUSES, to_occurrence, to_playbook, to_preview, to_run
from services.campaign.usecases.playbooks import Playbooks, Wish
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named, visible_stores

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "ListPlaybooks": "campaign.read",
        "PreviewPlaybook": "campaign.read",
        "StartPlaybook": "campaign.write",
        "ListPlaybookRuns": "campaign.read",
        "ListPlaybookOccurrences": "campaign.read",
        "StopPlaybook": "campaign.write",
    }.items()
}
"""The scope each method needs."""

_WORDS: Final = {number: word for word, number in STATUSES.items()}


class PlaybookMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _playbooks: Playbooks
    _tokens: PageTokens

    async def ListPlaybooks(self, request: pb.ListPlaybooksRequest, context: Any) -> pb.ListPlaybooksResponse:
        """Those there are."""
        rows, cursor = page_size(request.page_size), self._tokens.read(request)
        found = self._playbooks.all("" if cursor is None else str(cursor[0]), rows + 1)
        token = self._tokens.issue(request, [found[rows - 1].name]) if len(found) > rows else ""
        return pb.ListPlaybooksResponse(playbooks=map(to_playbook, found[:rows]), next_page_token=token)

    async def PreviewPlaybook(
        self, request: pb.PreviewPlaybookRequest, context: Any
    ) -> pb.PreviewPlaybookResponse:
        """What one would do."""
        authorise_store(request.store_id)
        rows, cursor = page_size(request.page_size), self._tokens.read(request)
        after = "" if cursor is None else str(cursor[0])
        found = await self._playbooks.preview(_wish(request), request.days, after=after, limit=rows + 1)
        groups = list(found.played.groups)
        token = self._tokens.issue(request, [groups[rows - 1].facts.chat_id]) if len(groups) > rows else ""
        return to_preview(found, groups[:rows], token)

    async def StartPlaybook(self, request: pb.StartPlaybookRequest, context: Any) -> pb.StartPlaybookResponse:
        """Start one."""
        authorise_store(request.store_id)
        once = once_of(SERVICE, "StartPlaybook", request, request.store_id)
        return pb.StartPlaybookResponse(run=to_run(await self._playbooks.start(_wish(request), once=once)))

    async def ListPlaybookRuns(
        self, request: pb.ListPlaybookRunsRequest, context: Any
    ) -> pb.ListPlaybookRunsResponse:
        """Those that were started."""
        stores, rows = stores_named(request.store_id), page_size(request.page_size)
        cursor = self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        found = await self._playbooks.page(stores, _WORDS.get(request.status, ""), before, rows + 1)
        token = ""
        if len(found) > rows:
            last = found[rows - 1].run
            token = self._tokens.issue(request, [last.started_at.astimezone(UTC).isoformat(), last.id])
        return pb.ListPlaybookRunsResponse(runs=map(to_run, found[:rows]), next_page_token=token)

    async def ListPlaybookOccurrences(
        self, request: pb.ListPlaybookOccurrencesRequest, context: Any
    ) -> pb.ListPlaybookOccurrencesResponse:
        """What became of the steps of one."""
        rows, cursor = page_size(request.page_size), self._tokens.read(request)
        before = None if cursor is None else (date.fromisoformat(str(cursor[0])), int(cursor[1] or 0))
        run, found = await self._playbooks.occurrences(request.run_id, visible_stores(), before, rows + 1)
        token = ""
        if len(found) > rows:
            last = found[rows - 1].happened
            token = self._tokens.issue(request, [str(last.day), last.step])
        return pb.ListPlaybookOccurrencesResponse(
            occurrences=[to_occurrence(one, run.definition) for one in found[:rows]], next_page_token=token
        )

    async def StopPlaybook(self, request: pb.StopPlaybookRequest, context: Any) -> pb.StopPlaybookResponse:
        """Stop one."""
        once = once_of(SERVICE, "StopPlaybook", request)
        stopped = await self._playbooks.stop(request.run_id, request.comment, visible_stores(), once=once)
        return pb.StopPlaybookResponse(run=to_run(stopped))


def _wish(request: pb.PreviewPlaybookRequest | pb.StartPlaybookRequest) -> Wish:
    return Wish(request.store_id, request.playbook, dict(request.parameters), request.start_date)
