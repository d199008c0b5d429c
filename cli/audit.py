"""``reach audit``: what was done by hand, and whether the record of it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import FAILED, SERVICES, quieten_logs, refuse, run, settings

if TYPE_CHECKING:
    from reach.ops.v1 import audit_pb2 as pb

    from shared.settings import Settings

app = typer.Typer(help="The audit log: list, verify.", no_args_is_help=True)


@app.command("list")
def list_entries(
    subject: Annotated[str, typer.Option(metavar="NAME", help="Only what this caller did.")] = "",
    method: Annotated[str, typer.Option(help="Only this: SendMessage, UpdateRule, …")] = "",
    about: Annotated[str, typer.Option(metavar="ID", help="Only what was done to this.")] = "",
    store: Annotated[str, typer.Option(metavar="ID", help="Only of this store.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="18:30, 2026-02-20, RFC 3339.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Before this.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
) -> None:
    """List what was done by hand, newest first."""
    from reach.ops.v1 import audit_pb2 as pb

    from cli.inputs import instant
    from cli.tables import show
    from cli.times import local
    from shared.rpc.fields import to_timestamp

    chosen = _chosen()
    request = pb.ListAuditLogRequest(subject=subject, method=method, object_id=about, store_id=store)
    for field, given in (("start_time", since), ("end_time", until)):
        if given:
            option = "--since" if field == "start_time" else "--until"
            at = instant(given, option, chosen.default_zone)
            getattr(request, field).CopyFrom(to_timestamp(at))
    rows = [
        (
            str(one.sequence),
            local(one, "time"),
            f"{one.subject} ({one.subject_kind})",
            one.method,
            one.store_id or "-",
            one.object_id or "-",
            f"{one.content_bytes} {one.content_hash[:12]}" if one.content_hash else "-",
            one.detail_json,
        )
        for one in run(_list(chosen, request, limit))
    ]
    heads = ("no", "at", "who", "did", "store", "to", "bytes, hash", "more")
    show(heads, rows, empty="nothing was done by hand")


@app.command("verify")
def verify(
    noted: Annotated[
        str, typer.Option(metavar="NO:HASH", help="A head noted earlier, to be compared as well.")
    ] = "",
    service: Annotated[
        str, typer.Option(metavar="SERVICE", help="Whose; empty: everybody's. With --noted: the notifier's.")
    ] = "",
) -> None:
    """Check every entry against its seal; print the head, to be noted outside of this database."""
    number, _, seal = noted.partition(":")
    if noted and not (number.isdecimal() and seal):
        refuse("--noted takes what an earlier verify printed: NO:HASH")
    if service and service not in SERVICES:
        refuse(f"there is no service {service}; there is: {', '.join(SERVICES)}")
    chosen = [service] if service else [SERVICES[0]] if noted else list(SERVICES)
    broken = False
    for one, checked in run(_verify(_chosen(), chosen, int(number or 0), seal)):
        if one.ok:
            typer.echo(f"{one.service}: ok, {checked} entries, head {one.head_sequence}:{one.head_hash}")
        else:
            broken = True
            typer.echo(f"{one.service}: BROKEN at {one.first_broken_sequence} ({one.problem})")
    if broken:
        raise typer.Exit(FAILED)


def _chosen() -> Settings:
    quieten_logs()
    return settings()


async def _list(chosen: Settings, request: pb.ListAuditLogRequest, limit: int) -> list[pb.AuditEntry]:
    from cli.connect import asked
    from shared.rpc.client import pages

    found: list[pb.AuditEntry] = []
    for service in await asked(chosen):
        async with _ops(chosen, service) as stub:
            async for page in pages(stub.ListAuditLog, request):
                found += page.entries
                if len(found) >= limit:
                    break
    return found[:limit]


async def _verify(
    chosen: Settings, services: Sequence[str], number: int, seal: str
) -> list[tuple[pb.VerifyAuditResponse, int]]:
    """The last answer for each service, and how many entries were looked at."""
    from reach.ops.v1 import audit_pb2 as pb

    found = []
    for service in services:
        request = pb.VerifyAuditRequest(service=service, known_sequence=number, known_hash=seal)
        checked = 0
        async with _ops(chosen, service) as stub:
            while True:
                answer: pb.VerifyAuditResponse = await stub.VerifyAudit(request)
                checked += answer.checked_count
                if not answer.ok or not answer.next_sequence:
                    break
                request.after_sequence = answer.next_sequence
        found.append((answer, checked))
    return found


def _ops(chosen: Settings, service: str) -> Any:
    from cli.stubs import ops

    return ops(chosen, service)
