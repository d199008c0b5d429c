"""From a request for a report in the contract to what is to be sent."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from reach.notifier.v1 import monitor_report_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from services.notifier.domain.content import Content, Format
from services.notifier.domain.report.monitor import (
    CheckStatus,
    CodeBlock,
    Item,
    MonitorReport,
    Statistic,
    Table,
    Totals,
)
from services.notifier.domain.report.planner import Mentions
from services.notifier.domain.report.render import Draft
from services.notifier.usecases.messages import Report
from services.notifier.wire import FORMAT
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, from_duration, from_timestamp

CHECK: EnumMap[CheckStatus] = EnumMap(
    monitor_report_pb2.CheckStatus,
    {status: monitor_report_pb2.CheckStatus.Value(f"CHECK_STATUS_{status.name}") for status in CheckStatus},
)


def from_report(request: pb.SendReportRequest) -> Report:
    """What is to be sent in pages. Raises Invalid naming what cannot be."""
    mentions = Mentions(
        tuple(request.mentions.userids), tuple(request.mentions.mobiles), request.mentions.all
    ).checked()
    record: dict[str, object] = {}
    if mentions:
        record["mentions"] = MessageToDict(request.mentions, preserving_proto_field_name=True)
    if request.WhichOneof("content") == "body":
        form = FORMAT.to_domain_or(request.format, Format.TEXT, "format")
        record |= {**Content(form, request.body).to_json(), "title": request.title}
        return Report(Draft(form, request.title, request.body), form, mentions, record)
    if request.title:
        raise Invalid.field("title", "is for a body; a report has a title of its own, so leave this empty")
    wanted = FORMAT.to_domain(request.format, "format") if request.format else None
    record |= {
        "report": MessageToDict(request.report, preserving_proto_field_name=True),
        "format": str(wanted or ""),
    }
    return Report(_monitor_report(request.report), wanted, mentions, record)


def _monitor_report(wire: monitor_report_pb2.MonitorReport) -> MonitorReport:
    report = MonitorReport(
        wire.title,
        observed_at=(
            from_timestamp(wire.observe_time, "report.observe_time")
            if wire.HasField("observe_time")
            else None
        ),
        totals=_totals(wire.totals) if wire.HasField("totals") else None,
        items=tuple(_item(one, f"report.items[{at}]") for at, one in enumerate(wire.items)),
        statistics=tuple(Statistic(one.name, one.value) for one in wire.statistics),
        tables=tuple(
            Table(one.title, tuple(one.columns), tuple(tuple(row.cells) for row in one.rows))
            for one in wire.tables
        ),
        code_blocks=tuple(CodeBlock(one.title, one.language, one.code) for one in wire.code_blocks),
        footer=wire.footer,
    )
    return report.checked()


def _totals(wire: monitor_report_pb2.MonitorTotals) -> Totals:
    rate = wire.success_rate if wire.HasField("success_rate") else None
    return Totals(wire.total_count, wire.success_count, wire.failure_count, rate)


def _item(wire: monitor_report_pb2.MonitorItem, field: str) -> Item:
    latency = from_duration(wire.latency, f"{field}.latency") if wire.HasField("latency") else None
    return Item(
        wire.name,
        CHECK.to_domain(wire.status, f"{field}.status"),
        latency,
        wire.http_status,
        wire.error_code,
        wire.error,
    )
