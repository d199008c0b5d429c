"""Who may look at budgets and breakers, and change them."""

from __future__ import annotations

from typing import Any

import pytest
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2
from reach.ai_orchestrator.v1 import gate_pb2 as pb

from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.gate_service import GateMethods
from services.ai_orchestrator.service import SCOPES
from shared.errors import Denied
from shared.rpc import principal
from shared.rpc.principal import Principal, acting_as


def test_every_method_needs_a_scope_that_there_is() -> None:
    found = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name["AiOrchestratorService"]
    assert {f"{SERVICE}/{method.name}" for method in found.methods} == set(SCOPES)
    assert set(SCOPES.values()) <= principal.SCOPES


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetBudget", pb.GetBudgetRequest(store_id="s1")),
        ("GetBudget", pb.GetBudgetRequest()),
        ("SetBudget", pb.SetBudgetRequest(store_id="s1", day_tokens=1)),
        ("SetBudget", pb.SetBudgetRequest(day_tokens=1)),
        ("ListBreakers", pb.ListBreakersRequest()),
        ("ResetBreaker", pb.ResetBreakerRequest(key="account")),
    ],
)
async def test_one_store_knows_nothing_of_another_nor_of_all(method: str, request_: Any) -> None:
    caller = Principal("s2-manager", "human", principal.SCOPES, frozenset({"s2"}))
    with acting_as(caller), pytest.raises(Denied):
        await getattr(GateMethods(), method)(request_, None)
