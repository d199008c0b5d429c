"""``reach campaign report``, ``targets``, ``top-up``: what came of a campaign, and once more for whom it did not reach."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from cli.campaign_calls import ask, line, target_status, target_word, word
from cli.common import fail

if TYPE_CHECKING:
    from reach.campaign.v1 import report_pb2, target_pb2

_Id = Annotated[str, typer.Argument(metavar="ID", help="The campaign.")]
_Run = Annotated[
    str, typer.Option("--run", metavar="ID", help="Which run; empty: the real one, else the last dry one.")
]
_MOST = 200
"""Groups that are shown unless more are asked for."""


def report(
    campaign_id: _Id,
    run_id: _Run = "",
    csv: Annotated[
        str, typer.Option("--csv", metavar="FILE", help="Write all groups as a table; - is stdout.")
    ] = "",
    bom: Annotated[bool, typer.Option("--bom", help="With a byte order mark, for spreadsheets.")] = False,
    owners: Annotated[int, typer.Option(min=1, max=200, help="Owners to name.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Show what came of a campaign: how far its groups came, why not further, who is behind."""
    from reach.campaign.v1 import report_pb2

    if csv:
        request = report_pb2.ExportReportRequest(campaign_id=campaign_id, run_id=run_id, byte_order_mark=bom)
        count = _write(request, csv)
        typer.echo(f"{count} groups", err=csv == "-")
        return
    asked = report_pb2.GetReportRequest(campaign_id=campaign_id, run_id=run_id, owner_count=owners)
    found = ask(lambda stub: stub.GetReport(asked)).report
    if as_json:
        from google.protobuf.json_format import MessageToJson

        typer.echo(MessageToJson(found, preserving_proto_field_name=True, ensure_ascii=False))
    else:
        _show(found)


def targets(
    campaign_id: _Id,
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="sent, awaiting_owner, refused, …; repeat it."),
    ] = None,
    owner: Annotated[str, typer.Option(metavar="USERID", help="Only of this owner.")] = "",
    run_id: _Run = "",
    most: Annotated[int, typer.Option(min=1, help="Groups to show.")] = _MOST,
) -> None:
    """List the groups of a run, each with what became of it."""
    from reach.campaign.v1 import target_pb2

    from cli.tables import show
    from cli.times import local

    request = target_pb2.ListTargetsRequest(
        campaign_id=campaign_id,
        run_id=run_id,
        statuses=[target_status(one, "--status") for one in status or []],
        owner=owner,
        page_size=min(most, 200),
    )

    async def work(stub: Any) -> tuple[list[target_pb2.Target], bool]:
        found: list[target_pb2.Target] = []
        while len(found) < most:
            page = await stub.ListTargets(request)
            found += page.targets
            if not page.next_page_token:
                return found[:most], len(found) > most
            request.page_token = page.next_page_token
        return found[:most], True

    found, more = ask(work)
    rows = [
        (
            one.chat_id,
            one.name,
            one.owner,
            target_word(one.status),
            str(one.raw_status) if one.HasField("raw_status") else "-",
            one.reason or one.hold_reason or "-",
            str(one.errcode) if one.HasField("errcode") else "-",
            local(one, "ask_time") or "-",
            local(one, "send_time") or "-",
            one.error,
        )
        for one in found
    ]
    heads = ("group", "name", "owner", "status", "raw", "why", "errcode", "asked", "sent", "said")
    show(heads, rows, empty="no group of this run is like that")
    if more:
        typer.echo(f"and more; `reach campaign report {campaign_id} --csv FILE` writes all of them", err=True)


def top_up(
    campaign_id: _Id,
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUTCOME",
            help="owner_never_confirmed (which is meant where none is named), limit_reached, cancelled, refused; repeat it.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the new campaign.")] = "",
) -> None:
    """Write a new campaign, as a draft, for exactly the groups that this one has not reached."""
    from reach.campaign.v1 import top_up_pb2

    request = top_up_pb2.TopUpCampaignRequest(
        campaign_id=campaign_id,
        outcomes=[target_status(one, "--outcome") for one in outcome or []],
        name=name,
    )
    made = ask(lambda stub: stub.TopUpCampaign(request))
    typer.echo(f"{line(made.campaign)}; {made.group_count} groups")
    if made.left_count:
        typer.echo(f"{made.left_count} more found no place in it: call it once more")
    typer.echo(f"next: reach campaign submit {made.campaign.id}")


def _write(request: report_pb2.ExportReportRequest, to: str) -> int:
    """Write the table to *to*: all of it, or the file stays as it was; how many groups there are."""
    if to == "-":
        return _copy(request, sys.stdout.buffer)
    place = Path(to)
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as out:
            count = _copy(request, out)
        part.replace(place)
    except OSError as error:
        fail(f"--csv: cannot write {place}: {(error.strerror or type(error).__name__).lower()}")
    finally:
        part.unlink(missing_ok=True)
    return count


def _copy(request: report_pb2.ExportReportRequest, out: BinaryIO) -> int:
    async def work(stub: Any) -> int:
        count = 0
        async for part in stub.ExportReport(request):
            out.write(part.content)
            count += part.group_count
        out.flush()
        return count

    written: int = ask(work)
    return written


def _show(found: report_pb2.CampaignReport) -> None:
    from cli.tables import show
    from cli.times import local

    run = found.run
    kind, why = ("dry run" if run.dry else "run"), (f" ({found.reason})" if found.reason else "")
    typer.echo(f"{found.name}  {found.campaign_id}: {word(found.status)}{why}")
    typer.echo(f"{kind} {run.id} of {local(run, 'start_time')}, by {run.started_by or 'its schedule'}")
    end = local(found, "planned_end_time")
    typer.echo("final" if found.final else f"still moving; over by {end}" if end else "still moving")
    one = found.funnel
    share = f" ({one.coverage:.1%})" if one.HasField("coverage") else ""
    typer.echo(
        f"{one.audience} groups → {one.included} included → {one.asked} asked → {one.confirmed} confirmed → "
        f"{one.sent} sent{share}"
    )
    for left in found.excluded_reasons:
        typer.echo(f"  left out: {left.count} {left.reason}")
    typer.echo(", ".join(f"{one.count} {target_word(one.status)}" for one in found.statuses))
    if found.outcomes:
        show(
            ("not sent", "why", "errcode", "groups", "said of one"),
            list(map(_outcome, found.outcomes)),
            empty="",
        )
    others = [found.other_owners] if found.HasField("other_owners") else []
    heads = ("owner", "groups", "sent", "asked", "confirmed", "reminded", "half within", "90% within")
    show(heads, [_owner(one) for one in [*found.owners, *others]], empty="no owner")
    taken = found.time_to_confirm
    if taken.tasks:
        typer.echo(f"confirmed within {_span(taken, 'p50')} by half, {_span(taken, 'p90')} by nine of ten")
    for segment in found.segments:
        if segment.label:
            typer.echo(f"  {segment.label}: {segment.sent} sent of {segment.groups}")
    cost = found.ai_cost
    if cost.request_count:
        typer.echo(f"words by applications: {cost.total_tokens} tokens in {cost.request_count} requests")
    if found.top_up_of:
        typer.echo(f"a top-up of {found.top_up_of}")
    for child in found.top_ups:
        typer.echo(f"topped up by {child.campaign_id}: {child.group_count} groups, {word(child.status)}")


def _outcome(one: report_pb2.OutcomeCount) -> tuple[str, ...]:
    code = str(one.errcode) if one.HasField("errcode") else "-"
    return target_word(one.status), one.reason or "-", code, str(one.count), one.example


def _owner(one: report_pb2.OwnerResult) -> tuple[str, ...]:
    return (
        one.owner or f"{one.owner_count} others",
        str(one.groups),
        str(one.sent_groups),
        str(one.asked_tasks),
        str(one.confirmed_tasks),
        str(one.reminder_count),
        _span(one.time_to_confirm, "p50"),
        _span(one.time_to_confirm, "p90"),
    )


def _span(taken: report_pb2.TimeToConfirm, field: str) -> str:
    if not taken.HasField(field):  # type: ignore[arg-type]  # p50 or p90
        return "-"
    span: timedelta = getattr(taken, field).ToTimedelta()
    return str(span - timedelta(microseconds=span.microseconds))
