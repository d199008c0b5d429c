"""The RPCs about facts: from the wire to the use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2, ai_orchestrator_service_pb2_grpc
from reach.ai_orchestrator.v1 import fact_pb2 as pb

from services.ai_orchestrator.domain.facts.kinds import Kind
from services.ai_orchestrator.usecases.loading import BadRow, Loading
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, from_struct
from shared.rpc.once import once_of
from shared.rpc.principal import authorise_store

_SERVICE: Final[str] = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name[
    "AiOrchestratorService"
].full_name

SCOPES: Final[Mapping[str, str]] = {f"{_SERVICE}/LoadFacts": "ai.trigger"}
"""The scope each of these methods needs."""

_KINDS: EnumMap[Kind] = EnumMap(
    pb.FactKind, {one: pb.FactKind.Value(f"FACT_KIND_{one.name}") for one in Kind}
)


class FactMethods(ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceServicer):
    """See ai_orchestrator_service.proto."""

    _loading: Loading
    _default_store: str | None

    async def LoadFacts(self, request: pb.LoadFactsRequest, context: Any) -> pb.LoadFactsResponse:
        """Load facts."""
        store_id = request.store_id or self._default_store
        if not store_id:
            raise Invalid.field("store_id", "name a store: there is no default one", reason="STORE_MISSING")
        authorise_store(store_id)
        loaded = await self._loading.load(
            store_id,
            _KINDS.to_domain(request.kind, "kind"),
            [from_struct(row) for row in request.rows],
            once=once_of(_SERVICE, "LoadFacts", request, store_id),
        )
        return pb.LoadFactsResponse(
            loaded_count=loaded.loaded, new_count=loaded.new, errors=[_error(one) for one in loaded.bad]
        )


def _error(one: BadRow) -> pb.FactRowError:
    columns = [
        pb.FactColumnError(column=wrong.field, description=wrong.description) for wrong in one.violations
    ]
    return pb.FactRowError(row=one.number, columns=columns)
