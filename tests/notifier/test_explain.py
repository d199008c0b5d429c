"""Explain tells what happened to an event, or why nothing did."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from reach.notifier.v1 import delivery_pb2, explain_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, codes, eventually, robot, user


def _step(told: Any, code: str) -> Any:
    return next(step for step in told.steps if step.code == code)


def _at(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


async def test_a_delivered_event_names_rule_people_text_times_and_attempts(
    reach: Reach, world: Sandbox
) -> None:
    await reach.push(event_id="e1")
    told = await reach.explain("e1")
    assert (told.verdict, told.event_type, told.store_id) == (
        explain_pb2.VERDICT_PLANNED,
        "order.created",
        STORE,
    )
    assert codes(told) == ["received", "rule_matched", "planned", "attempt", "accepted"]
    assert _step(told, "rule_matched").facts["rule_id"] == "order.created"
    assert "新订单提醒" in _step(told, "rule_matched").text_zh
    assert all(step.text_zh and step.text_en for step in told.steps)
    (delivery,) = told.deliveries
    (recipient,) = delivery.recipients
    assert (recipient.target.id, recipient.role) == ("kitchen_staff", "kitchen_staff")
    assert recipient.status == delivery_pb2.RECIPIENT_STATUS_ACCEPTED
    (arrived,) = await world.messages()
    assert delivery.text == arrived["content"]["content"]
    (attempt,) = delivery.attempts
    assert attempt.vendor_msgid == arrived["msgid"]
    assert (attempt.errcode, attempt.http_status) == (0, 200)
    times = [told.receive_time, attempt.start_time, attempt.finish_time, delivery.update_time]
    assert [one.ToDatetime() for one in times] == sorted(one.ToDatetime() for one in times)
    assert len(told.trace_id) == 32


async def test_a_disabled_rule_names_who_and_until_when(reach: Reach, world: Sandbox) -> None:
    until = (await world.now()) + timedelta(hours=2)
    await reach.notifier.ToggleRule(
        pb.ToggleRuleRequest(rule_id="order.created", store_id=STORE, disabled_until_time=_at(until))
    )
    taken = await reach.push(event_id="e2")
    assert taken.verdict == explain_pb2.VERDICT_RULE_DISABLED
    told = await reach.explain("e2")
    assert told.verdict == explain_pb2.VERDICT_RULE_DISABLED
    step = _step(told, "rule_disabled")
    assert step.facts["disabled_by"] == "local"
    assert step.facts["disabled_until"].startswith(until.strftime("%Y-%m-%d %H:%M"))
    assert "local" in step.text_zh
    assert "local" in step.text_en
    assert await world.sends() == []


async def test_nobody_holding_the_role_is_said_with_the_role(bare: Reach, world: Sandbox) -> None:
    taken = await bare.push(event_id="e3")
    assert taken.verdict == explain_pb2.VERDICT_NO_RECIPIENT
    told = await bare.explain("e3")
    assert _step(told, "no_recipient").facts["role"] == "kitchen_staff"
    assert "后厨" in _step(told, "no_recipient").text_zh
    assert await world.sends() == []


async def test_a_role_that_somebody_left_empty_is_said_beside_the_one_that_was_told(
    bare: Reach, world: Sandbox
) -> None:
    await bare.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="manager", targets=[user("boss")]))
    await bare.push("system.error", event_id="e4")
    told = await bare.explain("e4")
    assert told.verdict == explain_pb2.VERDICT_PLANNED
    assert _step(told, "no_recipient").facts["role"] == "tech_support"
    assert [message["to"] for message in await world.messages()] == ["boss"]


async def test_a_duplicate_is_said_of_what_it_repeats(reach: Reach) -> None:
    await reach.push(event_id="e5")
    await reach.push(event_id="e5")
    step = _step(await reach.explain("e5"), "duplicate")
    assert (step.facts["count"], step.facts["duplicate_of"]) == ("1", "e5")


async def test_waiting_for_a_rate_says_which_and_until_when(reach: Reach, world: Sandbox) -> None:
    await reach.ops.SetCredential(_robot_credential())
    await reach.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(role="kitchen_staff", targets=[robot("kitchen")])
    )
    for at in range(20):
        await reach.push(event_id=f"r{at}", wait=0)
    await world.arrived(19)

    async def held() -> Any:
        told = await reach.explain("r19")
        return told if "deferred" in codes(told) else None

    told = await eventually(held)
    step = _step(told, "deferred")
    assert step.facts["hold_reason"] == "rate:robot"
    until = datetime.fromisoformat(step.facts["until"])
    first = datetime.fromisoformat((await world.messages())[0]["received_at"])
    assert timedelta(seconds=50) < until - first <= timedelta(seconds=62)
    assert "机器人" in step.text_zh
    assert "until" in step.text_en


async def test_a_refusal_is_told_with_the_platforms_words(reach: Reach, world: Sandbox) -> None:
    await world.fault(path="/cgi-bin/message/send", errcode=81013, errmsg="user & party & tag all invalid")
    taken = await reach.push(event_id="e6")
    assert taken.deliveries[0].status == delivery_pb2.DELIVERY_STATUS_FAILED
    told = await reach.explain("e6")
    assert _step(told, "attempt").facts["errcode"] == "81013"
    assert "all invalid" in _step(told, "attempt").text_en
    assert codes(told)[-1] == "failed"
    # And once more to the manager, instead.
    assert [to for one in await world.sends() for to in [one["body"]["touser"]]] == [
        "kitchen_staff",
        "manager",
    ]


async def test_one_invalid_person_failed_and_the_others_are_accepted(bare: Reach, world: Sandbox) -> None:
    targets = [user("anna"), user("invalid-bob"), user("unlicensed-cleo")]
    await bare.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="kitchen_staff", targets=targets))
    taken = await bare.push(event_id="e7")
    (delivery,) = taken.deliveries
    assert delivery.status == delivery_pb2.DELIVERY_STATUS_ACCEPTED
    got = {one.target.id: (one.status, one.reason) for one in delivery.recipients}
    assert got == {
        "anna": (delivery_pb2.RECIPIENT_STATUS_ACCEPTED, ""),
        "invalid-bob": (delivery_pb2.RECIPIENT_STATUS_FAILED, "invalid_user"),
        "unlicensed-cleo": (delivery_pb2.RECIPIENT_STATUS_FAILED, "unlicensed_user"),
    }
    told = await bare.explain("e7")
    failed = [step.facts["target"] for step in told.steps if step.code == "recipient_failed"]
    assert sorted(failed) == ["user:invalid-bob", "user:unlicensed-cleo"]


async def test_a_message_and_a_delivery_are_explained_by_their_ids(reach: Reach) -> None:
    sent = await reach.notifier.SendMessage(
        pb.SendMessageRequest(targets=[user("anna")], text="hello", store_id=STORE)
    )
    by_message = await reach.explain(sent.message_id)
    assert (by_message.event_type, by_message.verdict) == ("message", explain_pb2.VERDICT_PLANNED)
    by_delivery = await reach.explain(sent.deliveries[0].delivery_id)
    assert by_delivery.event_id == sent.message_id


async def test_one_person_and_period_tell_everything_that_person_was_sent(
    reach: Reach, world: Sandbox
) -> None:
    await reach.push(event_id="k1")
    await reach.push("order.completed", event_id="m1")
    await reach.push(event_id="k2")

    def asking(name: str, **period: Any) -> Any:
        person = pb.PersonPeriod(target=user(name), **period)
        return reach.notifier.Explain(pb.ExplainRequest(person=person))

    told = await asking("kitchen_staff")
    assert [one.event_id for one in told.explanations] == ["k2", "k1"]
    assert [one.event_id for one in (await asking("manager")).explanations] == ["m1"]
    assert not (await asking("nobody-else")).explanations
    now = await world.now()
    before = await asking(
        "kitchen_staff",
        start_time=_at(now - timedelta(hours=2)),
        end_time=_at(now - timedelta(hours=1)),
    )
    assert not before.explanations


async def test_an_id_nobody_knows_is_said_to_be_unknown(reach: Reach) -> None:
    told = await reach.explain("never-seen")
    assert (told.verdict, codes(told)) == (explain_pb2.VERDICT_NOT_FOUND, ["not_found"])
    assert "never-seen" in told.steps[0].text_en


async def test_a_template_that_cannot_be_filled_is_said_with_the_field(reach: Reach, world: Sandbox) -> None:
    """Every required field is checked at the door, so only a known optional one can be missing here."""
    data = {key: value for key, value in EXAMPLES["order.cancelled"].items() if key != "reason"}
    taken = await reach.push("order.cancelled", data, event_id="t1")
    assert taken.verdict == explain_pb2.VERDICT_PLANNED
    (message,) = await world.messages()
    assert "原因" not in message["content"]["content"]


@pytest.mark.parametrize("store", ["", STORE])
async def test_overlapping_holders_are_told_once(bare: Reach, world: Sandbox, store: str) -> None:
    """system.error names two roles; whoever holds both is told once."""
    for role in ("tech_support", "manager"):
        await bare.notifier.SetRoleTargets(
            pb.SetRoleTargetsRequest(role=role, store_id=store, targets=[user("boss"), user(role)])
        )
    await bare.push("system.error", event_id="o1")
    got = [message["to"] for message in await world.messages()]
    assert sorted(got) == ["boss", "manager", "tech_support"]
    assert len(await world.sends()) == 1


def _robot_credential() -> Any:
    from reach.ops.v1 import ops_service_pb2 as ops

    return ops.SetCredentialRequest(
        kind=ops.CREDENTIAL_KIND_ROBOT, name="kitchen", secret="693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"
    )
