"""Every method asks for a scope, and reading asks for no more than reading."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import MethodOptions
from reach.campaign.v1 import campaign_service_pb2

from services.campaign.service import SCOPES, SERVICE

METHODS = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"].methods


def test_each_method_of_the_contract_needs_a_scope_and_nothing_else_does() -> None:
    assert set(SCOPES) == {f"{SERVICE}/{method.name}" for method in METHODS}


def test_whoever_may_only_read_changes_nothing() -> None:
    reads = {
        f"{SERVICE}/{method.name}"
        for method in METHODS
        if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    }
    assert {SCOPES[name] for name in reads} <= {"campaign.read", "audit.read"}
    assert {SCOPES[name] for name in set(SCOPES) - reads}.isdisjoint({"campaign.read", "audit.read"})
