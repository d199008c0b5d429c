"""A monitor's report through the RPC: planned, previewed, posted in order, and people really called by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from reach.notifier.v1 import delivery_pb2, explain_pb2, monitor_report_pb2, rule_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import STORE, Reach, Sandbox, create_tokens, embedded, refused, robot, seconds, user

KEY = "robot-key-1234567890"
ROWS = 60
PEOPLE = pb.Mentions(userids=["lisi"], mobiles=["13800138000"])
LIMITS = {"text": 2048, "markdown": 4096, "markdown_v2": 4096}
FAILED = monitor_report_pb2.CHECK_STATUS_FAILED


@pytest.fixture
async def desk(bare: Reach, world: Sandbox) -> Reach:
    """With a robot, and a group in which two people can be mentioned."""
    await bare.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="watch", secret=KEY)
    )
    await world.declare(
        users=[{"userid": "lisi"}, {"userid": "zhaoliu", "mobile": "13800138000"}],
    )
    return bare


def item(at: int) -> monitor_report_pb2.MonitorItem:
    latency = Duration()
    latency.FromMilliseconds(100 + at)
    return monitor_report_pb2.MonitorItem(
        name=f"GET /shops/{at:03}/orders",
        status=FAILED,
        latency=latency,
        http_status=502,
        error="上游没有应答",
    )


def monitor_report(rows: int = ROWS, **more: Any) -> monitor_report_pb2.MonitorReport:
    fields: dict[str, Any] = {
        "title": "接口监控告警",
        "totals": monitor_report_pb2.MonitorTotals(total_count=rows, failure_count=rows),
        "items": [item(at) for at in range(rows)],
        "footer": "由接口监控系统自动发送",
        **more,
    }
    return monitor_report_pb2.MonitorReport(**fields)


def table(rows: int) -> monitor_report_pb2.ReportTable:
    return monitor_report_pb2.ReportTable(
        title="按门店",
        columns=["门店", "备注"],
        rows=[
            monitor_report_pb2.ReportRow(cells=[f"门店 {at:03}", "专线不稳，已报修"]) for at in range(rows)
        ],
    )


def asked(**fields: Any) -> pb.SendReportRequest:
    given = {"store_id": STORE, "targets": [robot("watch")], "wait": seconds(10), **fields}
    return pb.SendReportRequest(**given)


def posted(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["msgtype"], one["content"]["content"]) for one in messages]


def planned(answer: pb.SendReportResponse) -> list[dict[str, Any]]:
    return [json.loads(call.payload_json) for call in answer.calls]


@pytest.mark.parametrize(
    ("form", "sent_as"),
    [
        (rule_pb2.FORMAT_UNSPECIFIED, "markdown_v2"),
        (rule_pb2.FORMAT_MARKDOWN, "markdown"),
        (rule_pb2.FORMAT_TEXT, "text"),
    ],
    ids=["open", "markdown", "text"],
)
async def test_a_long_report_arrives_in_order_within_its_limits_and_calls_both_people(
    desk: Reach, world: Sandbox, form: int, sent_as: str
) -> None:
    request = asked(report=monitor_report(tables=[table(ROWS)]), mentions=PEOPLE, format=form)
    request.preview_only = True
    preview = await desk.notifier.SendReport(request)
    assert await world.sends() == []
    assert preview.verdict == explain_pb2.VERDICT_PLANNED
    assert not preview.message_id
    assert not preview.deliveries

    request.preview_only = False
    answer = await desk.notifier.SendReport(request)
    assert {one.status for one in answer.deliveries} == {delivery_pb2.DELIVERY_STATUS_ACCEPTED}
    messages = await world.messages(KEY)
    pages = [text for kind, text in posted(messages) if kind == sent_as]
    assert len(pages) == answer.page_count == preview.page_count > 1
    assert all(len(page.encode()) <= LIMITS[sent_as] for page in pages)
    assert [page.split("\n")[0].rpartition(" ")[2] for page in pages] == [
        f"({at}/{len(pages)})" for at in range(1, len(pages) + 1)
    ]
    text = "\n".join(pages)
    for at in range(ROWS):
        (line,) = [line for line in text.split("\n") if f"/shops/{at:03}/" in line]
        assert f"{100 + at} ms" in line
        assert "上游没有应答" in line
        assert len([line for line in text.split("\n") if f"门店 {at:03}" in line]) == 1

    # Both are called by name once, when everything is there.
    assert [set(message["mentions"]) for message in messages[:-1]] == [set()] * (len(messages) - 1)
    assert set(messages[-1]["mentions"]) == {"lisi", "zhaoliu"}
    # Only markdown_v2 mentions nobody among its words; the number's member is looked up for the others.
    with_companion = sent_as == "markdown_v2"
    assert len(messages) == answer.page_count + with_companion
    numbers = list(range(1, answer.page_count + 1)) + [0] * with_companion
    assert [one.part for one in answer.deliveries] == numbers

    assert planned(preview) == [call["body"] for call in await world.sends()]
    assert [call.byte_limit for call in preview.calls][: len(pages)] == [LIMITS[sent_as]] * len(pages)
    assert all(call.byte_count <= call.byte_limit for call in preview.calls)


async def test_a_member_is_mentioned_in_markdown_itself(desk: Reach, world: Sandbox) -> None:
    answer = await desk.notifier.SendReport(
        asked(report=monitor_report(), mentions=pb.Mentions(userids=["lisi"]))
    )
    messages = await world.messages(KEY)
    assert {one["msgtype"] for one in messages} == {"markdown"}
    assert len(messages) == answer.page_count == len(answer.deliveries)
    assert [one["mentions"] for one in messages] == [[]] * (len(messages) - 1) + [["lisi"]]


async def test_a_values_mention_mentions_nobody(desk: Reach, world: Sandbox) -> None:
    nasty = monitor_report(1, title="<@all>", footer="<@lisi> [a](https://evil.example)")
    nasty.items[0].error = "<@lisi>"
    for form in (rule_pb2.FORMAT_TEXT, rule_pb2.FORMAT_MARKDOWN, rule_pb2.FORMAT_MARKDOWN_V2):
        await desk.notifier.SendReport(asked(report=nasty, format=form))
    messages = await world.messages(KEY)
    assert len(messages) == 3
    assert not any(one["mentions"] for one in messages)
    assert not any("<@" in text or "://" in text for _, text in posted(messages))


async def test_a_persons_own_message_has_the_form_its_channel_has(desk: Reach, world: Sandbox) -> None:
    request = asked(
        targets=[robot("watch"), user("lisi")], report=monitor_report(3, tables=[table(2)]), mentions=PEOPLE
    )
    answer = await desk.notifier.SendReport(request)
    assert {(one.channel, one.format, one.part) for one in answer.deliveries} == {
        ("robot:watch", rule_pb2.FORMAT_MARKDOWN_V2, 1),
        ("robot:watch", rule_pb2.FORMAT_TEXT, 0),
        ("app:default", rule_pb2.FORMAT_MARKDOWN, 1),
    }
    assert posted(await world.messages("lisi"))[0][0] == "markdown"


async def test_a_role_held_by_a_robot_is_planned_for_as_well(desk: Reach, world: Sandbox) -> None:
    await desk.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(role="tech_support", targets=[robot("watch")])
    )
    request = asked(targets=[], roles=["tech_support"], report=monitor_report(1), mentions=PEOPLE)
    await desk.notifier.SendReport(request)
    assert set((await world.messages(KEY))[-1]["mentions"]) == {"lisi", "zhaoliu"}


async def test_a_stated_form_that_a_roles_holder_cannot_get_is_refused(desk: Reach, world: Sandbox) -> None:
    await desk.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(role="manager", targets=[robot("watch"), user("lisi")])
    )
    for preview in (True, False):
        request = asked(
            targets=[],
            roles=["manager"],
            report=monitor_report(1),
            format=rule_pb2.FORMAT_MARKDOWN_V2,
            preview_only=preview,
        )
        code, error = await refused(desk.notifier.SendReport(request))
        assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "format")
    assert await world.sends() == []


async def test_words_that_somebody_wrote_go_as_markdown_v2_too(desk: Reach, world: Sandbox) -> None:
    body = "| 号 | 值 |\n| --- | --- |\n" + "\n".join(f"| {at} | {'值' * 20} |" for at in range(120))
    request = asked(title="日报", body=body, format=rule_pb2.FORMAT_MARKDOWN_V2, mentions=PEOPLE)
    answer = await desk.notifier.SendReport(request)
    *pages, last = await world.messages(KEY)
    assert len(pages) == answer.page_count > 1
    assert all("| --- | --- |" in text for _, text in posted(pages))
    assert set(last["mentions"]) == {"lisi", "zhaoliu"}
    sent = pb.SendMessageRequest(
        store_id=STORE, targets=[robot("watch")], markdown_v2="- 甲\n  - 乙", wait=seconds(5)
    )
    await desk.notifier.SendMessage(sent)
    assert posted(await world.messages(KEY))[-1] == ("markdown_v2", "- 甲\n  - 乙")


async def test_a_preview_shows_which_pages_the_robots_rate_would_hold(desk: Reach, world: Sandbox) -> None:
    code = monitor_report_pb2.ReportCode(code="\n".join(f"{at:04} " + "x" * 90 for at in range(190)))
    code_blocks = [code] * 5
    request = asked(report=monitor_report(1, code_blocks=code_blocks), mentions=PEOPLE, preview_only=True)
    preview = await desk.notifier.SendReport(request)
    assert len(preview.calls) == preview.page_count + 1 > 20
    held = [call.held_by for call in preview.calls]
    assert held == [""] * 19 + ["minute"] * (len(held) - 19)
    assert await world.sends() == []
    assert not (await desk.notifier.ListDeliveries(pb.ListDeliveriesRequest())).deliveries


async def test_the_same_key_sends_once_and_another_report_under_it_is_refused(
    desk: Reach, world: Sandbox
) -> None:
    request = asked(report=monitor_report(1), idempotency_key="k1")
    first, again = [await desk.notifier.SendReport(request) for _ in range(2)]
    assert first.message_id == again.message_id
    assert len(await world.messages(KEY)) == 1
    for other in (
        asked(report=monitor_report(2), idempotency_key="k1"),
        asked(report=monitor_report(1), idempotency_key="k1", mentions=PEOPLE),
        asked(report=monitor_report(1), idempotency_key="k1", format=rule_pb2.FORMAT_TEXT),
    ):
        assert (await refused(desk.notifier.SendReport(other)))[1].reason == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "content"),
        ({"report": monitor_report(1), "title": "日报"}, "title"),
        ({"report": monitor_report(1, title=" ")}, "report.title"),
        ({"report": monitor_report(1, title="字" * 41)}, "report.title"),
        ({"report": monitor_report_pb2.MonitorReport(title="t")}, "report"),
        ({"report": monitor_report(501)}, "report.items"),
        (
            {"report": monitor_report(1, items=[monitor_report_pb2.MonitorItem(name="a")])},
            "report.items[0].status",
        ),
        (
            {"report": monitor_report(1), "targets": [user("lisi")], "format": rule_pb2.FORMAT_MARKDOWN_V2},
            "format",
        ),
        ({"report": monitor_report(1), "format": rule_pb2.FORMAT_TEXTCARD}, "format"),
        ({"report": monitor_report(1), "targets": [user("lisi")], "mentions": PEOPLE}, "mentions"),
        ({"body": "x", "mentions": pb.Mentions(userids=["@all"])}, "mentions.userids[0]"),
        ({"body": "x", "mentions": pb.Mentions(userids=["a>b"])}, "mentions.userids[0]"),
        ({"body": "x", "mentions": pb.Mentions(mobiles=["138-0013"])}, "mentions.mobiles[0]"),
    ],
)
@pytest.mark.parametrize("preview", [True, False])
async def test_what_cannot_be_sent_is_refused_by_its_field(
    desk: Reach, world: Sandbox, fields: dict[str, Any], field: str, preview: bool
) -> None:
    code, error = await refused(desk.notifier.SendReport(asked(**fields, preview_only=preview)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in [one.field for one in error.violations]
    assert await world.sends() == []


async def test_mentioning_everybody_needs_the_scope_for_it(world: Sandbox, tmp_path: Path) -> None:
    every = ["notify.send", "notify.send_all", "config.admin"]
    tokens = await create_tokens(tmp_path / "home", {"one": (every[:1], ["*"]), "all": (every, ["*"])})
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as reach:
        one, everybody = reach.bearing(tokens["one"]), reach.bearing(tokens["all"])
        await everybody.ops.SetCredential(
            ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="watch", secret=KEY)
        )
        request = asked(report=monitor_report(1), mentions=pb.Mentions(all=True))
        code, error = await refused(one.notifier.SendReport(request))
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        await everybody.notifier.SendReport(request)
        await one.close()
        await everybody.close()
    assert (await world.messages(KEY))[-1]["mentions"] == ["@all"]
