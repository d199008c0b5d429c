"""``reach stats``: how many deliveries there were, what became of them and how long they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common import quieten_logs, refuse, run, settings, words
from cli.inputs import instant

if TYPE_CHECKING:
    from reach.notifier.v1 import statistics_pb2 as pb

    from shared.settings import Settings

GROUPS = {
    "type": "event_type",
    "rule": "rule",
    "role": "role",
    "priority": "priority",
    "channel": "channel",
    "store": "store",
}
"""What ``--by`` takes, and what the contract calls it."""


def stats(
    store: Annotated[str, typer.Option(metavar="ID", help="Only this store.")] = "",
    start: Annotated[
        str,
        typer.Option("--from", metavar="INSTANT", help="18:30, 2026-02-20, RFC 3339; empty: a day before."),
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="INSTANT", help="Up to then; empty: until now.")] = "",
    every: Annotated[Literal["hour", "day"] | None, typer.Option(help="Cut the period.")] = None,
    by: Annotated[str, typer.Option(metavar="A,B", help=f"Tell apart by: {', '.join(GROUPS)}.")] = "",
    zone: Annotated[
        str, typer.Option(metavar="NAME", help="Whose hours and days; empty: REACH_DEFAULT_ZONE.")
    ] = "",
    event_type: Annotated[str, typer.Option("--type", metavar="A,B", help="Only these event types.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Count a period's deliveries: what became of them, and how long they took."""
    groups = words(by)
    if unknown := [one for one in groups if one not in GROUPS]:
        refuse(f"--by {unknown[0]}: choose of {', '.join(GROUPS)}")
    quieten_logs()
    chosen = settings()
    request = _request(chosen, store, start, end, every, groups, zone)
    request.event_types.extend(words(event_type))
    answer = run(_ask(chosen, request))
    if as_json:
        from google.protobuf.json_format import MessageToJson

        shown = MessageToJson(answer, preserving_proto_field_name=True, ensure_ascii=False)
        typer.echo(shown)
    else:
        _show(answer, every, groups)


def _request(
    chosen: Settings, store: str, start: str, end: str, every: str | None, groups: list[str], zone: str
) -> pb.GetStatsRequest:
    from reach.notifier.v1 import statistics_pb2 as pb

    from shared.rpc.fields import to_timestamp

    request = pb.GetStatsRequest(
        store_id=store,
        zone=zone,
        bucket=pb.StatsBucket.Value(f"STATS_BUCKET_{every.upper() if every else 'UNSPECIFIED'}"),
        group_by=[pb.StatsGroup.Value(f"STATS_GROUP_{GROUPS[one].upper()}") for one in groups],
    )
    for option, given, field in (("--from", start, request.start_time), ("--to", end, request.end_time)):
        if given:
            field.CopyFrom(to_timestamp(instant(given, option, chosen.default_zone)))
    return request


async def _ask(chosen: Settings, request: pb.GetStatsRequest) -> pb.GetStatsResponse:
    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        answer: pb.GetStatsResponse = await stub.GetStats(request, timeout=30.0)
        return answer


_COUNTS = {
    "planned": "delivery",
    "accepted": "accepted",
    "failed": "failed",
    "unknown": "unknown",
    "expired": "expired",
    "suppressed": "suppressed",
    "cancelled": "cancelled",
    "waiting": "waiting",
    "retries": "retry",
    "clicked": "clicked",
    "acknowledged": "acknowledged",
}
"""Columns and what the contract calls them, without ``_count``."""

_ALWAYS = ("planned", "accepted", "failed", "unknown")
"""Those that are shown where they are 0 in every row, too."""


def _show(answer: pb.GetStatsResponse, every: str | None, groups: list[str]) -> None:
    from zoneinfo import ZoneInfo

    from cli.tables import console, show
    from cli.times import instant as at

    zone = ZoneInfo(answer.zone)
    began, ended = at(answer, "start_time"), at(answer, "end_time")
    assert began is not None
    assert ended is not None  # the contract says so
    console().print(
        f"{began.astimezone(zone):%Y-%m-%d %H:%M} to {ended.astimezone(zone):%Y-%m-%d %H:%M}, {answer.zone}"
    )
    form = "%Y-%m-%d" if every == "day" else "%Y-%m-%d %H:%M %Z"
    counts = {
        head: f"{name}_count"
        for head, name in _COUNTS.items()
        if head in _ALWAYS or any(getattr(row, f"{name}_count") for row in answer.rows)
    }
    rows = []
    for row in answer.rows:
        start = at(row, "start_time")
        assert start is not None
        cells = [start.astimezone(zone).strftime(form)] if every else []
        cells += [_group(row, one) for one in groups]
        cells += [str(getattr(row, name)) for name in counts.values()]
        cells.append(f"{row.success_ratio:.1%}" if row.HasField("success_ratio") else "-")
        cells += [_seconds(row.latency, name) for name in ("p50", "p95", "p99", "max")]
        rows.append(cells)
    heads = [*([every] if every else []), *groups, *counts, "success", "p50", "p95", "p99", "max"]
    show(heads, rows, empty="nothing was planned in that period")


def _group(row: pb.StatsRow, group: str) -> str:
    from reach.notifier.v1 import rule_pb2

    if group == "priority":
        return rule_pb2.Priority.Name(row.priority).removeprefix("PRIORITY_").lower()
    field = {"type": "event_type", "rule": "rule_id", "store": "store_id"}.get(group, group)
    return getattr(row, field) or "-"


def _seconds(latency: Any, name: str) -> str:
    if not latency.HasField(name):
        return "-"
    seconds = getattr(latency, name).ToTimedelta().total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
