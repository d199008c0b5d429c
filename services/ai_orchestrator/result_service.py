"""The RPCs about insights, clues, alerts and copy: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

from reach.ai_orchestrator.v1 import (
    ai_orchestrator_service_pb2,
    ai_orchestrator_service_pb2_grpc,
    alert_pb2,
    clue_pb2,
    copy_pb2,
    insight_pb2,
)

from services.ai_orchestrator.result_wire import (
    from_brief,
    from_kinds,
    to_clue,
    to_copy,
    to_insight,
    to_told,
)
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.store import alerts, insights
from services.ai_orchestrator.usecases.clues import said
from services.ai_orchestrator.usecases.copywriting import Copywriting
from shared.clock import Clock
from shared.errors import Invalid
from shared.rpc.calls import GENERATION, CallClass
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named

_SERVICE: Final = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name["AiOrchestratorService"].full_name

SCOPES: Final[Mapping[str, str]] = {
    f"{_SERVICE}/{method}": scope
    for method, scope in {
        "GetInsight": "ai.read",
        "ListInsights": "ai.read",
        "ListClues": "ai.read",
        "AddClue": "ai.trigger",
        "DeleteClue": "ai.trigger",
        "GenerateCopy": "ai.trigger",
        "WatchAlerts": "ai.read",
    }.items()
}
"""The scope each of these methods needs."""

SPECIAL: Final[Mapping[str, CallClass]] = {f"{_SERVICE}/GenerateCopy": GENERATION}
"""Methods that take as long as an application does."""


class ResultMethods(ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceServicer):
    """See ai_orchestrator_service.proto."""

    _results: ResultsSide
    _copywriting: Copywriting
    _tokens: PageTokens
    _clock: Clock
    _default_store: str | None

    async def GetInsight(
        self, request: insight_pb2.GetInsightRequest, context: Any
    ) -> insight_pb2.GetInsightResponse:
        """One insight, whole."""
        store = self._named_store(request)
        found = await self._results.insights.get(store, request.cache_type, request.target)
        return insight_pb2.GetInsightResponse(insight=to_insight(found, self._clock.now(), whole=True))

    async def ListInsights(
        self, request: insight_pb2.ListInsightsRequest, context: Any
    ) -> insight_pb2.ListInsightsResponse:
        """Insights, the newest first."""
        wanted = insights.Wanted(
            stores_named(request.store_id), request.cache_type, request.member_id, request.assistant_id
        )
        size, cursor, now = page_size(request.page_size), self._tokens.read(request), self._clock.now()
        before = None
        if cursor is not None:
            at, *key = map(str, cursor)
            before = (datetime.fromisoformat(at), key[0], key[1], key[2])
        found = await self._results.insights.page(wanted, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            place = [last.made_at.isoformat(), last.store_id, last.cache_type, last.target]
            token = self._tokens.issue(request, place)
        return insight_pb2.ListInsightsResponse(
            insights=[to_insight(one, now, whole=False) for one in found[:size]], next_page_token=token
        )

    async def ListClues(self, request: clue_pb2.ListCluesRequest, context: Any) -> clue_pb2.ListCluesResponse:
        """A member's clues, by id."""
        store, size, cursor = (
            self._named_store(request),
            page_size(request.page_size),
            self._tokens.read(request),
        )
        after = "" if cursor is None else str(cursor[0])
        found = await self._results.clues.page(store, request.member_id, request.source, after, size + 1)
        token = self._tokens.issue(request, [found[size - 1].id]) if len(found) > size else ""
        return clue_pb2.ListCluesResponse(clues=map(to_clue, found[:size]), next_page_token=token)

    async def AddClue(self, request: clue_pb2.AddClueRequest, context: Any) -> clue_pb2.AddClueResponse:
        """Keep what somebody knows of a member."""
        store = self._named_store(request)
        kept = await self._results.clues.add(
            store,
            request.member_id,
            said(request.category, request.emoji, request.summary, request.detail),
            once_of(_SERVICE, "AddClue", request, store),
        )
        return clue_pb2.AddClueResponse(clue=to_clue(kept))

    async def DeleteClue(
        self, request: clue_pb2.DeleteClueRequest, context: Any
    ) -> clue_pb2.DeleteClueResponse:
        """Take a clue away."""
        store = self._named_store(request)
        await self._results.clues.delete(
            store, request.clue_id, once_of(_SERVICE, "DeleteClue", request, store)
        )
        return clue_pb2.DeleteClueResponse()

    async def GenerateCopy(
        self, request: copy_pb2.GenerateCopyRequest, context: Any
    ) -> copy_pb2.GenerateCopyResponse:
        """Texts for a campaign."""
        store = self._named_store(request)
        once = once_of(_SERVICE, "GenerateCopy", request, store)
        return to_copy(await self._copywriting.write(store, from_brief(request), once))

    async def WatchAlerts(
        self, request: alert_pb2.WatchAlertsRequest, context: Any
    ) -> AsyncIterator[alert_pb2.WatchAlertsResponse]:
        """Alerts as they come."""
        wanted = alerts.Wanted(stores_named(request.store_id), from_kinds(list(request.kinds)))
        after = request.after_cursor if request.HasField("after_cursor") else None
        async for told in self._results.watching.alerts(wanted, after):
            yield to_told(told)

    def _named_store(self, request: Any) -> str:
        """The store that *request* is about, which must be the caller's."""
        store = request.store_id or self._default_store
        if not store:
            raise Invalid.field("store_id", "name a store: there is no default one", reason="STORE_MISSING")
        authorise_store(store)
        return str(store)
