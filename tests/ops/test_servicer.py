"""What operators see when things are broken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from reach.ops.v1 import ops_service_pb2 as pb

from shared.bus import Incoming
from shared.clock import SystemClock
from shared.db.dead import DeadLetter
from shared.errors import Denied, Unavailable
from shared.events.envelope import read_event
from shared.ops.letters import as_message, letter
from shared.ops.part import CheckStatus, Finding, Part
from shared.ops.servicer import OpsServicer, _body
from shared.rpc.paging import PageTokens
from shared.rpc.principal import Principal, acting_as


async def test_the_doctor_goes_on_where_a_check_cannot() -> None:
    async def well() -> Sequence[Finding]:
        return [Finding("well", CheckStatus.OK, "fine")]

    async def backlog() -> Sequence[Finding]:
        raise Unavailable("DEPENDENCY_DOWN", "PostgreSQL at db:5432: refused")

    part = cast(Part, type("P", (), {"service": "notifier", "checks": [backlog, well]}))
    doctor = OpsServicer([part], PageTokens(b"k" * 16), SystemClock())
    answer = await doctor.Doctor(pb.DoctorRequest(), cast(Any, None))
    assert [(one.name, one.status) for one in answer.checks] == [
        ("backlog", pb.CHECK_STATUS_FAILED),
        ("well", pb.CHECK_STATUS_OK),
    ]
    assert "refused" in answer.checks[0].found
    assert not answer.healthy


def test_a_long_text_is_shown_as_text_wherever_it_is_cut() -> None:
    assert _body("x单".encode() * 40_000).startswith("x单x单")


def parked(at: datetime) -> DeadLetter:
    message = Incoming(b'{"event_data": {"a": 1}}', routing_key="test.said", door="amqp")
    return letter(message, "store_missing", "", at)


def test_a_letter_without_an_id_is_the_same_event_whenever_it_is_replayed() -> None:
    came_at = datetime(2026, 3, 2, 4, 0, 10, tzinfo=UTC)
    ids = {
        read_event(as_message(kept), default_store="s", now=at).id
        for kept in (parked(came_at), parked(came_at.replace(second=40)))
        for at in (came_at, came_at.replace(hour=9), came_at.replace(day=3))
    }
    assert len(ids) == 1


@pytest.mark.parametrize("call", ["SetCredential", "DeleteCredential"])
async def test_a_token_for_some_stores_changes_no_credential_of_all(call: str) -> None:
    servicer = OpsServicer([], PageTokens(b"k" * 16), SystemClock())
    some = Principal("alice", "human", frozenset({"config.admin"}), frozenset({"s1"}))
    request = getattr(pb, f"{call}Request")(kind=pb.CREDENTIAL_KIND_ROBOT, name="hall")
    with acting_as(some), pytest.raises(Denied):
        await getattr(servicer, call)(request, None)
