"""``reach campaign``: what a person does with a campaign that is written: see it, approve it, run it, stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import campaign_reports
from cli.campaign_calls import ask as _ask
from cli.campaign_calls import line as _line
from cli.campaign_calls import status as _status
from cli.campaign_calls import word as _word
from cli.common import refuse

if TYPE_CHECKING:
    from reach.campaign.v1 import campaign_pb2, preview_pb2

app = typer.Typer(
    help="Mass-sends to customer groups: see, approve, run, stop them; what came of them.",
    no_args_is_help=True,
)
app.command("report")(campaign_reports.report)
app.command("targets")(campaign_reports.targets)
app.command("top-up")(campaign_reports.top_up)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The campaign.")]
_Comment = Annotated[str, typer.Option(help="For whoever reads its history.")]
_SHOWN = 60
"""Characters of a name in a table."""


@app.command("list")
def list_campaigns(
    store: Annotated[str, typer.Option(metavar="ID", help="Only of this store.")] = "",
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="draft, running, finished, …; repeat it.")
    ] = None,
) -> None:
    """List campaigns, the newest first."""
    from reach.campaign.v1 import writing_pb2

    from cli.tables import show
    from cli.times import local

    async def work(stub: Any) -> list[campaign_pb2.Campaign]:
        request = writing_pb2.ListCampaignsRequest(
            store_id=store, statuses=[_status(one) for one in status or []], page_size=200
        )
        return list((await stub.ListCampaigns(request)).campaigns)

    rows = [
        (
            one.id,
            one.store_id,
            _word(one.status),
            str(one.version),
            one.spec.name[:_SHOWN],
            one.created_by,
            local(one, "create_time"),
        )
        for one in _ask(work)
    ]
    heads = ("id", "store", "status", "version", "name", "by", "created")
    show(heads, rows, empty="no campaign yet")


@app.command("preview")
def preview(campaign_id: _Id) -> None:
    """Show what a campaign would do: words, groups, hours, and what is still in its way."""
    from reach.campaign.v1 import preview_pb2

    request = preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id, page_size=20)
    _show_preview(_ask(lambda stub: stub.PreviewCampaign(request)))


@app.command("submit")
def submit(campaign_id: _Id) -> None:
    """Freeze the groups of a draft and ask that somebody else approve it."""
    from reach.campaign.v1 import approval_pb2

    request = approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id)
    done = _ask(lambda stub: stub.SubmitCampaign(request))
    typer.echo(f"{_line(done.campaign)}; {done.campaign.group_count} groups, {done.excluded_count} left out")
    typer.echo(f"to be approved by somebody else: {done.campaign.content_hash}")


@app.command("approve")
def approve(
    campaign_id: _Id,
    seen: Annotated[
        str,
        typer.Option("--hash", metavar="HASH", help="What `preview` showed; empty: it is shown and asked."),
    ] = "",
    comment: _Comment = "",
) -> None:
    """Approve exactly what was seen; needs a person's token (REACH_TOKEN) who logged in lately (`reach token login`)."""
    from reach.campaign.v1 import approval_pb2, preview_pb2

    if not seen:
        request = preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id, page_size=20)
        shown = _ask(lambda stub: stub.PreviewCampaign(request))
        _show_preview(shown)
        if not typer.confirm("approve this?"):
            refuse("nothing was approved")
        seen = shown.content_hash
    approving = approval_pb2.ApproveCampaignRequest(
        campaign_id=campaign_id, content_hash=seen, comment=comment
    )
    done = _ask(lambda stub: stub.ApproveCampaign(approving))
    from cli.times import local

    typer.echo(
        f"{_line(done.campaign)}, by {done.approval.approver}; holds until {local(done.approval, 'expire_time')}"
    )


@app.command("reject")
def reject(
    campaign_id: _Id, comment: Annotated[str, typer.Option(help="Why, for those who write it.")]
) -> None:
    """Give a campaign back to those who write it."""
    from reach.campaign.v1 import approval_pb2

    request = approval_pb2.RejectCampaignRequest(campaign_id=campaign_id, comment=comment)
    typer.echo(_line(_ask(lambda stub: stub.RejectCampaign(request)).campaign))


@app.command("run")
def run_campaign(
    campaign_id: _Id,
    live: Annotated[bool, typer.Option("--live", help="Really; without it a dry run.")] = False,
) -> None:
    """Run a campaign: dry, unless --live is given and the deployment allows it."""
    from reach.campaign.v1 import running_pb2

    request = running_pb2.RunCampaignRequest(campaign_id=campaign_id, confirm_live=live)
    done = _ask(lambda stub: stub.RunCampaign(request))
    kind = "dry run" if done.dry else "run"
    typer.echo(f"{_line(done.campaign)}; {kind} {done.run_id}" if done.run_id else _line(done.campaign))


@app.command("pause")
def pause(campaign_id: _Id, comment: _Comment = "") -> None:
    """Hold a running campaign."""
    from reach.campaign.v1 import running_pb2

    request = running_pb2.PauseCampaignRequest(campaign_id=campaign_id, comment=comment)
    typer.echo(_line(_ask(lambda stub: stub.PauseCampaign(request)).campaign))


@app.command("resume")
def resume(campaign_id: _Id, comment: _Comment = "") -> None:
    """Let a paused campaign go on."""
    from reach.campaign.v1 import running_pb2

    request = running_pb2.ResumeCampaignRequest(campaign_id=campaign_id, comment=comment)
    typer.echo(_line(_ask(lambda stub: stub.ResumeCampaign(request)).campaign))


@app.command("cancel")
def cancel(campaign_id: _Id, comment: _Comment = "") -> None:
    """Stop a campaign for good; what owners have not confirmed is cancelled at the platform."""
    from reach.campaign.v1 import running_pb2

    request = running_pb2.CancelCampaignRequest(campaign_id=campaign_id, comment=comment)
    typer.echo(_line(_ask(lambda stub: stub.CancelCampaign(request)).campaign))


@app.command("history")
def history(campaign_id: _Id) -> None:
    """Show all that happened to a campaign: versions, moves, approvals."""
    from reach.campaign.v1 import approval_pb2

    from cli.tables import show
    from cli.times import local

    request = approval_pb2.ListCampaignHistoryRequest(campaign_id=campaign_id, page_size=200)
    found = _ask(lambda stub: stub.ListCampaignHistory(request)).entries
    rows = [(local(one, "time"), str(one.version), one.subject or "-", *_happened(one)) for one in found]
    show(("time", "version", "by", "what", "why"), rows, empty="nothing happened to it")


def _happened(entry: Any) -> tuple[str, str]:
    what = entry.WhichOneof("what")
    if what == "move":
        moved = f"{_word(entry.move.before)} → {_word(entry.move.after)}"
        return moved, " ".join(filter(None, (entry.move.reason, entry.move.comment)))
    if what == "written":
        return entry.written.how, ""
    from reach.campaign.v1 import approval_pb2

    decision = approval_pb2.ApprovalDecision.Name(entry.approval.decision)
    return decision.removeprefix("APPROVAL_DECISION_").lower(), entry.approval.comment


def _show_preview(shown: preview_pb2.PreviewCampaignResponse) -> None:
    from cli.tables import show
    from cli.times import local

    one = shown.campaign
    typer.echo(f"{one.spec.name}  {_line(one)}, by {one.created_by}")
    typer.echo(one.spec.content.text)
    for attachment in one.spec.content.attachments:
        typer.echo(f"  + {attachment.WhichOneof('kind')}")
    frozen = "frozen" if shown.frozen else "as of now"
    typer.echo(
        f"{shown.group_count} groups of {shown.owner_count} owners ({frozen}), {shown.excluded_count} left out, "
        f"{shown.no_slot_count} with no slot today; {shown.task_count} tasks"
    )
    for reason in shown.excluded_reasons:
        typer.echo(f"  left out: {reason.count} {reason.reason}")
    openings = [(local(at, "start_time"), local(at, "end_time"), str(at.task_count)) for at in shown.openings]
    show(("owners are asked from", "until", "tasks"), openings, empty="its hours never come")
    for hit in shown.hits:
        typer.echo(
            f"  {hit.field}: {hit.found} ({hit.reason} {hit.word}, characters {hit.start} to {hit.end})"
        )
    typer.echo(f"in its way: {', '.join(shown.missing) or 'nothing'}")
    if shown.content_hash:
        typer.echo(f"hash: {shown.content_hash}")
