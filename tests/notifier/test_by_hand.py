"""What somebody writes: shown beforehand, limited for each writer, and kept in the audit log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import explain_pb2, rule_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import audit_pb2 as audit
from reach.ops.v1 import ops_service_pb2 as ops

from shared.rpc.principal import SCOPES
from tests.e2e.harness import (
    STORE,
    Reach,
    Sandbox,
    create_tokens,
    embedded,
    refused,
    robot,
    seconds,
    user,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The setting for each of the two databases in turn."""
    if request.param == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres_database")}


@pytest.fixture
async def narrow(database: dict[str, str], world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """With room for three messages a minute, and nobody holding a role; on each database."""
    limits = {"limit_operator_per_minute": "3", "limit_operator_per_day": "5"}
    home = tmp_path / "home"
    async with embedded(world.url, home, default_store=STORE, **limits, **database) as reach:
        yield reach


def _message(text: str = "hello", **more: Any) -> pb.SendMessageRequest:
    fields: dict[str, Any] = {"store_id": STORE, "targets": [user("anna")], "text": text, **more}
    return pb.SendMessageRequest(**fields)


async def _entries(reach: Reach, **filters: Any) -> list[audit.AuditEntry]:
    return list((await reach.ops.ListAuditLog(audit.ListAuditLogRequest(**filters))).entries)


async def test_a_preview_shows_the_calls_and_does_nothing(bare: Reach, world: Sandbox) -> None:
    await bare.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret="robot-key-1234567890")
    )
    before = await _entries(bare)
    shown = await bare.notifier.SendMessage(
        _message(targets=[user("anna"), user("bob"), robot("front")], preview_only=True)
    )
    assert shown.verdict == explain_pb2.VERDICT_PLANNED
    assert not shown.message_id
    assert not shown.deliveries
    assert [(one.channel, len(one.recipients)) for one in shown.calls] == [
        ("app:default", 2),
        ("robot:front", 1),
    ]
    assert json.loads(shown.calls[1].payload_json)["text"]["content"] == "hello"
    assert not (await bare.notifier.ListDeliveries(pb.ListDeliveriesRequest())).deliveries
    assert await world.sends() == []
    assert await _entries(bare) == before


async def test_a_preview_says_what_sending_would_refuse(bare: Reach) -> None:
    code, error = await refused(bare.notifier.SendMessage(_message(targets=[], preview_only=True)))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "targets")


async def test_each_writer_has_a_limit(narrow: Reach, world: Sandbox) -> None:
    first = await narrow.notifier.SendMessage(_message("1", idempotency_key="k1"))
    # A preview and a repeat take nothing; a report counts as one, whatever it is made of.
    await narrow.notifier.SendMessage(_message("1", preview_only=True))
    assert (await narrow.notifier.SendMessage(_message("1", idempotency_key="k1"))).message_id == (
        first.message_id
    )
    await narrow.notifier.SendReport(
        pb.SendReportRequest(store_id=STORE, targets=[user("anna")], body="x\n\n" * 2000, wait=seconds(5))
    )
    await narrow.notifier.SendMessage(_message("3"))
    for call in (
        narrow.notifier.SendMessage(_message("4", idempotency_key="k4")),
        narrow.notifier.SendReport(pb.SendReportRequest(store_id=STORE, targets=[user("a")], body="4")),
    ):
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert error.facts["limit"] == "operator_per_minute"
        assert error.retry_after is not None
        assert 0 < error.retry_after.total_seconds() <= 60
    # The repeat of what was sent is still answered; what was refused has left no trace to be a repeat of.
    assert (await narrow.notifier.SendMessage(_message("1", idempotency_key="k1"))).message_id
    assert [one.method for one in await _entries(narrow)] == ["SendMessage", "SendReport", "SendMessage"]
    (usage, day) = (await narrow.ops.ListLimits(ops.ListLimitsRequest(key_prefix="operator:"))).limits
    assert (usage.key, usage.window, usage.used, usage.max) == ("operator:local", "minute", 3, 3)
    assert (day.window, day.used, day.max) == ("day", 3, 5)
    # Events are nobody's writing.
    assert (await narrow.push()).verdict == explain_pb2.VERDICT_NO_RECIPIENT


async def test_one_writers_limit_is_not_anothers(world: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tokens = await create_tokens(home, {name: (SCOPES, ["*"]) for name in ("ann", "ben")})
    async with embedded(world.url, home, default_store=STORE, limit_operator_per_minute="1") as reach:
        ann, ben = reach.bearing(tokens["ann"]), reach.bearing(tokens["ben"])
        answers = await asyncio.gather(
            *(ann.notifier.SendMessage(_message(str(at))) for at in range(4)), return_exceptions=True
        )
        assert sum(isinstance(one, BaseException) for one in answers) == 3
        await ben.notifier.SendMessage(_message("from ben"))
        assert sorted(one.subject for one in await _entries(ann)) == ["ann", "ben"]


async def test_a_message_is_in_the_log_without_its_words(narrow: Reach) -> None:
    sent = await narrow.notifier.SendMessage(
        _message("today's secret recipe", roles=["manager"], priority=rule_pb2.PRIORITY_HIGH)
    )
    (entry,) = await _entries(narrow)
    assert (entry.service, entry.sequence, entry.method) == ("notifier", 1, "SendMessage")
    assert (entry.subject, entry.subject_kind, entry.door) == ("local", "local", "grpc")
    assert (entry.object_id, entry.store_id) == (sent.message_id, STORE)
    assert json.loads(entry.detail_json) == {
        "targets": ["user:anna"],
        "roles": ["manager"],
        "priority": "high",
        "verdict": "planned",
        "calls": 1,
        "recipients": 1,
    }
    assert entry.content_bytes > 20
    assert len(entry.content_hash) == len(entry.hash) == 64
    assert "recipe" not in str(entry)


async def test_what_is_refused_is_not_in_the_log(narrow: Reach) -> None:
    for request in (_message(targets=[]), _message(roles=["waiter"])):
        await refused(narrow.notifier.SendMessage(request))
    await narrow.notifier.SendMessage(_message("one", idempotency_key="k"))
    await refused(narrow.notifier.SendMessage(_message("two", idempotency_key="k")))
    await refused(narrow.notifier.CancelDelivery(pb.CancelDeliveryRequest(delivery_id="nothing")))
    await refused(
        narrow.notifier.UpdateTemplate(
            pb.UpdateTemplateRequest(rule_id="order.created", template="{no_such_field}")
        )
    )
    assert [one.method for one in await _entries(narrow)] == ["SendMessage"]
    checked = await narrow.ops.VerifyAudit(audit.VerifyAuditRequest())
    assert (checked.ok, checked.checked_count, checked.head_sequence) == (True, 1, 1)


async def test_changes_by_hand_are_in_the_log(narrow: Reach) -> None:
    notifier, rule = narrow.notifier, "order.created"
    await notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(
            role="manager", store_id=STORE, targets=[user("anna")], deputies=[user("bob")]
        )
    )
    await notifier.ToggleRule(pb.ToggleRuleRequest(rule_id=rule, idempotency_key="t"))
    await notifier.ToggleRule(pb.ToggleRuleRequest(rule_id=rule, idempotency_key="t"))
    await notifier.UpdateTemplate(pb.UpdateTemplateRequest(rule_id=rule, template="{total}", draft=True))
    await notifier.PublishRule(pb.PublishRuleRequest(rule_id=rule))
    await notifier.RollbackRule(pb.RollbackRuleRequest(rule_id=rule))
    spec = rule_pb2.RuleSpec(
        event_type=rule, display_name="大单", roles=["manager"], template="x", stores=["s2"]
    )
    await notifier.CreateRule(pb.CreateRuleRequest(rule_id="big", spec=spec))
    await notifier.DeleteRule(pb.DeleteRuleRequest(rule_id="big"))
    await notifier.RestorePresets(pb.RestorePresetsRequest(rule_ids=[rule]))
    await narrow.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret="robot-key-1234567890")
    )
    await narrow.ops.DeleteCredential(
        ops.DeleteCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front")
    )
    entries = list(reversed(await _entries(narrow)))
    assert [(one.method, one.object_id, one.store_id) for one in entries] == [
        ("SetRoleTargets", "manager", STORE),
        ("ToggleRule", rule, ""),
        ("UpdateTemplate", rule, ""),
        ("PublishRule", rule, ""),
        ("RollbackRule", rule, ""),
        ("CreateRule", "big", "s2"),
        ("DeleteRule", "big", "s2"),
        ("SetCredential", "robot:front", ""),
        ("DeleteCredential", "robot:front", ""),
    ]
    assert json.loads(entries[0].detail_json) == {"targets": ["user:anna"], "deputies": ["user:bob"]}
    assert not any("robot-key" in str(one) for one in entries)
    assert (await narrow.ops.VerifyAudit(audit.VerifyAuditRequest())).ok


async def test_pages_and_filters(bare: Reach) -> None:
    for at in range(5):
        await bare.notifier.SendMessage(_message(str(at)))
    await bare.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created"))
    seen, token = [], ""
    while True:
        request = audit.ListAuditLogRequest(page_size=2, page_token=token, method="SendMessage")
        page = await bare.ops.ListAuditLog(request)
        seen += [one.sequence for one in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert seen == [5, 4, 3, 2, 1]
    assert [one.object_id for one in await _entries(bare, method="ToggleRule")] == ["order.created"]
    assert not await _entries(bare, subject="nobody")
    assert not await _entries(bare, service="campaign")
    last = (await _entries(bare))[0]
    assert [one.sequence for one in await _entries(bare, start_time=last.time)][-1] >= 1
    assert last.sequence not in {one.sequence for one in await _entries(bare, end_time=last.time)}


async def test_a_store_sees_its_own_entries_and_examines_no_chain(world: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tokens = await create_tokens(home, {"root": (SCOPES, ["*"]), "a": (SCOPES, ["A"]), "b": (SCOPES, ["B"])})
    async with embedded(world.url, home) as reach:
        root, a, b = (reach.bearing(tokens[one]) for one in ("root", "a", "b"))
        await a.notifier.SendMessage(_message(store_id="A"))
        await root.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created"))
        assert [one.method for one in await _entries(a)] == ["SendMessage"]
        assert await _entries(b) == []
        assert len(await _entries(root)) == 2
        code, error = await refused(b.ops.ListAuditLog(audit.ListAuditLogRequest(store_id="A")))
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")
        code, error = await refused(a.ops.VerifyAudit(audit.VerifyAuditRequest()))
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")


async def test_a_noted_head_is_compared(bare: Reach) -> None:
    await bare.notifier.SendMessage(_message("1"))
    head = await bare.ops.VerifyAudit(audit.VerifyAuditRequest())
    await bare.notifier.SendMessage(_message("2"))
    noted = {"known_sequence": head.head_sequence, "known_hash": head.head_hash}
    assert (await bare.ops.VerifyAudit(audit.VerifyAuditRequest(**noted))).ok
    wrong = await bare.ops.VerifyAudit(audit.VerifyAuditRequest(known_sequence=1, known_hash="0" * 64))
    assert (wrong.ok, wrong.first_broken_sequence, wrong.problem) == (False, 1, "noted_differs")
    code, _ = await refused(bare.ops.VerifyAudit(audit.VerifyAuditRequest(known_sequence=1)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_who_may_stand_in_and_what_is_known_of_people_is_part_of_what_was_set(bare: Reach) -> None:
    """The words people are told are made of it, and escalations climb to deputies; the values themselves stay out."""
    asked = pb.SetRoleTargetsRequest(role="manager", store_id=STORE, targets=[user("anna")])
    asked.targets[0].attributes["name"] = "安娜"
    for deputies in ([], [user("bob")]):
        asked.ClearField("deputies")
        asked.deputies.extend(deputies)
        await bare.notifier.SetRoleTargets(asked)
    asked.targets[0].attributes["name"] = "阿娜"
    await bare.notifier.SetRoleTargets(asked)
    renamed, deputised, first = await _entries(bare, method="SetRoleTargets")
    assert len({one.content_hash for one in (renamed, deputised, first)} - {""}) == 3
    assert [json.loads(one.detail_json).get("deputies") for one in (first, deputised)] == [None, ["user:bob"]]
    assert "阿娜" not in renamed.detail_json
