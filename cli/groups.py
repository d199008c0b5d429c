"""``reach groups``: the customer groups there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import FAILED, quieten_logs, run, settings

if TYPE_CHECKING:
    from reach.campaign.v1 import group_pb2

    from shared.settings import Settings

app = typer.Typer(help="Customer groups: list them, bring them up to date.", no_args_is_help=True)

_EVERY = 0.5
"""Seconds between looks at a sync."""


@app.command("sync")
def sync(
    whole: Annotated[
        bool, typer.Option("--whole", help="Read every group anew, not only what changed.")
    ] = False,
) -> None:
    """Bring the groups up to date and wait for the report."""
    quieten_logs()
    chosen = settings()
    done = run(_sync(chosen, whole))
    word = _word(done.status)
    typer.echo(
        f"{word}: {done.listed} listed, {done.added} added, {done.changed} changed, {done.gone} gone, "
        f"{done.denied} denied, {done.failed} failed"
    )
    if word != "finished":
        typer.echo(done.error, err=True)
        raise typer.Exit(FAILED)


@app.command("list")
def list_groups(
    store: Annotated[str, typer.Option(metavar="ID", help="Only of this store.")] = "",
    owner: Annotated[str, typer.Option(metavar="USERID", help="Only of this owner.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Only with this label; repeat it.")] = None,
) -> None:
    """List groups, and why nothing may be sent to those to which nothing may be."""
    from reach.campaign.v1 import group_pb2

    from cli.tables import show

    quieten_logs()
    chosen = settings()

    async def work() -> list[group_pb2.Group]:
        from cli.stubs import campaign

        found: list[group_pb2.Group] = []
        request = group_pb2.ListGroupsRequest(store_id=store, owner=owner, labels=label or [], page_size=200)
        async with campaign(chosen) as stub:
            while True:
                page = await stub.ListGroups(request)
                found += page.groups
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

    rows = [
        (
            one.chat_id,
            one.store_id or "-",
            one.name,
            one.owner,
            str(one.member_count),
            ",".join(one.labels) or "-",
            "yes" if one.eligible else one.reason,
        )
        for one in run(work())
    ]
    heads = ("group", "store", "name", "owner", "members", "labels", "may be sent to")
    show(heads, rows, empty="no group is known; `reach groups sync` looks for them")


async def _sync(chosen: Settings, whole: bool) -> group_pb2.GroupSync:
    from reach.campaign.v1 import group_pb2

    from cli.stubs import campaign

    async with campaign(chosen) as stub:
        found: group_pb2.GroupSync = (await stub.SyncGroups(group_pb2.SyncGroupsRequest(whole=whole))).sync
        while _word(found.status) == "running" and not found.error:
            await asyncio.sleep(_EVERY)
            found = (await stub.GetGroupSync(group_pb2.GetGroupSyncRequest(sync_id=found.id))).sync
    return found


def _word(status: Any) -> str:
    from reach.campaign.v1 import group_pb2

    name: str = group_pb2.SyncStatus.Name(status)
    return name.removeprefix("SYNC_STATUS_").lower()
