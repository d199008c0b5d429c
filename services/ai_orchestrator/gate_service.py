"""The RPCs about budgets and breakers: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc
from reach.ai_orchestrator.v1 import gate_pb2 as pb

from services.ai_orchestrator.breaker_desk import AiBreakers
from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.usecases.budgets import Budgets, BudgetView, WindowView
from shared.errors import NotFound
from shared.ops.breakers import to_breaker
from shared.rpc.fields import to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store, authorise_store_or_every, current

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/GetBudget": "ai.read",
    f"{SERVICE}/SetBudget": "config.admin",
    f"{SERVICE}/ListBreakers": "ai.read",
    f"{SERVICE}/ResetBreaker": "ops.resolve",
}
"""The scope each method needs."""

_NAME: Final = "ai_orchestrator"


class GateMethods(ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceServicer):
    """See ai_orchestrator_service.proto."""

    _budgets: Budgets
    _breakers: AiBreakers
    _tokens: PageTokens

    async def GetBudget(self, request: pb.GetBudgetRequest, context: Any) -> pb.GetBudgetResponse:
        """What may be spent, and what was."""
        authorise_store_or_every(request.store_id)
        return pb.GetBudgetResponse(budget=_budget(await self._budgets.get(request.store_id)))

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Any) -> pb.SetBudgetResponse:
        """Say what may be spent."""
        authorise_store_or_every(request.store_id)
        after = await self._budgets.set(
            request.store_id,
            request.day_tokens if request.HasField("day_tokens") else None,
            request.month_tokens if request.HasField("month_tokens") else None,
            once=once_of(SERVICE, "SetBudget", request, request.store_id),
        )
        return pb.SetBudgetResponse(budget=_budget(after))

    async def ListBreakers(self, request: pb.ListBreakersRequest, context: Any) -> pb.ListBreakersResponse:
        """By key."""
        authorise_every_store()  # they serve all of them
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        after = str(cursor[0]) if cursor else ""
        found = [
            view
            for view in await self._breakers.list_breakers()
            if view.key > after and not (request.open_only and view.state == "closed")
        ]
        page = found[:size]
        more = len(found) > size
        return pb.ListBreakersResponse(
            breakers=[to_breaker(_NAME, view) for view in page],
            next_page_token=self._tokens.issue(request, [page[-1].key]) if more else "",
        )

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, context: Any) -> pb.ResetBreakerResponse:
        """Close one by hand."""
        authorise_every_store()  # what waits for it belongs to every store
        view = await self._breakers.reset(
            request.key, by=current().subject, once=once_of(SERVICE, "ResetBreaker", request)
        )
        if view is None:
            text = f"{request.key} has never failed, so it has no breaker"
            raise NotFound("NOT_FOUND", text, resource="breaker")
        return pb.ResetBreakerResponse(breaker=to_breaker(_NAME, view))


def _budget(view: BudgetView) -> pb.Budget:
    wire = pb.Budget(
        store_id=view.store_id,
        day=_window(view.day),
        month=_window(view.month),
        updated_by=view.updated_by,
    )
    if view.updated_at is not None:
        wire.update_time.CopyFrom(to_timestamp(view.updated_at))
    return wire


def _window(view: WindowView) -> pb.BudgetWindow:
    return pb.BudgetWindow(
        name=view.window.name,
        limit_tokens=view.limit,
        is_default=view.is_default,
        used_tokens=view.spent.used,
        held_tokens=view.spent.held,
        call_count=view.spent.calls,
        end_time=to_timestamp(view.window.ends_at),
    )
