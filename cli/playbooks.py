"""``reach playbook``: campaigns that draft themselves on their days: see, preview, start, stop them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import quieten_logs, refuse, run, settings

if TYPE_CHECKING:
    from reach.campaign.v1 import playbook_pb2

app = typer.Typer(help="Playbooks of campaigns: list, preview, start, stop them.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The playbook, as `list` names it.")]
_Run = Annotated[str, typer.Argument(metavar="RUN", help="A playbook that was started, as `runs` names it.")]
_Store = Annotated[str, typer.Option(metavar="ID", help="The store whose groups it is for.")]
_Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One parameter; repeat it.")
]
_From = Annotated[str, typer.Option("--from", metavar="DATE", help="The day it begins; empty: today.")]
_EXAMPLES = 10
"""Groups that a preview shows when none are asked for."""


@app.command("list")
def list_playbooks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One of them, with all it asks for.")] = "",
) -> None:
    """List the playbooks there are, or show one with its parameters and steps."""
    from reach.campaign.v1 import playbook_pb2

    from cli.tables import show

    found = list(
        _ask(lambda stub: stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest(page_size=200))).playbooks
    )
    if not name:
        rows = [(one.name, one.title, str(len(one.steps)), one.summary) for one in found]
        show(("name", "title", "steps", "what it does"), rows, empty="no playbook is installed")
        return
    chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        refuse(f"there is no playbook {name}; there is: {', '.join(one.name for one in found)}")
    _show_playbook(chosen)


@app.command("preview")
def preview(
    name: _Name,
    store: _Store,
    said: _Set = None,
    start: _From = "",
    days: Annotated[int, typer.Option(metavar="N", help="Days to look at, 1 to 92.")] = 31,
    groups: Annotated[int, typer.Option(metavar="N", help="Groups to show, at most.")] = _EXAMPLES,
) -> None:
    """Show which groups a playbook would tell what on which days; nothing is written."""
    from reach.campaign.v1 import playbook_pb2

    async def work(stub: Any) -> playbook_pb2.PreviewPlaybookResponse:
        request = playbook_pb2.PreviewPlaybookRequest(
            store_id=store, playbook=name, parameters=_said(said), start_date=start, days=days
        )
        request.page_size = max(1, min(groups, 200))
        whole: playbook_pb2.PreviewPlaybookResponse = await stub.PreviewPlaybook(request)
        page = whole
        while page.next_page_token and len(whole.groups) < groups:
            request.page_token = page.next_page_token
            page = await stub.PreviewPlaybook(request)
            whole.groups.extend(page.groups)
            whole.next_page_token = page.next_page_token
        return whole

    _show_preview(_ask(work), groups)


@app.command("start")
def start_playbook(
    name: _Name,
    store: _Store,
    said: _Set = None,
    start: _From = "",
    key: Annotated[str, typer.Option(help="A repeat with the same key starts nothing anew.")] = "",
) -> None:
    """Start a playbook: it drafts a campaign for each step on its day, which somebody else has to approve."""
    from reach.campaign.v1 import playbook_pb2

    from cli.times import local

    request = playbook_pb2.StartPlaybookRequest(
        store_id=store, playbook=name, parameters=_said(said), start_date=start, idempotency_key=key
    )
    started = _ask(lambda stub: stub.StartPlaybook(request)).run
    typer.echo(f"{started.id} {started.title}: {_word(started.status)}")
    typer.echo(f"next: {started.next_step} of {started.next_date}, drafted {local(started, 'next_time')}")


@app.command("stop")
def stop(
    run_id: _Run, comment: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = ""
) -> None:
    """Stop a playbook that was started; what it has drafted stays as it is."""
    from reach.campaign.v1 import playbook_pb2

    request = playbook_pb2.StopPlaybookRequest(run_id=run_id, comment=comment)
    stopped = _ask(lambda stub: stub.StopPlaybook(request)).run
    typer.echo(f"{stopped.id} {stopped.title}: {_word(stopped.status)}")


@app.command("runs")
def runs(
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="One of them, with what became of it.")] = "",
    store: Annotated[str, typer.Option(metavar="ID", help="Only of this store.")] = "",
) -> None:
    """List the playbooks that were started, or show what became of one's steps."""
    if run_id:
        _show_occurrences(run_id)
        return
    from reach.campaign.v1 import playbook_pb2

    from cli.tables import show

    request = playbook_pb2.ListPlaybookRunsRequest(store_id=store, page_size=200)
    rows = [
        (
            one.id,
            one.store_id,
            one.title,
            _word(one.status),
            one.started_by,
            one.start_date,
            f"{one.next_step} {one.next_date}".strip() or "-",
            str(one.submitted_count),
            str(one.left_count),
        )
        for one in _ask(lambda stub: stub.ListPlaybookRuns(request)).runs
    ]
    heads = ("run", "store", "playbook", "status", "by", "from", "next", "put forward", "left as drafts")
    show(heads, rows, empty="no playbook was started; `reach playbook list` shows those there are")


def _show_playbook(one: playbook_pb2.Playbook) -> None:
    from reach.campaign.v1 import playbook_pb2

    from cli.tables import show

    typer.echo(f"{one.name} {one.title}\n{one.summary}")
    rows = [
        (
            each.name,
            playbook_pb2.PlaybookParameterKind.Name(each.kind).rpartition("_")[2].lower(),
            each.default_value or ("needed" if each.required else "-"),
            f"{each.minimum} to {each.maximum}" if each.maximum else "-",
            f"{each.title}：{each.help}",
        )
        for each in one.parameters
    ]
    show(("parameter", "kind", "default", "range", "what it is"), rows, empty="it asks for nothing")
    steps = [(step.name, step.title, _when(step), step.text or step.theme) for step in one.steps]
    show(("step", "title", "day", "text, or what is to be written"), steps, empty="it has no steps")


def _when(step: playbook_pb2.PlaybookStep) -> str:
    from reach.campaign.v1 import playbook_pb2

    anchor = playbook_pb2.PlaybookAnchor.Name(step.anchor).removeprefix("PLAYBOOK_ANCHOR_").lower()
    base = f"step {step.after_step}" if step.after_step else anchor
    weekdays = f" on weekdays {','.join(map(str, step.weekdays))}" if step.weekdays else ""
    return f"{base} {'' if step.offset.startswith('-') else '+'}{step.offset} days{weekdays}"


def _show_preview(found: playbook_pb2.PreviewPlaybookResponse, most: int) -> None:
    from cli.tables import show
    from cli.times import local

    days = [
        (
            one.date,
            one.title,
            local(one, "draft_time"),
            str(one.group_count) + (f" ({one.no_slot_count} without a slot)" if one.no_slot_count else ""),
            ", ".join(f"{each.count} {each.reason}" for each in one.excluded_reasons) or "-",
        )
        for one in found.days
    ]
    show(("day", "step", "drafted", "groups", "left out"), days, empty="no step comes in these days")
    for step in found.skipped_steps:
        typer.echo(f"never comes, its day is over: {step}")
    groups = [
        (one.chat_id, one.name, one.owner, "; ".join(map(_touch, one.touches))) for one in found.groups[:most]
    ]
    show(("group", "name", "owner", "what it is told"), groups, empty="no group is meant")
    if found.next_page_token or len(found.groups) > most:
        typer.echo("there are more groups: --groups N shows them")


def _touch(one: playbook_pb2.PlaybookTouch) -> str:
    return f"{one.date} {one.step}" + (f" (not: {one.excluded_reason})" if one.excluded_reason else "")


def _show_occurrences(run_id: str) -> None:
    from reach.campaign.v1 import playbook_pb2

    from cli.tables import show

    request = playbook_pb2.ListPlaybookOccurrencesRequest(run_id=run_id, page_size=200)
    rows = []
    for one in _ask(lambda stub: stub.ListPlaybookOccurrences(request)).occurrences:
        outcome = playbook_pb2.PlaybookOutcome.Name(one.outcome).removeprefix("PLAYBOOK_OUTCOME_").lower()
        drafts = "; ".join(f"{each.campaign_id} {_draft(each)}" for each in one.drafts)
        why = " ".join(filter(None, (one.reason, one.detail)))
        rows.append((one.date, one.step, outcome, str(one.group_count), drafts or why or "-"))
    show(("day", "step", "outcome", "groups", "campaigns, or why not"), rows, empty="no step has come yet")


def _draft(one: playbook_pb2.PlaybookDraft) -> str:
    from reach.campaign.v1 import playbook_pb2

    word = playbook_pb2.PlaybookDraftStatus.Name(one.status).removeprefix("PLAYBOOK_DRAFT_STATUS_").lower()
    return f"{word} ({one.reason})" if one.reason else word


def _said(options: list[str] | None) -> dict[str, str]:
    said: dict[str, str] = {}
    for option in options or []:
        name, sign, value = option.partition("=")
        if not sign or not name.strip():
            refuse(f"--set {option}: write NAME=VALUE, such as --set event_date=2026-10-01")
        said[name.strip()] = value
    return said


def _word(status: Any) -> str:
    from reach.campaign.v1 import playbook_pb2

    return playbook_pb2.PlaybookRunStatus.Name(status).removeprefix("PLAYBOOK_RUN_STATUS_").lower()


def _ask(work: Callable[[Any], Awaitable[Any]]) -> Any:
    quieten_logs()
    chosen = settings()

    async def asked() -> Any:
        from cli.stubs import campaign

        async with campaign(chosen) as stub:
            return await work(stub)

    return run(asked())
