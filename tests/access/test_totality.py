"""No RPC is forgotten: each one that reflection finds is refused to whoever may not call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.message_factory import GetMessageClass
from reach.campaign.v1 import campaign_service_pb2
from reach.kf_session.v1 import kf_session_service_pb2
from reach.notifier.v1 import notifier_service_pb2

from cli.common import SERVICES
from shared.ops.events import SCOPES as EVENT_SCOPES
from shared.ops.servicer import SCOPES as OPS_SCOPES
from shared.rpc import validation
from tests.access.requests import request_of
from tests.access.walk import CORP_WIDE, KNOWN, OPEN, Door, Walker, walker


@pytest.fixture
async def walk(tmp_path: Path) -> AsyncIterator[Walker]:
    async with walker(tmp_path / "home") as made:
        yield made


async def test_every_rpc_is_refused_without_a_token_with_one_scope_too_few_and_with_another_stores_token(
    walk: Walker,
) -> None:
    doors = await walk.doors()
    assert [one.problem for one in doors if one.problem] == []
    decided = {**EVENT_SCOPES, **OPS_SCOPES}
    for service in SERVICES:
        decided |= import_module(f"services.{service}.service").SCOPES
    # What is served is what was decided about, with the scope that it asks for.
    assert {one.path: one.scope for one in doors} == decided
    assert CORP_WIDE.keys() <= decided.keys()


async def test_what_is_open_is_health_and_what_any_token_opens_is_reflection(walk: Walker) -> None:
    services = {path.partition("/")[0] for path in await walk.paths()}
    assert {one for one in services if not one.startswith("reach.")} == {*OPEN, *KNOWN} & services
    assert services >= OPEN


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"without_token": "OK"}, "without"),
        ({"with_wrong_token": "OK"}, "TOKEN_MISSING"),
        ({"without_scope": "NOT_FOUND"}, "SCOPE_MISSING"),
        ({"scope": ""}, "scope ''"),
        ({"from_elsewhere": "OK"}, "another store's token gets OK"),
        ({"from_elsewhere": "FIELD_INVALID"}, "another store's token gets FIELD_INVALID"),
        ({"path": "reach.ops.v1.OpsService/Doctor"}, "listed as one of no store"),
    ],
)
def test_the_walk_sees_what_it_is_meant_to_see(changes: dict[str, str], told: str) -> None:
    good = {
        "path": "reach.notifier.v1.NotifierService/SendMessage",
        "scope": "notify.send",
        "without_token": "TOKEN_MISSING",
        "with_wrong_token": "TOKEN_INVALID",
        "without_scope": "SCOPE_MISSING",
        "from_elsewhere": "STORE_FORBIDDEN",
    }
    problem = Door(**{**good, **changes}).problem
    assert bool(problem) == bool(changes)
    assert told in problem or told in ("without", "TOKEN_MISSING", "SCOPE_MISSING")


@pytest.mark.parametrize(
    "service",
    [
        notifier_service_pb2.DESCRIPTOR.services_by_name["NotifierService"],
        kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"],
        campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"],
    ],
)
def test_a_request_is_made_that_keeps_every_rule_of_its_contract(service: object) -> None:
    for method in service.methods:  # type: ignore[attr-defined]
        made = request_of(GetMessageClass(method.input_type), "store-a")
        validation.check(made)
        if "store_id" in method.input_type.fields_by_name:
            assert made.store_id == "store-a"  # type: ignore[attr-defined]
