"""Messages and reports that somebody writes: every form to every kind of address, previews, lists and watching."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import delivery_pb2, explain_pb2, rule_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import (
    EXAMPLES,
    STORE,
    TELLS,
    Reach,
    Sandbox,
    refused,
    robot,
    seconds,
    struct,
    user,
)

KEY = "robot-key-1234567890"
PARTY = target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id="7")
TAG = target_pb2.Target(kind=target_pb2.TARGET_KIND_TAG, id="9")
CARD = pb.TextCard(title="领奖", description="恭喜", url="https://example.com/a?b=c", button_text="查看")


@pytest.fixture
async def desk(bare: Reach) -> Reach:
    """With a robot, and nobody holding a role."""
    await bare.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret=KEY)
    )
    return bare


async def _send(reach: Reach, *targets: Any, **fields: Any) -> Any:
    request = pb.SendMessageRequest(store_id=STORE, targets=targets, wait=seconds(5), **fields)
    return await reach.notifier.SendMessage(request)


@pytest.mark.parametrize(
    "target", [user("anna"), PARTY, TAG, robot("front")], ids=["user", "party", "tag", "robot"]
)
@pytest.mark.parametrize("form", ["text", "markdown", "textcard"])
async def test_each_form_to_each_kind_of_address(
    desk: Reach, world: Sandbox, target: target_pb2.Target, form: str
) -> None:
    content: Any = CARD if form == "textcard" else "**你好**，<@anna>"
    if form == "textcard" and target.kind == target_pb2.TARGET_KIND_ROBOT:
        code, error = await refused(_send(desk, target, textcard=content))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert error.violations
        assert await world.sends() == []
        return
    sent = await _send(desk, target, **{form: content})
    assert sent.verdict == explain_pb2.VERDICT_PLANNED
    (delivery,) = sent.deliveries
    assert delivery.status == delivery_pb2.DELIVERY_STATUS_ACCEPTED
    assert (delivery.event_id, delivery.event_type) == (sent.message_id, "message")
    (call,) = await world.sends()
    assert call["body"]["msgtype"] == form
    inner = call["body"][form]
    if form == "textcard":
        assert (inner["title"], inner["url"], inner["btntxt"]) == ("领奖", CARD.url, "查看")
        assert inner["description"].startswith("恭喜\n#")
    else:
        # What an operator wrote keeps its meaning.
        assert inner["content"].startswith("**你好**，<@anna>")
    whole = (
        await desk.notifier.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery.delivery_id))
    ).delivery
    assert whole.text == (inner["description"] if form == "textcard" else inner["content"])
    assert len(whole.attempts) == whole.attempt_count == 1


async def test_somebody_named_directly_and_by_role_is_told_once(desk: Reach, world: Sandbox) -> None:
    await desk.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(role="manager", targets=[user("anna"), user("bob")])
    )
    sent = await _send(desk, user("anna"), text="x", roles=["manager"])
    (delivery,) = sent.deliveries
    assert {(one.target.id, one.role) for one in delivery.recipients} == {("anna", ""), ("bob", "manager")}
    assert len(await world.messages()) == 2


async def test_a_role_nobody_holds_is_said(desk: Reach) -> None:
    sent = await _send(desk, text="x", roles=["manager"])
    assert sent.verdict == explain_pb2.VERDICT_NO_RECIPIENT
    assert not sent.deliveries


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "x"}, "targets"),
        ({"targets": [user("a")]}, "content"),
        ({"targets": [user("a")], "text": ""}, "text"),
        ({"targets": [user("a")], "text": "x", "roles": ["waiter"]}, "roles[0]"),
        ({"targets": [user("a")], "text": "x", "wait": seconds(11)}, "wait"),
        (
            {"targets": [user("a")], "textcard": pb.TextCard(title="t", description="d", url="javascript:x")},
            "textcard.url",
        ),
        (
            {
                "targets": [user("a")],
                "textcard": pb.TextCard(title="字" * 50, description="d", url="https://x"),
            },
            "textcard.title",
        ),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_its_field(
    desk: Reach, world: Sandbox, fields: dict[str, Any], field: str
) -> None:
    code, error = await refused(desk.notifier.SendMessage(pb.SendMessageRequest(store_id=STORE, **fields)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in [one.field for one in error.violations]
    assert await world.sends() == []


@pytest.mark.parametrize("target", [user("anna"), robot("front")], ids=["app", "robot"])
@pytest.mark.parametrize("form", [rule_pb2.FORMAT_TEXT, rule_pb2.FORMAT_MARKDOWN], ids=["text", "markdown"])
async def test_a_report_arrives_in_numbered_pages_in_order_with_nothing_lost(
    desk: Reach, world: Sandbox, target: target_pb2.Target, form: int
) -> None:
    lines = [f"第{at:03}行 营业额与客流对比，午市与晚市分别统计" for at in range(150)]
    answer = await desk.notifier.SendReport(
        pb.SendReportRequest(
            store_id=STORE,
            targets=[target],
            title="日报",
            body="\n".join(lines),
            format=form,
            wait=seconds(10),
        )
    )
    assert answer.page_count > 2
    assert [one.part for one in answer.deliveries] == list(range(1, answer.page_count + 1))
    assert {one.status for one in answer.deliveries} == {delivery_pb2.DELIVERY_STATUS_ACCEPTED}
    to = KEY if target.kind == target_pb2.TARGET_KIND_ROBOT else "anna"
    pages = [message["content"]["content"] for message in await world.messages(to)]
    assert len(pages) == answer.page_count
    limit = 4096 if (to, form) == (KEY, rule_pb2.FORMAT_MARKDOWN) else 2048
    assert all(len(page.encode()) <= limit for page in pages)
    assert all("日报" in page for page in pages)
    assert all(f"{at}/{len(pages)}" in page for at, page in enumerate(pages, start=1))
    text = "\n".join(pages)
    places = [text.index(line) for line in lines]
    assert places == sorted(places)


async def test_a_report_of_too_many_pages_is_refused(desk: Reach) -> None:
    request = pb.SendReportRequest(store_id=STORE, targets=[user("a")], body="字" * 66_000)
    answer = await desk.notifier.SendReport(request)
    assert answer.page_count == len({one.part for one in answer.deliveries}) <= 100
    card = pb.SendReportRequest(
        store_id=STORE, targets=[user("a")], body="x", format=rule_pb2.FORMAT_TEXTCARD
    )
    assert (await refused(desk.notifier.SendReport(card)))[0] == grpc.StatusCode.INVALID_ARGUMENT


# --- Preview --------------------------------------------------------------------------------------------


async def test_a_preview_is_what_is_then_sent_and_causes_nothing(reach: Reach, world: Sandbox) -> None:
    for at, event_type in enumerate(TELLS):
        store = f"s-{event_type}"  # each in a store of its own, so that nothing recorded is to be seen
        request = pb.PreviewPushRequest(
            event_type=event_type, event_data=struct(EXAMPLES[event_type]), store_id=store
        )
        preview = await reach.notifier.PreviewPush(request)
        assert preview.verdict == explain_pb2.VERDICT_PLANNED
        by_example = pb.PreviewPushRequest(event_type=event_type, store_id=store)
        assert [one.rule_id for one in (await reach.notifier.PreviewPush(by_example)).calls] == [event_type]
        assert len(await world.sends()) == at
        assert not (await reach.notifier.ListDeliveries(pb.ListDeliveriesRequest(store_id=store))).deliveries
        (call,) = preview.calls
        taken = await reach.push(event_type, store=store)
        sent = (await world.sends())[-1]
        shown, real = json.loads(call.payload_json), sent["body"]
        words, marked = call.text.rpartition("\n")[0], real["text"]["content"].rpartition("\n")
        assert words == marked[0]
        assert call.byte_count == len(real["text"]["content"].encode())
        assert call.byte_limit == 2048
        for body in (shown, real):
            body.pop("agentid")
            body["text"]["content"] = body["text"]["content"].rpartition("\n")[0]
        assert shown == real
        (delivery,) = taken.deliveries
        assert (call.channel, call.priority) == (delivery.channel, delivery.priority)
        planned, told = ([one.target.id for one in where.recipients] for where in (call, delivery))
        assert sorted(planned) == sorted(told)


async def test_a_preview_tells_why_nothing_would_go(bare: Reach) -> None:
    nobody = await bare.notifier.PreviewPush(pb.PreviewPushRequest(event_type="order.created"))
    assert nobody.verdict == explain_pb2.VERDICT_NO_RECIPIENT
    assert "no_recipient" in [step.code for step in nobody.steps]
    await bare.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created"))
    off = await bare.notifier.PreviewPush(pb.PreviewPushRequest(event_type="order.created"))
    assert off.verdict == explain_pb2.VERDICT_RULE_DISABLED
    none = pb.PreviewPushRequest(event_type="parking.full", event_data=struct({"a": 1}))
    assert (await bare.notifier.PreviewPush(none)).verdict == explain_pb2.VERDICT_NO_RULE
    code, error = await refused(bare.notifier.PreviewPush(pb.PreviewPushRequest(event_type="parking.full")))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "event_data")
    wrong = pb.PreviewPushRequest(event_type="order.created", event_data=struct({"total": "much"}))
    assert (await refused(bare.notifier.PreviewPush(wrong)))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_preview_shows_the_limit_that_would_hold_it(desk: Reach, world: Sandbox) -> None:
    await desk.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(role="kitchen_staff", targets=[robot("front")])
    )
    request = pb.PreviewPushRequest(event_type="order.created")
    assert not (await desk.notifier.PreviewPush(request)).calls[0].HasField("earliest_time")
    for _ in range(19):
        await desk.push(wait=0)
    await world.arrived(19)
    (call,) = (await desk.notifier.PreviewPush(request)).calls
    assert call.held_by == "minute"
    assert call.HasField("earliest_time")
    assert KEY not in call.payload_json


# --- Lists and watching ---------------------------------------------------------------------------------


async def test_deliveries_are_listed_newest_first_in_pages_and_by_filter(desk: Reach, world: Sandbox) -> None:
    await desk.staff()
    ids = [(await desk.push(event_id=f"e{at}")).deliveries[0].delivery_id for at in range(5)]
    await desk.push("order.completed", event_id="c1", store="s2")
    await world.fault(path="/cgi-bin/message/send", errcode=81013)
    await desk.push("order.cancelled", event_id="x1")

    async def listed(**wanted: Any) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            request = pb.ListDeliveriesRequest(page_size=2, page_token=token, **wanted)
            page = await desk.notifier.ListDeliveries(request)
            assert len(page.deliveries) <= 2
            assert not any(one.text or one.attempts for one in page.deliveries)
            found += [one.event_id for one in page.deliveries]
            token = page.next_page_token
            if not token:
                return found

    assert await listed() == ["x1", "c1", "e4", "e3", "e2", "e1", "e0"]
    assert await listed(store_id="s2") == ["c1"]
    assert await listed(event_id="e3") == ["e3"]
    assert await listed(event_type="order.created") == ["e4", "e3", "e2", "e1", "e0"]
    assert await listed(statuses=[delivery_pb2.DELIVERY_STATUS_FAILED]) == ["x1"]
    third = (await desk.notifier.GetDelivery(pb.GetDeliveryRequest(delivery_id=ids[2]))).delivery
    assert await listed(start_time=third.create_time) == ["x1", "c1", "e4", "e3", "e2"]
    assert await listed(end_time=third.create_time) == ["e1", "e0"]
    first = await desk.notifier.ListDeliveries(pb.ListDeliveriesRequest(page_size=2))
    other = pb.ListDeliveriesRequest(page_size=2, store_id="s2", page_token=first.next_page_token)
    assert (await refused(desk.notifier.ListDeliveries(other)))[1].reason == "PAGE_TOKEN_INVALID"
    code, error = await refused(desk.notifier.GetDelivery(pb.GetDeliveryRequest(delivery_id="none")))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_watcher_sees_each_end_and_stops_cleanly(reach: Reach, world: Sandbox) -> None:
    watching = reach.notifier.WatchDeliveries(pb.WatchDeliveriesRequest(store_id=STORE))
    ends = reach.notifier.WatchDeliveries(
        pb.WatchDeliveriesRequest(
            event_types=["order.created"],
            statuses=[delivery_pb2.DELIVERY_STATUS_ACCEPTED, delivery_pb2.DELIVERY_STATUS_FAILED],
        )
    )
    for stream in (watching, ends):
        await stream.wait_for_connection()
    await world.fault(path="/cgi-bin/message/send", errcode=-1, count=1)
    await reach.push(event_id="w1", wait=0)
    seen: list[int] = []
    async with asyncio.timeout(10):
        while delivery_pb2.DELIVERY_STATUS_ACCEPTED not in seen:
            change = (await watching.read()).delivery
            assert change.event_id == "w1"
            seen.append(change.status)
        assert delivery_pb2.DELIVERY_STATUS_DEFERRED in seen
        await reach.push("order.completed", event_id="w2")
        await world.fault(path="/cgi-bin/message/send", errcode=81013)
        await reach.push(event_id="w3")
        got = [(await ends.read()).delivery for _ in range(2)]
    assert [(one.event_id, one.status) for one in got] == [
        ("w1", delivery_pb2.DELIVERY_STATUS_ACCEPTED),
        ("w3", delivery_pb2.DELIVERY_STATUS_FAILED),
    ]
    watching.cancel()
    ends.cancel()
    assert await watching.code() == grpc.StatusCode.CANCELLED
    assert (await reach.push(event_id="w4", data=EXAMPLES["order.created"], wait=0)).event_id == "w4"
